"""`onnx/<path>`: a file that somebody else trained. It is the dense network as it is."""

from __future__ import annotations

from pathlib import Path

import onnx

from experiments.models import MODELS, Shape
from spa.errors import InputError, ModelError, SettingError
from spa.graph.nodes import real_inputs

PREFIX = "onnx/"


@MODELS.register(PREFIX)
def onnx_file(path: str, input_shape: Shape, classes: int) -> onnx.ModelProto:
    """Read the file and check that its input and output fit the data set.

    Raises:
        SettingError: there is no such file.
        ModelError: it is no ONNX model.
        InputError: its input or output has another size than the data set.
    """
    if not Path(path).is_file():
        raise SettingError(f"model={PREFIX}{path}: there is no file {path}")
    try:
        proto = onnx.load(path)
        onnx.checker.check_model(proto)
    except Exception as error:  # onnx raises a dozen kinds; all mean the same here
        raise ModelError(f"{path} is no valid ONNX model: {error}") from error
    inputs = real_inputs(proto.graph)
    if len(inputs) != 1:
        raise InputError(f"{path} has {len(inputs)} inputs; the harness feeds exactly one")
    _fits(path, "input", inputs[0], input_shape)
    _fits(path, "output", proto.graph.output[0], (classes,))
    return proto


def _fits(path: str, what: str, value: onnx.ValueInfoProto, expected: tuple[int, ...]) -> None:
    sizes = value.type.tensor_type.shape.dim[1:]
    fixed = [size.dim_value or None for size in sizes]  # None: any size
    fits = len(fixed) == len(expected) and all(
        have in (None, want) for have, want in zip(fixed, expected, strict=False)
    )
    if not fits:
        raise InputError(
            f"{path}: its {what} {value.name!r} is {fixed} after the batch axis, "
            f"but the data set needs {list(expected)}"
        )
