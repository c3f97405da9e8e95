"""Resize and Upsample, one axis after the other.

Every mode is a weighted sum of a few input entries per output entry, and the weights of several
axes multiply. So each resized axis gets two small tables, indices and weights of shape
(out, taps), made by NumPy from the mode; the tensor then is a sum over the taps of
``x.index_select(axis, indices[:, tap]) * weights[:, tap]``.

The place of output entry i in the input, with scale s, sizes ``in`` and ``out``:

    half_pixel              (i + 0.5) / s - 0.5
    half_pixel_symmetric    half_pixel, moved by what rounding ``out`` cut off
    pytorch_half_pixel      half_pixel, but 0 where out = 1
    align_corners           i * (in - 1) / (out - 1)
    asymmetric              i / s
    tf_half_pixel_for_nn    (i + 0.5) / s
    tf_crop_and_resize      between the region's start and end, in units of in - 1
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spa.bridge.registry import Function, OpNode, converter

Array = NDArray[np.float32]


def _places(mode: str, size: int, out: int, scale: float, region: tuple[float, float]) -> Array:
    """Return the place of every output entry on the input's axis, (out,) float32."""
    # float32 throughout, as ONNX Runtime: nearest rounds right at the border between two entries.
    i, s = np.arange(out, dtype=np.float32), np.float32(scale)
    half = np.float32(0.5)
    if mode == "pytorch_half_pixel" and out == 1:
        return np.zeros(1, np.float32)
    if mode in ("half_pixel", "pytorch_half_pixel"):
        return np.asarray((i + half) / s - half, np.float32)
    if mode == "half_pixel_symmetric":
        reached = np.float32(out) / (s * np.float32(size))
        offset = np.float32(size / 2) * (1 - reached)
        return np.asarray(offset + (i + half) / s - half, np.float32)
    if mode == "align_corners":
        return i * np.float32(0 if out == 1 else (size - 1) / (out - 1))
    if mode == "asymmetric":
        return np.asarray(i / s, np.float32)
    if mode == "tf_half_pixel_for_nn":
        return np.asarray((i + half) / s, np.float32)
    if mode == "tf_crop_and_resize":
        start, end = region
        if out == 1:
            return np.full(1, 0.5 * (start + end) * (size - 1), np.float32)
        return np.asarray((start + i * (end - start) / (out - 1)) * (size - 1), np.float32)
    raise ValueError(f"coordinate_transformation_mode={mode}")


def _nearest(places: Array, mode: str) -> NDArray[np.int64]:
    if mode == "round_prefer_floor":
        rounded = np.ceil(places - np.float32(0.5))
    elif mode == "round_prefer_ceil":
        rounded = np.floor(places + np.float32(0.5))
    else:
        rounded = np.floor(places) if mode == "floor" else np.ceil(places)
    return np.asarray(rounded, np.int64)


def _cubic(distance: NDArray[np.float64], a: float) -> NDArray[np.float64]:
    """Keys' kernel with coefficient a."""
    d = np.abs(distance)
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def taps(
    attrs: Mapping[str, Any], size: int, out: int, scale: float, region: tuple[float, float]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the input indices and weights of every output entry, both (out, taps)."""
    kind = attrs.get("mode", "nearest")
    places = _places(
        attrs.get("coordinate_transformation_mode", "half_pixel"), size, out, scale, region
    )
    if kind == "nearest":
        rows = _nearest(places, attrs.get("nearest_mode", "round_prefer_floor"))[:, None]
        return np.clip(rows, 0, size - 1), np.ones(rows.shape)
    # An antialiased kernel is as much wider as the axis gets shorter.
    stretch = max(1.0, 1.0 / scale) if attrs.get("antialias", 0) else 1.0
    reach = (1 if kind == "linear" else 2) * stretch
    width = math.ceil(reach)
    rows = np.floor(places).astype(np.int64)[:, None] + np.arange(1 - width, width + 1)
    distance = (rows - places[:, None].astype(np.float64)) / stretch
    if kind == "linear":
        weights = np.clip(1 - np.abs(distance), 0, None)
    else:
        weights = _cubic(distance, attrs.get("cubic_coeff_a", -0.75))
    # Outside the axis the border is repeated, or else left out of the sum.
    if attrs.get("exclude_outside", 0):
        weights = np.where((rows >= 0) & (rows < size), weights, 0.0)
    weights = weights / weights.sum(1, keepdims=True)
    return np.clip(rows, 0, size - 1), weights


def _resize_axis(x: Tensor, axis: int, rows: NDArray[np.int64], weights: Any) -> Tensor:
    index = torch.from_numpy(rows).to(x.device)
    if rows.shape[1] == 1:
        return x.index_select(axis, index[:, 0])
    shape = [1] * x.dim()
    shape[axis] = -1
    factor = torch.from_numpy(weights).to(x.device, x.dtype)
    terms = [
        x.index_select(axis, index[:, tap]) * factor[:, tap].reshape(shape)
        for tap in range(rows.shape[1])
        if np.any(weights[:, tap])
    ]
    return torch.stack(terms).sum(0) if len(terms) > 8 else sum(terms[1:], terms[0])


def _targets(
    attrs: Mapping[str, Any], sizes: Sequence[int], scales: Any, wanted: Any
) -> tuple[list[int], list[float]]:
    """Return output sizes and scales of the resized axes."""
    if wanted is None:
        return [math.floor(size * np.float32(s)) for size, s in zip(sizes, scales, strict=True)], [
            float(s) for s in scales
        ]
    ratios = [want / size for want, size in zip(wanted, sizes, strict=True)]
    policy = attrs.get("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return [int(want) for want in wanted], ratios
    ratio = min(ratios) if policy == "not_larger" else max(ratios)
    # Half is rounded up here, not to even.
    return [math.floor(ratio * size + 0.5) for size in sizes], [ratio] * len(ratios)


def _resize(
    attrs: Mapping[str, Any],
    x: Tensor,
    scales: list[float] | None,
    wanted: list[int] | None,
    roi: list[float] | None,
) -> Tensor:
    axes = [a % x.dim() for a in attrs.get("axes", range(x.dim()))]
    outs, ratios = _targets(attrs, [x.shape[a] for a in axes], scales, wanted)
    crop = attrs.get("coordinate_transformation_mode") == "tf_crop_and_resize"
    outside: list[tuple[int, Tensor]] = []
    for i, (axis, out, ratio) in enumerate(zip(axes, outs, ratios, strict=True)):
        size = x.shape[axis]
        if not crop and out == size and ratio == 1.0:
            continue
        region = (roi[i], roi[i + len(axes)]) if crop and roi else (0.0, 1.0)
        rows, weights = taps(attrs, size, out, ratio, region)
        x = _resize_axis(x, axis, rows, weights)
        if crop:
            places = _places("tf_crop_and_resize", size, out, ratio, region)
            outside.append((axis, torch.from_numpy((places < 0) | (places > size - 1))))
    for axis, mask in outside:
        shape = [1] * x.dim()
        shape[axis] = -1
        fill = attrs.get("extrapolation_value", 0.0)
        x = x.masked_fill(mask.reshape(shape).to(x.device), fill)
    return x


# Upsample and the first Resize know neither coordinates nor rounding: i / s, rounded down.
_OLD = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}


@converter("Upsample", until=7)
def upsample_by_attribute(node: OpNode) -> Function:
    """Scales are an attribute."""
    return lambda x: _resize({**node.attrs, **_OLD}, x, node.attrs["scales"], None, None)


@converter("Upsample", since=9, host=(1,))
@converter("Resize", until=10, host=(1,))
def upsample_by_input(node: OpNode) -> Function:
    """Scales are an input."""
    return lambda x, scales: _resize({**node.attrs, **_OLD}, x, scales.tolist(), None, None)


@converter("Resize", since=11, host=(1, 2, 3))
def resize(node: OpNode) -> Function:
    """Region, scales and sizes are inputs, of which either scales or sizes counts."""

    def run(
        x: Tensor,
        roi: Tensor | None = None,
        scales: Tensor | None = None,
        sizes: Tensor | None = None,
    ) -> Tensor:
        by_scale = scales is not None and scales.numel() > 0
        return _resize(
            node.attrs,
            x,
            scales.tolist() if by_scale and scales is not None else None,
            None if by_scale or sizes is None else sizes.tolist(),
            None if roi is None else roi.tolist(),
        )

    return run
