"""Comparing a pruned model with the zeroed dense one, at sizes that were never run before.

Every element counts: it is held to the largest value of its own line along any axis of a fixed
size, not to that of the whole tensor. Scores of 0.01 beside boxes of 640 have a line of their own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from unittest import mock

import numpy as np
import onnxruntime as ort

# What float32 rounds by in shallow networks, as a share of a line's largest value; and at zero.
ROUNDING = 1e-4
NOTHING = 1e-7

Shapes = frozenset[tuple[str, tuple[int, ...]]]


def shapes_of(feeds: dict[str, np.ndarray]) -> Shapes:
    return frozenset((name, tuple(np.shape(value))) for name, value in feeds.items())


@contextlib.contextmanager
def recorded() -> Iterator[set[Shapes]]:
    """The shapes of all inputs that ONNX Runtime is given meanwhile."""
    seen: set[Shapes] = set()
    by_array, by_value = ort.InferenceSession.run, ort.InferenceSession.run_with_ort_values

    def run_arrays(self, names, feeds, *more):
        seen.add(shapes_of(feeds))
        return by_array(self, names, feeds, *more)

    def run_values(self, names, feeds, *more):
        seen.add(frozenset((k, tuple(v.shape())) for k, v in feeds.items()))
        return by_value(self, names, feeds, *more)

    with (
        mock.patch.object(ort.InferenceSession, "run", run_arrays),
        mock.patch.object(ort.InferenceSession, "run_with_ort_values", run_values),
    ):
        yield seen


def scales(wants: Sequence[np.ndarray]) -> list[np.ndarray]:
    """For each element of one output's several values, how large the line is that it lies in.

    A line has one index on an axis whose size is the same in all; the least of such lines counts,
    as a part beside a larger one lies along some axis.
    """
    sizes = [np.abs(np.asarray(want, np.float64)) for want in wants]
    most = max((size.max(initial=0.0) for size in sizes), default=0.0)
    found = [np.full(size.shape, most) for size in sizes]
    for axis in range(sizes[0].ndim):
        if len({size.shape[axis] for size in sizes}) > 1:
            continue
        others = tuple(k for k in range(sizes[0].ndim) if k != axis)
        lines = np.max([size.max(axis=others, initial=0.0) for size in sizes], axis=0)
        shape = [-1 if k == axis else 1 for k in range(sizes[0].ndim)]
        found = [np.minimum(scale, lines.reshape(shape)) for scale in found]
    return found


def furthest(wants: Sequence[np.ndarray], haves: Sequence[np.ndarray]) -> float:
    """Largest difference in one output's several values, as a share of what rounding may be there.

    Above 1 they differ; infinite, where one of them is not finite where the other is.
    """
    worst = 0.0
    for want, have, scale in zip(wants, haves, scales(wants), strict=True):
        a, b = np.asarray(want, np.float64), np.asarray(have, np.float64)
        if not a.size:
            continue
        if not (np.isfinite(a) == np.isfinite(b)).all():
            return float("inf")
        gap = np.where(np.isfinite(a), np.abs(a - b), 0.0) / (ROUNDING * scale + NOTHING)
        worst = max(worst, float(np.nanmax(gap)))
    return worst
