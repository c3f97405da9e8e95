"""Convolutions in one to three dimensions, with weights as run-time tensors.

x: (N, I, *sizes)   W of Conv: (O, I/g, *kernel)   W of ConvTranspose: (I, O/g, *kernel)
``auto_pad`` is resolved at run time, as SAME depends on the input's sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional

from spa.bridge.registry import Function, OpNode, converter
from spa.graph.windows import split_total, window_pads

CONV: dict[int, Any] = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
CONV_TRANSPOSE: dict[int, Any] = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


def torch_pads(pads: Sequence[tuple[int, int]]) -> list[int]:
    """Flatten (start, end) pairs in the order of torch's pad: last axis first."""
    return [amount for pair in reversed(pads) for amount in pair]


@converter("Conv")
def conv(node: OpNode) -> Function:
    """Asymmetric padding is made beforehand; the symmetric one is left to the convolution."""
    attrs = node.attrs
    groups = attrs.get("group", 1)

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        rank = weight.dim() - 2
        pads = window_pads(attrs, x.shape[2:], weight.shape[2:])
        padding = [start for start, _ in pads]
        if any(start != end for start, end in pads):
            x, padding = functional.pad(x, torch_pads(pads)), [0] * rank
        strides = attrs.get("strides", [1] * rank)
        dilations = attrs.get("dilations", [1] * rank)
        y: Tensor = CONV[rank](x, weight, bias, strides, padding, dilations, groups)
        return y

    return run


@converter("ConvTranspose")
def conv_transpose(node: OpNode) -> Function:
    """The whole result is computed, then cut or grown to the size that the node asks for.

    Sizes: full = stride * (in - 1) + (k - 1) * d + 1; out = full + output_padding - start - end.
    """
    attrs = node.attrs
    groups = attrs.get("group", 1)
    mode = attrs.get("auto_pad", "NOTSET")

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        rank = weight.dim() - 2
        strides = attrs.get("strides", [1] * rank)
        dilations = attrs.get("dilations", [1] * rank)
        extra = attrs.get("output_padding", [0] * rank)
        wanted = attrs.get("output_shape")
        if wanted is None and mode.startswith("SAME"):
            wanted = [size * stride for size, stride in zip(x.shape[2:], strides, strict=True)]
        y = CONV_TRANSPOSE[rank](x, weight, None, strides, 0, 0, groups, dilations)
        full = [size + more for size, more in zip(y.shape[2:], extra, strict=True)]
        if wanted is None:
            pads = window_pads({**attrs, "auto_pad": "NOTSET"}, x.shape[2:], weight.shape[2:])
            wanted = [size - sum(pair) for size, pair in zip(full, pads, strict=True)]
            starts = [start for start, _ in pads]
        else:
            wanted, upper = wanted[-rank:], mode == "SAME_UPPER"
            totals = [max(size - want, 0) for size, want in zip(full, wanted, strict=True)]
            starts = [split_total(total, upper)[0] for total in totals]
        # Negative amounts cut; what output_padding adds at the end holds the bias alone.
        cut = [
            (-start, want + start - size)
            for start, want, size in zip(starts, wanted, y.shape[2:], strict=True)
        ]
        y = functional.pad(y, torch_pads(cut))
        return y if bias is None else y + bias.reshape(-1, *[1] * rank)

    return run
