"""A PyTorch network's weights for the same network in another framework.

Layers have the same names everywhere, so all that differs is what each kind of layer calls its
arrays, how it lays them out, and how names are joined:

    pytorch      blocks.0.first.0.weight           Conv2d (O, I/g, kH, kW)   Linear (O, I)
    tensorflow   blocks.0.first.0/kernel           (kH, kW, I, O)            (I, O)
    jax          blocks/layers/0/first/.../kernel  (kH, kW, I/g, O)          (I, O)
    mxnet        blocks.0.first.0.weight           (O, I/g, kH, kW)          (O, I)

Attention is one matrix for query, key and value in PyTorch, and three with an axis of heads in
Keras and Flax: (width, heads, size), and (heads, size, width) on the way out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

Array = npt.NDArray[Any]
Named = Iterator[tuple[str, Array]]


@dataclass(frozen=True)
class Dialect:
    """How a framework names and lays out arrays.

    Attributes:
        place: of a module's name, what the framework's names of its arrays begin with.
        weight: name of a layer's matrix or kernel; its bias is ``bias`` everywhere.
        norm: names of a norm's scale, shift, mean and variance.
        conv: order of a kernel's axes, of (O, I/g, kH, kW).
        depthwise: the same where every channel has a kernel of its own.
        linear: order of a matrix's axes, of (O, I).
        out: name of attention's last matrix.
    """

    place: Callable[[str], str]
    weight: str
    norm: tuple[str, str, str, str]
    conv: tuple[int, int, int, int]
    depthwise: tuple[int, int, int, int]
    linear: tuple[int, int]
    out: str = ""


def _flax_path(name: str) -> str:
    """Members of an nnx.Sequential, which have numbers, lie below ``layers``."""
    parts = name.split(".") if name else []
    return "".join(f"layers/{part}/" if part.isdigit() else f"{part}/" for part in parts)


DIALECTS = {
    "tensorflow": Dialect(
        lambda name: f"{name}/",
        "kernel",
        ("gamma", "beta", "moving_mean", "moving_variance"),
        (2, 3, 1, 0),
        (2, 3, 0, 1),
        (1, 0),
        "attention_output",
    ),
    "jax": Dialect(
        _flax_path,
        "kernel",
        ("scale", "bias", "mean", "var"),
        (2, 3, 1, 0),
        (2, 3, 1, 0),
        (1, 0),
        "out",
    ),
    "mxnet": Dialect(
        lambda name: f"{name}." if name else "",
        "weight",
        ("gamma", "beta", "running_mean", "running_var"),
        (0, 1, 2, 3),
        (0, 1, 2, 3),
        (0, 1),
    ),
}


def ported(net: nn.Module, framework: str) -> dict[str, Array]:
    """A network's weights and statistics, as the framework's own network has them.

    Args:
        net: the PyTorch network.
        framework: name of a framework of `spa.frameworks`.

    Returns:
        Arrays by the framework's own names; see `spa.frameworks.Framework.build`.
    """
    if framework == "pytorch":
        state = net.state_dict().items()
        return {k: _array(v) for k, v in state if not k.endswith("num_batches_tracked")}
    dialect = DIALECTS[framework]
    arrays: dict[str, Array] = {}
    inside: tuple[str, ...] = ()
    for name, module in net.named_modules():
        if inside and name.startswith(inside):
            continue
        if isinstance(module, nn.MultiheadAttention):
            inside = (*inside, f"{name}.")  # its last matrix is a module, and done with it
        prefix = dialect.place(name)
        arrays |= {prefix + key: value for key, value in _own(module, dialect)}
    return arrays


def port(net: nn.Module, framework: str, path: Path) -> Path:
    """Writes `ported` weights as a file (.npz)."""
    arrays: dict[str, Any] = ported(net, framework)
    np.savez(path, **arrays)
    return path


def _own(module: nn.Module, dialect: Dialect) -> Named:
    """Arrays of a module, without those of modules within."""
    scale, shift, mean, variance = dialect.norm
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        order: tuple[int, ...] = dialect.linear
        if isinstance(module, nn.Conv2d):
            order = dialect.conv if module.groups == 1 else dialect.depthwise
        yield dialect.weight, _array(module.weight).transpose(order)
        if module.bias is not None:
            yield "bias", _array(module.bias)
    elif isinstance(module, (nn.BatchNorm2d, nn.LayerNorm)):
        yield scale, _array(module.weight)
        yield shift, _array(module.bias)
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            yield mean, _array(module.running_mean)
            yield variance, _array(module.running_var)
    elif isinstance(module, nn.MultiheadAttention):
        yield from _attention(module, dialect)
    else:  # parameters of the network's own
        for name, parameter in module.named_parameters(recurse=False):
            yield name, _array(parameter)


def _attention(module: nn.MultiheadAttention, dialect: Dialect) -> Named:
    width, heads = module.embed_dim, module.num_heads
    assert module.in_proj_weight is not None
    matrices = np.split(_array(module.in_proj_weight), 3)  # each (width, width): out, in
    biases = np.split(_array(module.in_proj_bias), 3)
    for name, matrix, bias in zip(("query", "key", "value"), matrices, biases, strict=True):
        yield f"{name}/{dialect.weight}", matrix.T.reshape(width, heads, -1)
        yield f"{name}/bias", bias.reshape(heads, -1)
    last = _array(module.out_proj.weight)
    yield f"{dialect.out}/{dialect.weight}", last.T.reshape(heads, -1, width)
    yield f"{dialect.out}/bias", _array(module.out_proj.bias)


def _array(tensor: Tensor) -> Array:
    return np.asarray(tensor.detach().cpu().numpy())
