"""Rows of a layer's input and output, one per position: a sample and a place in the output.

The rows of a batch stand in the order of samples, so those of several batches are those of all at
once, one part after another; a choice of positions is drawn once over all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from spa.errors import InputError
from spa.graph.model import Array
from spa.graph.nodes import Node
from spa.graph.windows import split_total, window_pads
from spa.observe.layers import LinearLayer

Indices = npt.NDArray[np.int64]
# Bytes of unfolded rows that are made at once.
AT_ONCE = 2**26


def positions(layer: LinearLayer, shape: Sequence[int]) -> int:
    """How many rows an activation of a shape has."""
    if not layer.kernel:
        columns = _flat(layer, np.broadcast_to(np.zeros((), np.int8), tuple(shape))).shape[1]
        return int(prod(shape) // max(1, columns))
    return int(shape[0] * prod(_places(layer, shape[2:])))


def chosen(counts: Sequence[int], limit: int, seed: int) -> list[Indices]:
    """Which rows of every batch are taken: all, or so many of all, drawn with a seed."""
    total = sum(counts)
    if total <= limit:
        return [np.arange(count) for count in counts]
    drawn = np.sort(np.random.default_rng(seed).choice(total, limit, replace=False))
    ends = np.cumsum(counts)
    starts = ends - np.asarray(counts)
    return [
        drawn[(drawn >= start) & (drawn < end)] - start
        for start, end in zip(starts, ends, strict=True)
    ]


def input_rows(layer: LinearLayer, x: Array, which: Indices) -> Array:
    """Input rows at some positions.

    Args:
        layer: the layer.
        x: the activation that its node reads.
        which: positions.

    Returns:
        shape (g, m, D), in single precision at least.

    Raises:
        InputError: a value is infinite or no number.
    """
    rows = _rows(layer, x, which)
    rows = rows.astype(np.float32) if rows.dtype.itemsize < 4 or rows.dtype.kind != "f" else rows
    with np.errstate(invalid="ignore"):
        sums = rows.sum(axis=-1, dtype=np.float64)
    if not np.isfinite(sums).all():
        raise InputError(
            f"{layer.node} reads values that are not finite on the calibration inputs, so nothing "
            "can be fitted to them; give other inputs, such as samples of the task."
        )
    return rows


def parts(layer: LinearLayer, columns: int, which: Indices) -> Iterator[Indices]:
    """Positions in parts whose rows are small enough to be made at once."""
    size = max(1, AT_ONCE // (4 * max(1, columns * layer.groups)))
    for start in range(0, len(which), size):
        yield which[start : start + size]


def output_rows(layer: LinearLayer, y: Array, which: Indices) -> Array:
    """What the layer gives at these positions, or what has the shape of it; (g, m, O/g)."""
    if layer.kernel:
        flat = np.moveaxis(y, 1, -1).reshape(-1, y.shape[1])
    else:
        y = np.swapaxes(y, -1, -2) if layer.weight == 0 and y.ndim > 1 else y
        flat = y.reshape(-1, y.shape[-1])
    some = flat[which]
    return np.moveaxis(some.reshape(len(which), layer.groups, -1), 1, 0)


def all_rows(layer: LinearLayer, x: Array, limit: int, seed: int) -> Array:
    """Input rows of one activation that holds all samples; (g, m, D)."""
    (which,) = chosen([positions(layer, x.shape)], limit, seed)
    return input_rows(layer, x, which)


def _rows(layer: LinearLayer, x: Array, which: Indices) -> Array:
    if not layer.kernel:
        scale: Any = layer.node.attr("alpha", 1.0) if layer.node.op == "Gemm" else 1.0
        rows = _flat(layer, x)[which]
        return (rows if scale == 1.0 else rows * np.asarray(scale, rows.dtype))[None]
    rank = len(layer.kernel)
    windows = _windows(layer, x)  # (N, I, out..., k...)
    sizes = (windows.shape[0], *windows.shape[2 : 2 + rank])
    sample, *place = np.unravel_index(which, sizes)
    where: tuple[Any, ...] = (sample, slice(None), *place)
    patches = windows[where]  # (m, I, k...)
    return np.asarray(patches.reshape(len(which), layer.groups, -1).swapaxes(0, 1))


def _flat(layer: LinearLayer, x: Array) -> Array:
    """Gemm and MatMul: (positions, D)."""
    attrs = layer.node.attrs
    if layer.node.op == "Gemm":
        across = attrs.get("transA", 0) if layer.data == 0 else not attrs.get("transB", 0)
        return x.T if across else x
    if layer.data == 1 and x.ndim > 1:
        x = np.swapaxes(x, -1, -2)
    return x.reshape(-1, x.shape[-1])


def _windows(layer: LinearLayer, x: Array) -> Array:
    """Convolutions, as a view of what is padded."""
    attrs, kernel, rank = layer.node.attrs, layer.kernel, len(layer.kernel)
    strides = attrs.get("strides", [1] * rank)
    dilations = attrs.get("dilations", [1] * rank)
    if layer.node.op == "Conv":
        return _unfold(_padded(x, window_pads(attrs, x.shape[2:], kernel)), kernel, strides,
                       dilations)  # fmt: skip
    sizes = [(n - 1) * s + 1 for n, s in zip(x.shape[2:], strides, strict=True)]
    sparse = np.zeros((*x.shape[:2], *sizes), x.dtype)
    sparse[(slice(None), slice(None), *(slice(None, None, s) for s in strides))] = x
    reach = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
    windows = _unfold(_padded(sparse, [(r, r) for r in reach]), kernel, [1] * rank, dilations)
    for axis, (start, end) in enumerate(_cuts(layer.node, x.shape[2:], kernel)):
        size = windows.shape[2 + axis]
        taken: list[Any] = [slice(None)] * windows.ndim
        taken[2 + axis] = slice(start, start + max(1, size - start - end))
        windows = windows[tuple(taken)]
    return np.flip(windows, tuple(range(2 + rank, 2 + 2 * rank)))


def _places(layer: LinearLayer, sizes: Sequence[int]) -> tuple[int, ...]:
    """Spatial sizes of the windows; as `_windows` makes them."""
    seen = np.broadcast_to(np.zeros((), np.int8), (1, 1, *sizes))
    rank = len(layer.kernel)
    return _windows(layer, seen).shape[2 : 2 + rank]


def _padded(x: Array, pads: Sequence[tuple[int, int]]) -> Array:
    return np.pad(x, [(0, 0), (0, 0), *pads]) if any(map(any, pads)) else x


def _unfold(
    x: Array, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> Array:
    rank = len(kernel)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(x, reach, axis=tuple(range(2, 2 + rank)))
    steps = [slice(None, None, step) for step in (*strides, *dilations)]
    return np.asarray(windows[(slice(None), slice(None), *steps)])


def _cuts(
    node: Node, sizes: Sequence[int], kernel: tuple[int, ...]
) -> list[tuple[int, int]]:  # fmt: skip
    """What a transposed convolution cuts off its full result, at the start and end of each axis."""
    attrs, rank = node.attrs, len(kernel)
    strides = attrs.get("strides", [1] * rank)
    dilations = attrs.get("dilations", [1] * rank)
    extra = attrs.get("output_padding", [0] * rank)
    mode = attrs.get("auto_pad", "NOTSET")
    wanted = attrs.get("output_shape")
    if wanted is None and not mode.startswith("SAME"):
        pads = window_pads({**attrs, "auto_pad": "NOTSET"}, sizes, kernel)
        # What output_padding adds at the end holds the bias alone: no row for it.
        return [(start, max(0, end - more)) for (start, end), more in zip(pads, extra, strict=True)]
    if wanted is None:
        wanted = [size * stride for size, stride in zip(sizes, strides, strict=True)]
    cuts = []
    for size, want, s, k, d, more in zip(
        sizes, wanted[-rank:], strides, kernel, dilations, extra, strict=True
    ):
        total = max((size - 1) * s + (k - 1) * d + 1 + more - want, 0)
        start, end = split_total(total, mode == "SAME_UPPER")
        cuts.append((start, max(0, end - more)))
    return cuts
