"""A network by its name: made fresh for a data set, and written as the ONNX file that it is."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.data.base import Dataset
from experiments.ground.seeds import seed_torch
from experiments.models import MODELS, takes_tokens
from experiments.tasks import Interface, task_of
from spa.errors import InputError

if TYPE_CHECKING:
    import onnx
    import torch
    from torch import nn


def fresh(name: str, data: Dataset, seed: int) -> tuple[nn.Module, onnx.ModelProto]:
    """Make the untrained network, as a module to train and as the ONNX file that it is.

    Args:
        name: of the model.
        data: what it is to take.
        seed: the run's.

    Raises:
        InputError: the model is not made for inputs or answers of that kind.
    """
    import onnx

    from spa.bridge import to_torch

    seed_torch(seed, "initial weights")
    net = made(name, data)
    if isinstance(net, onnx.ModelProto):
        check(name, net, data)
        return to_torch(net), net
    proto = _exported(net, data)
    check(name, proto, data)
    return net, proto


def check(name: str, model: onnx.ModelProto, data: Dataset) -> None:
    """Check that a network takes a data set's samples, and answers what its task asks.

    Raises:
        InputError: it does not.
    """
    file = Interface.of(f"model={name}", model)
    file.takes(data)
    task_of(data).fits(file, data)


def made(name: str, data: Dataset) -> Any:
    """Make a model for a data set: a fresh module, or the file that somebody trained.

    Raises:
        InputError: the model is not made for inputs of that kind.
    """
    factory = MODELS.get(name)
    tokens = "vocabulary" in inspect.signature(factory).parameters
    if not tokens and data.vocabulary is not None:
        raise InputError(f"model={name} takes no tokens, but the data set {data.name} is of tokens")
    if takes_tokens(name) and data.vocabulary is None:
        raise InputError(f"model={name} takes tokens, but the data set {data.name} has none")
    several = len(data.shapes) > 1
    if several and "input_shape" in inspect.signature(factory).parameters:
        raise InputError(
            f"model={name} takes one input, but the data set {data.name} has "
            f"{' and '.join(data.shapes)}"
        )
    shape = data.shapes if several else data.shape
    more = {"vocabulary": data.vocabulary} if tokens else {}
    return factory(shape, data.classes, **more)


def export(net: nn.Module, init: onnx.ModelProto, data: Dataset) -> onnx.ModelProto:
    """Write a trained module as ONNX, the way that it came."""
    from spa.bridge import OnnxModule, to_onnx

    return to_onnx(net, init) if isinstance(net, OnnxModule) else _exported(net, data)


def with_weights(name: str, data: Dataset, file: Path) -> nn.Module:
    """Make a network of PyTorch's with the weights of its own ONNX file, in eval mode.

    Args:
        name: of the model.
        data: what it takes.
        file: what `fresh` or `export` made, where weights have their names in the module.

    Raises:
        InputError: the file is another network's.
    """
    import onnx
    import torch
    from onnx import numpy_helper

    held = {t.name: numpy_helper.to_array(t) for t in onnx.load(file).graph.initializer}
    net: nn.Module = made(name, data).eval()
    state = net.state_dict()
    for key, value in state.items():
        # The count of batches that a batch norm has seen is no part of what a network computes.
        if key.endswith("num_batches_tracked"):
            continue
        if key not in held or held[key].shape != tuple(value.shape):
            raise InputError(f"{file} has no weight {key} of shape {tuple(value.shape)}")
        state[key] = torch.from_numpy(held[key].copy())
    net.load_state_dict(state)
    return net


def tensors(data: Dataset) -> tuple[torch.Tensor, ...]:
    """Two samples, as a module of PyTorch's is called with them."""
    import torch

    return tuple(torch.from_numpy(x) for x in data.example().values())


def _exported(net: nn.Module, data: Dataset) -> onnx.ModelProto:
    from spa.bridge import from_torch

    proto = from_torch(net.eval(), tensors(data))
    if len(data.shapes) > 1:  # they are fed by name
        numbers = {f"input_{i}": name for i, name in enumerate(data.shapes)}
        for value in proto.graph.input:
            value.name = numbers[value.name]
        for node in proto.graph.node:
            node.input[:] = [numbers.get(name, name) for name in node.input]
    return proto
