"""Exporting a small module, and checking its groups and proofs."""

from __future__ import annotations

import onnx
import torch
from torch import nn

from spa.bridge import from_torch
from tests.coupling.cases import described, prove


def exported(module: nn.Module, *shape: int) -> onnx.ModelProto:
    torch.manual_seed(0)
    for part in module.modules():
        if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
    return from_torch(module.eval(), torch.randn(2, *shape))


def check(proto: onnx.ModelProto, *groups: str) -> onnx.ModelProto:
    """The groups are as expected, and a model pruned at random is proven; returns it."""
    assert described(proto) == sorted(groups)
    exact = not any(group.startswith("~") for group in groups)
    return prove(proto, plain=False, equal=exact, seeds=(0, 1))
