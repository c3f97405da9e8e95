"""Networks: a file per family. A factory takes (input_shape, classes) and gives a fresh nn.Module.

Open families (``torchvision/``, ``onnx/``) take the rest of the name first. The members of
``onnx/`` are files, trained already, and come as a ModelProto; see `onnx_file`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from experiments.registry import Registry

Shape = tuple[int, int, int]  # (C, H, W) of one picture
Factory = Callable[..., Any]

MODELS: Registry[Factory] = Registry("model", package="experiments.models")
