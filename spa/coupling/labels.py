"""Labels: one fresh integer for every index of every axis that may shrink.

A tensor carries a short list of *label layers*, one per independent source axis. A layer is an
integer array of the tensor's rank that broadcasts to its shape: it has the full size on the axes it
follows and size 1 on the others. An index of a tensor goes when any of its layers says so. An axis
of size over 1 that no layer follows is kept, and so is an entry whose label is 0 (`KEPT`).

Nearly all layers are one axis's labels, as they were handed out. Labels are handed out as views of
a long array of consecutive numbers, the *ruler*, and what only moves a layer (Transpose, Reshape,
Unsqueeze, whole Slices) makes other views of it. So such a *run* is known by what it is a view of
(`LabelSpace.first_of_run`), and nobody need look at its entries.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spa.coupling.connect import RULER
from spa.graph.nodes import Use

Labels = npt.NDArray[np.int64]
Layer = Labels

KEPT = 0


class LabelledAxis(NamedTuple):
    """A run of labels: one axis of a parameter, or entries that a node makes up (Pad, Expand).

    Attributes:
        tensor: the parameter's name, or the tensor that the entries appear in.
        axis: its axis.
        start: its first label.
        size: number of labels.
        is_parameter: False for made-up entries, which cost nothing and have no weights.
        uses: the reads that this axis stands for; empty for all of them.
    """

    tensor: str
    axis: int
    start: int
    size: int
    is_parameter: bool
    uses: tuple[Use, ...] = ()

    @property
    def labels(self) -> Labels:
        """The axis's labels, in order of index."""
        return np.arange(self.start, self.start + self.size, dtype=np.int64)


class LabelSpace:
    """Hands out labels and remembers what they stand for.

    Attributes:
        axes: what labels stand for, by order of label.
    """

    def __init__(self) -> None:
        self.axes: list[LabelledAxis] = []
        self._next = 1  # label 0 is KEPT
        # A ruler that is too short is followed by one as long as all before.
        self._rulers = [RULER]
        self._origin = 0  # the last ruler's first number
        self._end = RULER.size

    def fresh(
        self, tensor: str, axis: int, size: int, *, is_parameter: bool, uses: tuple[Use, ...] = ()
    ) -> Labels:
        """Makes labels for one axis; returns them, shape (size,)."""
        start = self._next
        self._next = end = start + size
        # As LabelledAxis() does, in half the time.
        entry = tuple.__new__(LabelledAxis, (tensor, axis, start, size, is_parameter, uses))
        self.axes.append(entry)
        if end > self._end:
            self._lengthen(size)
        origin = self._origin
        return self._rulers[-1][start - origin : end - origin]

    def _lengthen(self, size: int) -> None:
        """Begins a new ruler, with room for so many numbers at least."""
        self._origin = self._next - size
        self._end = self._origin + max(size, self._end)
        ruler = np.arange(self._origin, self._end, dtype=np.int64)
        ruler.setflags(write=False)
        self._rulers.append(ruler)

    def first_of_run(self, labels: Labels) -> int | None:
        """The first of labels that follow one another as they were handed out; else None."""
        base = labels.base
        for ruler in self._rulers:
            if base is ruler:
                return labels.item(0) if labels.size and labels.flags.c_contiguous else None
        return None


def along(labels: Labels, axis: int, rank: int) -> Layer:
    """Puts a vector of labels on one axis of a tensor of a given rank."""
    shape = [1] * rank
    shape[axis] = -1
    return labels.reshape(shape)


def fits(layer: Layer, shape: tuple[int, ...]) -> bool:
    """Whether a layer has a shape's rank and broadcasts to it."""
    if layer.ndim != len(shape):
        return False
    for mine, size in zip(layer.shape, shape, strict=True):  # noqa: SIM110  (asked at every node)
        if mine not in (1, size):
            return False
    return True


def support(layer: Layer) -> tuple[int, ...]:
    """Axes that a layer follows."""
    return tuple([k for k, size in enumerate(layer.shape) if size > 1])


def collapse(layer: Layer) -> Layer:
    """Drops every axis along which a layer is constant: it does not follow that axis."""
    if not layer.size:
        return layer
    for k in support(layer):
        beside = [0] * layer.ndim
        beside[k] = 1
        if layer.item(0) != layer.item(*beside):
            continue  # most layers end here
        first = layer.take([0], axis=k)
        if np.array_equal(np.broadcast_to(first, layer.shape), layer):
            layer = first
    return layer


def first_slices(layer: Layer, axis: int) -> Layer:
    """A layer's first slice along every axis but one."""
    for other in support(layer):
        if other != axis:
            layer = layer.take([0], axis=other)
    return layer


def lift(layer: Layer, rank: int) -> Layer:
    """Adds leading axes, as broadcasting does."""
    if layer.ndim == rank:
        return layer
    return layer.reshape((1,) * (rank - layer.ndim) + layer.shape)


def lifted(layers: Sequence[Layer], rank: int) -> list[Layer]:
    """Layers of an operand, seen at the rank that broadcasting gives it."""
    return [lift(layer, rank) for layer in layers]


def reshape_layer(layer: Layer, old: tuple[int, ...], new: tuple[int, ...]) -> Layer:
    """What Reshape makes of a layer, expanded only over the axes that take part.

    The two shapes are cut into the smallest blocks of axes with equal products; a block whose axes
    the layer does not follow stays unfollowed.

    Example:
        labels (1, C, 1, 1) of shape (N, C, H, W) reshaped to (N, C*H*W) give (1, C*H*W), each label
        H*W times.
    """
    if old == new:
        return layer
    if len(old) == 1 and layer.size in new and layer.size > 1:
        return layer.reshape(new)  # all other axes are of size 1
    place = _place_left(layer, old, new)
    if place is not None:
        return along(layer, place, len(new))
    shape: list[int] = []
    expanded: list[int] = []
    for old_axes, new_axes in blocks(old, new):
        follows = any(layer.shape[k] > 1 for k in old_axes)
        expanded += [old[k] if follows else 1 for k in old_axes]
        shape += [new[k] if follows else 1 for k in new_axes]
    if layer.size < math.prod(expanded):
        layer = np.broadcast_to(layer, expanded)
    return collapse(layer.reshape(shape))


def _place_left(layer: Layer, old: tuple[int, ...], new: tuple[int, ...]) -> int | None:
    """Where Reshape puts the one axis that a layer follows, if it leaves it as it is."""
    if layer.size not in layer.shape or layer.size < 2:
        return None
    axis = layer.shape.index(layer.size)
    before = math.prod(old[:axis])
    product = 1
    for k, size in enumerate(new):
        if size == layer.size and product == before:
            return k
        product *= size
        if product > before or not product:
            return None
    return None


def blocks(
    old: tuple[int, ...], new: tuple[int, ...]
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Cuts two shapes of the same size into the smallest runs of axes with equal products."""
    if 0 in old or 0 in new:
        return [(tuple(range(len(old))), tuple(range(len(new))))]
    result = []
    i = j = 0
    while i < len(old) or j < len(new):
        start = (i, j)
        left = right = 1
        # Take one axis on each side where there is one, then grow the smaller product.
        if i < len(old):
            left, i = old[i], i + 1
        if j < len(new):
            right, j = new[j], j + 1
        while left != right:
            if left < right:
                left, i = left * old[i], i + 1
            else:
                right, j = right * new[j], j + 1
        result.append((tuple(range(start[0], i)), tuple(range(start[1], j))))
    return result
