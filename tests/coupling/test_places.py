"""Small questions to NumPy, and places of labels, beside their plain definitions."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spa.coupling import connect, places
from spa.coupling.connect import breaks, changes, consecutive, distinct, gaps, ranges
from spa.coupling.places import Places


@given(st.lists(st.integers(0, 4)))
def test_changes_and_gaps(values):
    array = np.array(values, dtype=np.int64)
    wanted = [k for k, v in enumerate(values) if k == 0 or v != values[k - 1]]
    starts = changes(array)
    assert starts.tolist() == wanted
    assert gaps(starts, array.size).tolist() == np.diff([*wanted, array.size]).tolist()
    assert distinct(array).tolist() == sorted(set(values))
    assert array.tolist() == values


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9))))
def test_ranges(pairs):
    starts, sizes = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    wanted = [k for start, size in pairs for k in range(start, start + size)]
    assert ranges(starts, sizes).tolist() == wanted


@pytest.mark.parametrize("start", [0, connect.RULER.size - 3, connect.RULER.size + 5])
def test_consecutive_numbers(start):
    assert consecutive(start, 7).tolist() == list(range(start, start + 7))


@given(st.lists(st.integers(0, 4)))
def test_breaks(steps):
    array = np.array(steps, dtype=np.int64).cumsum()
    wanted = [k for k in range(array.size) if k == 0 or array[k] != array[k - 1] + 1]
    assert breaks(array).tolist() == wanted


@given(
    sizes=st.lists(st.integers(0, 4), min_size=1, max_size=9),
    wanted=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 12)), max_size=6),
)
def test_places_by_runs_equal_those_of_the_table(sizes, wanted):
    last = sum(sizes)
    starts = 1 + np.cumsum([0, *sizes[:-1]])
    # Axes of one size are equal from end to end, each with the one of that size before it.
    before = {}
    stretches = []
    for start, size in zip(starts.tolist(), sizes, strict=True):
        if size and size in before:
            stretches.append((before[size], start, size))
        before[size] = start
    runs = [np.arange(min(a, last), min(a + n, last + 1)) for a, n in wanted]
    labels = np.concatenate([places.NO_LABELS, *runs])
    there = Places(sizes, stretches)
    with mock.patch.object(places, "SEARCHES", 0):
        found = there.at(labels)
    assert "of" not in vars(there)
    assert np.array_equal(found, there.of[labels])
    assert np.array_equal(there.at(labels), found)


def test_places():
    sizes = [3, 4, 4, 2, 4]
    # The second, third and fifth axis are equal from end to end; parts of others are equal too.
    there = Places(sizes, [(4, 8, 4), (8, 14, 4), (1, 12, 2)])
    found = there.at(np.arange(sum(sizes) + 1).reshape(2, 9))
    assert found.shape == (2, 9)
    found = found.reshape(-1)
    assert [side.tolist() for side in there.left] == [[1, 2], [8, 9]]
    assert found[4:8].tolist() == found[8:12].tolist() == found[14:].tolist()
    assert there.count == 1 + 3 + 4 + 2
