"""`onnx/<path>`: a file that somebody else trained. It is the dense network as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx

from experiments.models import MODELS
from spa.errors import ModelError, SettingError

PREFIX = "onnx/"


@MODELS.register(PREFIX)
def onnx_file(
    path: str, input_shape: Any, classes: int, vocabulary: int | None = None
) -> onnx.ModelProto:
    """Read the file; whether it fits the data set is for `network.check` to see.

    Raises:
        SettingError: there is no such file.
        ModelError: it is no ONNX model.
    """
    if not Path(path).is_file():
        raise SettingError(f"model={PREFIX}{path}: there is no file {path}")
    try:
        proto = onnx.load(path)
        onnx.checker.check_model(proto)
    except Exception as error:  # onnx raises a dozen kinds; all mean the same here
        raise ModelError(f"{path} is no valid ONNX model: {error}") from error
    return proto
