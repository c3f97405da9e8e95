"""What a model may come as: an ONNX file, a proto, or a torch module."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import onnx

from spa.errors import InputError
from spa.graph.load import load_file, load_proto
from spa.graph.model import Model
from spa.graph.read import model_sha256

if TYPE_CHECKING:
    import torch

Source: TypeAlias = Union[str, Path, onnx.ModelProto, "torch.nn.Module"]


def load(source: Source, inputs: Any = None) -> Model:
    """Reads a model, checks it and runs it once.

    Args:
        source: path of an ONNX file, a ``ModelProto``, or a ``torch.nn.Module``.
        inputs: for ONNX: shapes or arrays by input name, for what cannot be guessed. For a module:
            the example tensor, or a tuple of them (the batch axis is taken as dynamic).

    Raises:
        ModelError: the model cannot be read, checked or run.
        InputError: the given inputs do not fit, or none could be guessed.

    Example:
        >>> model = spa.load("resnet50.onnx", {"input": (2, 3, 224, 224)})
    """
    if isinstance(source, Model):
        return source
    if isinstance(source, (str, os.PathLike, onnx.ModelProto)):
        if isinstance(inputs, Mapping) or inputs is None:
            source = source if isinstance(source, onnx.ModelProto) else Path(source)
            return load_file(source, inputs)
        raise InputError("inputs must map input names to shapes or arrays.")
    if type(source).__module__.partition(".")[0] in ("builtins", "numpy", "spa"):
        raise InputError(
            f"A model is a path of an ONNX file, a ModelProto, or a torch module; a "
            f"{type(source).__name__} was given."
        )
    from spa.bridge import from_torch

    if inputs is None:
        raise InputError(
            "A PyTorch module needs example inputs: pass inputs=<tensor or tuple of tensors>."
        )
    proto = from_torch(source, inputs)
    # Exports keep equal parameters apart, so what one name stands for is one parameter.
    tied = frozenset(source.state_dict())
    return load_proto(proto, model_sha256(proto), type(source).__name__, {}, tied)
