"""Small questions to NumPy, and places of labels, beside their plain definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spa.coupling import connect, places
from spa.coupling.connect import changes, consecutive, distinct, gaps, ranges
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


def test_places_of_few_labels_and_of_many(monkeypatch):
    sizes = [3, 4, 4, 2, 4]
    # The second, third and fifth axis are equal from end to end; parts of others are equal too.
    stretches = [(4, 8, 4), (8, 14, 4), (1, 12, 2)]
    found = []
    for searches in (0, 10**9):  # by searching alone, and by the table alone
        monkeypatch.setattr(places, "SEARCHES", searches)
        there = Places(sizes, stretches)
        labels = np.arange(sum(sizes) + 1)
        found.append(np.concatenate([there.at(labels[k : k + 1]) for k in labels]))
        assert there.at(labels.reshape(2, 9)).shape == (2, 9)
        assert [side.tolist() for side in there.left] == [[1, 2], [8, 9]]
    assert np.array_equal(*found)
    assert found[0][4:8].tolist() == found[0][8:12].tolist() == found[0][14:].tolist()
    assert there.count == 1 + 3 + 4 + 2
