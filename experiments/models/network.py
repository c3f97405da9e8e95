"""A network by its name: made fresh, and written as the ONNX file that it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiments.ground.seeds import seed_torch
from experiments.models import MODELS
from spa.errors import InputError

if TYPE_CHECKING:
    import onnx
    from torch import nn


def fresh(
    name: str, example: np.ndarray, classes: int, seed: int
) -> tuple[nn.Module, onnx.ModelProto]:
    """Make the untrained network, as a module to train and as the ONNX file that it is.

    Args:
        name: of the model.
        example: two pictures (2, C, H, W) of the data set.
        classes: of the data set.
        seed: the run's.
    """
    import onnx
    import torch

    from spa.bridge import from_torch, to_torch

    seed_torch(seed, "initial weights")
    made = MODELS.get(name)(example.shape[1:], classes)
    if isinstance(made, onnx.ModelProto):
        return to_torch(made), made
    return made, from_torch(made.eval(), torch.from_numpy(example))


def export(net: nn.Module, init: onnx.ModelProto, example: np.ndarray) -> onnx.ModelProto:
    """Write a trained module as ONNX, the way that it came."""
    import torch

    from spa.bridge import OnnxModule, from_torch, to_onnx

    if isinstance(net, OnnxModule):
        return to_onnx(net, init)
    return from_torch(net.eval(), torch.from_numpy(example))


def with_weights(name: str, example: np.ndarray, classes: int, file: Path) -> nn.Module:
    """Make a network of PyTorch's with the weights of its own ONNX file, in eval mode.

    Args:
        name: of the model.
        example: two pictures (2, C, H, W) of the data set.
        classes: of the data set.
        file: what `fresh` or `export` made, where weights have their names in the module.

    Raises:
        InputError: the file is another network's.
    """
    import onnx
    import torch
    from onnx import numpy_helper

    held = {t.name: numpy_helper.to_array(t) for t in onnx.load(file).graph.initializer}
    net: nn.Module = MODELS.get(name)(example.shape[1:], classes).eval()
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
