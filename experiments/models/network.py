"""A network by its name: made fresh, and written as the ONNX file that it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from experiments.ground.seeds import seed_torch
from experiments.models import MODELS

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
