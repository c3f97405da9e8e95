"""Changes of type, and operators that pass their input on."""

from __future__ import annotations

import torch
from onnx import TensorProto
from torch import Tensor

from spa.bridge.registry import Function, Operator, OpNode, converter, elementwise
from spa.errors import BridgeError

DTYPES = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.FLOAT16: torch.float16,
    TensorProto.BFLOAT16: torch.bfloat16,
    TensorProto.DOUBLE: torch.float64,
    TensorProto.UINT8: torch.uint8,
    TensorProto.INT8: torch.int8,
    TensorProto.INT16: torch.int16,
    TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64,
    TensorProto.BOOL: torch.bool,
}

elementwise("Identity", lambda x: x)
elementwise("CastLike", lambda x, like: x.to(like.dtype))


@converter("Cast")
def cast(node: OpNode) -> Function:
    """To one of the types that torch computes with."""
    try:
        dtype = DTYPES[node.attrs["to"]]
    except KeyError as error:
        raise BridgeError(
            f'Cast "{node.name}" is to {TensorProto.DataType.Name(node.attrs["to"])}, a type that '
            "PyTorch does not compute with."
        ) from error
    return lambda x: x.to(dtype)


class Dropout(Operator):
    """Drops values while training; passes its input on otherwise. The mask is an output."""

    def __init__(self, ratio: float) -> None:
        super().__init__(host=(1, 2))
        self.ratio = ratio

    def compute(self, *inputs: Tensor | None) -> tuple[Tensor, ...]:
        """Return the output and the mask of what was let through."""
        x, ratio, *_ = *inputs, None
        assert x is not None
        share = self.ratio if ratio is None else float(ratio)
        mask = torch.ones_like(x, dtype=torch.bool)
        if not self.training or share == 0.0:
            return x, mask
        mask = torch.rand_like(x) >= share
        return x * mask / (1.0 - share), mask


@converter("Dropout")
def dropout(node: OpNode) -> Operator:
    """Whether it drops is the module's mode, not the graph's training_mode."""
    return Dropout(node.attrs.get("ratio", 0.5))
