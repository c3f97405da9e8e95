"""Labelled data to fine-tune a model on: whether they fit it."""

from __future__ import annotations

import importlib.util

import numpy as np
import onnx

from spa.errors import MissingExtra, SettingError
from spa.graph.example import declared_inputs
from spa.graph.model import Array, Model
from spa.graph.nodes import Graph


def check_data(model: Model, x: Array, y: Array) -> None:
    """Finds out whether a model can be fine-tuned on some data.

    Args:
        model: the pruned model, or the dense one, which has the same inputs and outputs.
        x: inputs (N, ...).
        y: labels (N,).

    Raises:
        SettingError: it cannot; the message says why.
        MissingExtra: PyTorch is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise MissingExtra("torch", "torch", "Fine-tuning")
    if len(model.graph.inputs) != 1:
        raise SettingError(
            "Fine-tuning takes labelled data for models of one input; this one has "
            f"{len(model.graph.inputs)}: {', '.join(model.graph.inputs)}."
        )
    x, y, (declared,) = np.asarray(x), np.asarray(y), model.declared
    fixed = declared.dims[0] if declared.dims else None
    if x.shape[0:1] != y.shape or not declared.takes((fixed or 1, *x.shape[1:])):
        raise SettingError(
            f"Data to fine-tune on, x of {x.shape} with {y.size} labels, does not fit input "
            f"{declared.describe()} (the first axis is the batch, ? is free)."
        )
    if len(x) < max(fixed or 1, 2):
        raise SettingError(
            f"Fine-tuning needs {max(fixed or 1, 2)} samples or more, but was given {len(x)}."
        )
    name = model.graph.outputs[0]
    shape = tuple(model.shapes[name])
    if len(shape) != 2 or shape[1] < 2:
        raise SettingError(
            f'Fine-tuning needs class scores of shape (N, classes), but the first output, "{name}",'
            f" has shape {shape}."
        )
    if not 0 <= y.min() <= y.max() < shape[1]:
        raise SettingError(
            f'Labels must be from 0 to {shape[1] - 1}, as output "{name}" has {shape[1]} classes; '
            f"they are from {y.min()} to {y.max()}."
        )


def example_for(
    proto: onnx.ModelProto, shape: tuple[int, ...]
) -> dict[str, tuple[int, ...]] | None:
    """The shape of an example like the data; None where the model takes several inputs."""
    declared = declared_inputs(proto, Graph.from_proto(proto))
    if len(declared) != 1 or not declared[0].dims or not shape:
        return None
    return {declared[0].name: (declared[0].dims[0] or 2, *shape[1:])}
