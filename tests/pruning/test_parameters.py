"""Editing parameters' values."""

import numpy as np
import pytest

from spa.pruning.parameters import Edited, take_slices, zero_slices

ZEROS = (np.zeros((), np.int8), np.full((), 3, np.int8), np.arange(4, dtype=np.int8)[:, None, None])


def _masks(axes, shape=(4, 5, 3)):
    rng = np.random.default_rng(len(axes))
    return tuple(rng.random(n) < 0.5 if k in axes else None for k, n in enumerate(shape))


@pytest.mark.parametrize("zero", ZEROS, ids=["zero", "zero_point", "zero_points"])
@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2)])
def test_removed_slices_become_zero_in_place_where_that_is_allowed(axes, zero):
    value = np.arange(60, dtype=np.int8).reshape(4, 5, 3) + 10
    stays = np.zeros(value.shape, bool)
    masks = _masks(axes)
    stays[np.ix_(*(np.ones(n, bool) if m is None else m
                   for m, n in zip(masks, value.shape, strict=True)))] = True  # fmt: skip
    wanted = np.where(stays, value, zero)
    value.setflags(write=False)
    assert np.array_equal(zero_slices(value, masks, zero), wanted)
    value = value.copy()
    assert zero_slices(value, masks, zero) is value
    assert np.array_equal(value, wanted)


def test_makers_are_equal_where_they_make_the_same():
    def source():
        return np.arange(12.0).reshape(3, 4)

    zero, masks = np.zeros(()), (np.array([True, False, True]), None)
    one = Edited(take_slices, source, masks, zero)
    assert one == Edited(take_slices, source, (masks[0].copy(), None), zero)
    assert hash(one) == hash(Edited(take_slices, source, (masks[0].copy(), None), zero))
    for other in (
        Edited(zero_slices, source, masks, zero),
        Edited(take_slices, lambda: np.zeros((3, 4)), masks, zero),
        Edited(take_slices, source, (~masks[0], None), zero),
        Edited(take_slices, source, (None, None), zero),
        Edited(take_slices, source, masks, np.ones(())),
    ):
        assert one != other
