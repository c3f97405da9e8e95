"""Means and variances of channels, one batch after another, in float64."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from spa.graph.model import Array


class Moments:
    """Moments of all entries of every channel so far.

    Batches are merged by their own means (Chan et al. 1983), as sums of squares lose a variance
    that is small beside the mean.

    Args:
        channels: how many there are.
    """

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.mean = np.zeros(channels)
        self._deviations = np.zeros(channels)

    def add(self, values: Array, axis: int) -> None:
        """Takes a batch, whose axis of channels is given."""
        rows = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1).astype(np.float64)
        count = rows.shape[1]
        if not count:
            return
        with np.errstate(invalid="ignore"):  # of values that are not finite, which others refuse
            mean = rows.mean(axis=1)
            deviations = np.square(rows - mean[:, None]).sum(axis=1)
            total, apart = self.count + count, mean - self.mean
            self._deviations += deviations + apart**2 * (self.count * count / total)
            self.mean += apart * (count / total)
        self.count = total

    @property
    def variance(self) -> Array:
        """Mean squared deviation, shape (channels,)."""
        return self._deviations / max(1, self.count)

    @property
    def square(self) -> Array:
        """Mean square, shape (channels,)."""
        return self.variance + self.mean**2


def moments_of(
    axes: Iterable[tuple[str, int]], batches: Iterable[Mapping[str, Array]]
) -> dict[tuple[str, int], Moments]:
    """Moments along axes of tensors.

    Args:
        axes: names of tensors, each with its axis of channels; several may be the same.
        batches: these tensors by name, one batch after another; not empty.

    Returns:
        By tensor and axis, in their order.
    """
    each = tuple(dict.fromkeys(axes))
    found: dict[tuple[str, int], Moments] = {}
    for batch in batches:
        for name, axis in each:
            if (name, axis) not in found:
                found[name, axis] = Moments(batch[name].shape[axis])
            found[name, axis].add(batch[name], axis)
    return found
