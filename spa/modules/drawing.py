"""Random weights for a module, drawn so that the signal passes.

Weights as constructors leave them can hide all that a network does: a head of zeros, a LayerScale
of 1e-6, a gate of 0. What is drawn here hides nothing:

1. running means are small, running variances and scales (vectors of any name without "bias") lie
   around one and are positive; biases are small;
2. single numbers (a temperature, a gate) stay near their own value, but off zero;
3. weights are normal, with the variance that keeps a signal's scale: one over the number of inputs.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

# Standard deviation of biases, running means, and of tables that are added.
SMALL, TABLE = 0.2, 0.5


def state(net: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by every name that they have."""
    return {
        **dict(net.named_parameters(remove_duplicate=False)),
        **dict(net.named_buffers(remove_duplicate=False)),
    }


def draw(net: nn.Module, seed: int, gain: float) -> dict[str, Tensor]:
    """Draws values for all floating parameters and running statistics.

    Args:
        net: the module; it stays as it is.
        seed: for whatever is drawn.
        gain: factor on the scale of weights (case 3), for networks that shrink their signal.

    Returns:
        Values by name; what is tied has the same ones under each of its names.
    """
    random = np.random.default_rng(seed)
    drawn: dict[int, Tensor] = {}
    values = {}
    for name, tensor in state(net).items():
        path, _, leaf = name.rpartition(".")
        statistic = leaf in ("running_mean", "running_var")
        if not tensor.is_floating_point() or not (statistic or isinstance(tensor, nn.Parameter)):
            continue
        if id(tensor) not in drawn:
            array = _array(net.get_submodule(path), leaf, tensor, gain, random)
            drawn[id(tensor)] = torch.from_numpy(np.asarray(array)).to(tensor)
        values[name] = drawn[id(tensor)]
    return values


def _array(
    owner: nn.Module, leaf: str, tensor: Tensor, gain: float, random: np.random.Generator
) -> npt.NDArray[np.floating[Any]]:
    shape = tuple(tensor.shape)
    if leaf == "running_mean" or (tensor.dim() == 1 and "bias" in leaf):
        return SMALL * random.standard_normal(shape)
    if leaf == "running_var":
        return random.uniform(0.5, 1.5, shape)
    if tensor.numel() == 1:
        return float(tensor.detach()) + random.uniform(0.25, 0.75, shape)
    if sum(size > 1 for size in shape) < 2:
        return random.uniform(0.5, 1.5, shape)
    return _scale(owner, shape, gain) * random.standard_normal(shape, np.float32)


def _scale(owner: nn.Module, shape: tuple[int, ...], gain: float) -> float:
    if isinstance(owner, (nn.Embedding, nn.EmbeddingBag)):
        return 1.0
    if isinstance(owner, nn.Linear):
        return gain / math.sqrt(shape[1])
    if len(shape) > 2 and shape[0] == 1:
        return TABLE
    if len(shape) > 3 or isinstance(owner, nn.Conv1d):
        return gain / math.sqrt(math.prod(shape[1:]))  # (O, I/g, k...)
    # (I, O) or (O, I), or several of them: which is which does not show.
    return float(gain / (shape[-1] * shape[-2]) ** 0.25)


@contextlib.contextmanager
def holding(net: nn.Module, values: Mapping[str, Tensor]) -> Iterator[None]:
    """Lets a module have other values for a while; statistics that move meanwhile move back."""
    tensors = state(net)
    moving = [t for t in net.buffers() if t is not None]
    own = {id(t): (t, t.detach().clone()) for t in (*(tensors[name] for name in values), *moving)}
    try:
        with torch.no_grad():
            for name, value in values.items():
                tensors[name].copy_(value)
        yield
    finally:
        with torch.no_grad():
            for tensor, value in own.values():
                tensor.copy_(value)
