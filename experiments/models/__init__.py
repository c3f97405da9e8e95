"""Networks: one file per family. A factory takes (shape, classes) and gives a fresh nn.Module.

The open family ``onnx/`` is different: its members are files, trained already; see `onnx_file`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from experiments.registry import Registry

if TYPE_CHECKING:
    from torch import nn

Shape = tuple[int, int, int]  # (C, H, W) of one picture
Factory = Callable[[Shape, int], "nn.Module"]

MODELS: Registry[Factory] = Registry("model", package="experiments.models")
