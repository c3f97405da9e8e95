"""What a model may come as: an ONNX file, a proto, or a torch module."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import onnx

from spa.errors import InputError
from spa.graph.example import InputSpec
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
            what it is called with: a tensor, a tuple or list of arguments, a dict of keyword
            arguments, or shapes. The first axis is taken as the batch where the module runs with
            another one. Whatever runs the model later runs it on these values.

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
    from spa.bridge import from_torch
    from spa.bridge.calls import call_of, example_of

    module = _module(source)
    call = call_of(module, inputs)
    proto = from_torch(module, call)
    # Exports keep equal parameters apart, so what one name stands for is one parameter.
    tied = frozenset(module.state_dict())
    given: dict[str, InputSpec] = dict(example_of(proto, call))
    return load_proto(proto, model_sha256(proto), type(module).__name__, given, tied)


def _module(source: Any) -> torch.nn.Module:
    """A torch module, without what torch.compile and parallel training wrap around it.

    Raises:
        InputError: it is none.
    """
    from torch import nn

    from spa.bridge.calls import bare

    if not isinstance(source, nn.Module):
        raise InputError(
            "A model is a path of an ONNX file, a ModelProto, or a torch.nn.Module; a "
            f"{type(source).__name__} was given."
        )
    return bare(source)
