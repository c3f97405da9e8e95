"""Sliding windows: how much padding a node asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def split_total(total: int, upper: bool) -> tuple[int, int]:
    """Share padding between both ends, the odd one at the end (upper) or at the start."""
    small = total // 2
    return (small, total - small) if upper else (total - small, small)


def window_pads(
    attrs: Mapping[str, Any], sizes: Sequence[int], kernel: Sequence[int]
) -> list[tuple[int, int]]:
    """Return (start, end) padding per spatial axis of a sliding window.

    Args:
        attrs: the node's attributes: pads, auto_pad, strides, dilations.
        sizes: the input's spatial sizes.
        kernel: the window's sizes.
    """
    rank = len(kernel)
    mode = attrs.get("auto_pad", "NOTSET")
    if mode == "VALID":
        return [(0, 0)] * rank
    if mode in ("NOTSET", ""):
        pads = attrs.get("pads", [0] * (2 * rank))
        return list(zip(pads[:rank], pads[rank:], strict=True))
    strides = attrs.get("strides", [1] * rank)
    dilations = attrs.get("dilations", [1] * rank)
    out = []
    for size, width, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        reach = (width - 1) * dilation + 1
        total = max((-(-size // stride) - 1) * stride + reach - size, 0)
        out.append(split_total(total, mode == "SAME_UPPER"))
    return out
