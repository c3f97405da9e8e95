"""Moments of channels in closed form, and what they say of batch norms once channels go.

A batch norm's output is taken as normal with its shift as mean and its scale as deviation, and
independent of all other channels. So with (m, v) the mean and variance of every channel:

1. BatchNormalization: (shift, scale^2), whatever comes in; the same in both models.
2. Relu: of a rectified normal, with a = m / sqrt(v), phi and Phi of the standard normal:
   m Phi(a) + sqrt(v) phi(a)   and   (m^2 + v) Phi(a) + m sqrt(v) phi(a) - mean^2.
3. Conv, ConvTranspose, Gemm, MatMul: (sum W m + bias, sum W^2 v), over what is read; a channel that
   goes adds nothing.
4. Add: sums. 5. GlobalAveragePool and AveragePool, ReduceMean over places: (m, v) as they are, as
   places of one channel are alike. MaxPool, Dropout, Identity, Flatten of one place: likewise.

What no rule knows has no moments, and batch norms behind it keep what they have stored. A stored
mean moves by the difference of the two models' means, a stored variance by the quotient of their
variances, and a refit's weights count as they are: with refitted weights, which rely on
correlations, the quotient is wrong, so the variance then stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from spa.graph.model import Array, Model
from spa.graph.nodes import Node
from spa.observe.layers import LinearLayer
from spa.observe.stream import is_batch_norm

Values = npt.NDArray[np.float64]
# How far a variance may move.
RATIO = (1e-3, 4.0)
_SAME = frozenset({
    "AveragePool", "Dropout", "GlobalAveragePool", "GlobalMaxPool", "Identity", "MaxPool", "Pad",
    "ReduceMean",
})  # fmt: skip


@dataclass(frozen=True)
class Moments:
    """Mean and variance of every channel, each (C,)."""

    mean: Values
    var: Values


Known = dict[str, Moments]


def analytic_moments(
    model: Model,
    layers: Mapping[str, LinearLayer],
    weights: Callable[[str], Array],
    keeps: Callable[[LinearLayer], npt.NDArray[np.bool_] | None],
) -> dict[str, Moments]:
    """Moments of what batch norms read, by the batch norm's output.

    Args:
        model: the model.
        layers: its linear layers, by output.
        weights: a parameter's value, which may not be the model's own.
        keeps: which channels that a layer reads stay; None for all.
    """
    known: Known = {}
    found: dict[str, Moments] = {}
    for node in model.graph.nodes:
        if is_batch_norm(node):
            scale, shift = (weights(name).astype(np.float64) for name in node.inputs[1:3])
            if node.inputs[0] in known:
                found[node.outputs[0]] = known[node.inputs[0]]
            known[node.outputs[0]] = Moments(shift, np.square(scale))
            continue
        moments = _of_node(model, node, layers.get(node.outputs[0]), known, weights, keeps)
        if moments is not None:
            known[node.outputs[0]] = moments
    return found


def _of_node(
    model: Model,
    node: Node,
    layer: LinearLayer | None,
    known: Known,
    weights: Callable[[str], Array],
    keeps: Callable[[LinearLayer], npt.NDArray[np.bool_] | None],
) -> Moments | None:
    if layer is not None:
        read = known.get(node.inputs[layer.data])
        return None if read is None else _mixed(model, layer, read, weights, keeps(layer))
    if node.op == "Conv":  # a depthwise one: every channel by itself
        read = known.get(node.inputs[0])
        if read is None or node.inputs[1] not in model.constants:
            return None
        return _depthwise(node, read, weights)
    if node.op == "Add":
        a, b = (known.get(name) for name in node.inputs)
        return None if a is None or b is None else Moments(a.mean + b.mean, a.var + b.var)
    read = known.get(node.inputs[0]) if node.inputs else None
    if read is None:
        return None
    if node.op == "Relu":
        return rectified(read)
    if node.op == "Flatten":
        shape = model.shapes.get(node.inputs[0], ())
        return read if len(shape) > 1 and int(np.prod(shape[2:])) == 1 else None
    return read if node.op in _SAME else None


def rectified(moments: Moments) -> Moments:
    """Of max(x, 0), for normal x."""
    deviation = np.sqrt(np.maximum(moments.var, 1e-30))
    a = moments.mean / deviation
    density = np.exp(-np.square(a) / 2) / np.sqrt(2 * np.pi)
    mean = moments.mean * ndtr(a) + deviation * density
    square = (np.square(moments.mean) + moments.var) * ndtr(a) + moments.mean * deviation * density
    return Moments(mean, np.maximum(square - np.square(mean), 0.0))


def _mixed(
    model: Model,
    layer: LinearLayer,
    read: Moments,
    weights: Callable[[str], Array],
    keep: npt.NDArray[np.bool_] | None,
) -> Moments | None:
    node = layer.node
    value = weights(layer.weight_name).astype(np.float64)
    blocks = layer.blocks(value)  # (g, O, D)
    size = value.shape[layer.axis]
    per_column = layer.columns(np.arange(size))  # (g, D)
    # Of a grouped convolution each group reads channels of its own.
    own = size * layer.groups if node.op == "Conv" else size
    if own != read.mean.size:
        return None
    first = np.arange(layer.groups)[:, None] * size if node.op == "Conv" else 0
    mean, var = (x[per_column + first] for x in (read.mean, read.var))
    if keep is not None:
        here = layer.columns(keep)
        mean, var = mean * here, var * here
    total = np.einsum("god,gd->go", blocks, mean).reshape(-1)
    spread = np.einsum("god,gd->go", np.square(blocks), var).reshape(-1)
    if node.op != "MatMul" and node.has_input(2) and node.inputs[2] in model.constants:
        bias = weights(node.inputs[2]).astype(np.float64).reshape(-1)
        total = total + (bias if bias.size == total.size else 0.0)
    return Moments(total, spread)


def _depthwise(node: Node, read: Moments, weights: Callable[[str], Array]) -> Moments | None:
    value = weights(node.inputs[1]).astype(np.float64)
    groups = int(node.attr("group", 1))
    if value.shape[1] != 1 or groups != read.mean.size or value.shape[0] % groups:
        return None
    each = value.shape[0] // groups
    flat = value.reshape(value.shape[0], -1)
    # Places of one channel are alike: the kernel's sum weighs them.
    total = flat.sum(axis=1)
    mean, var = np.repeat(read.mean, each) * total, np.repeat(read.var, each) * np.square(total)
    if node.has_input(2):
        mean = mean + weights(node.inputs[2]).astype(np.float64)
    return Moments(mean, var)


def moved(
    mean: Array, var: Array, dense: Moments, pruned: Moments, *, variance: bool
) -> tuple[Array, Array]:
    """Stored statistics, moved by what the moments of two models say."""
    new = mean.astype(np.float64) + pruned.mean - dense.mean
    spread = var.astype(np.float64)
    if variance:
        floor = np.maximum(dense.var, 1e-6 * float(dense.var.mean()) + 1e-30)
        spread = spread * np.clip(pruned.var / floor, *RATIO)
    return new.astype(mean.dtype), spread.astype(var.dtype)
