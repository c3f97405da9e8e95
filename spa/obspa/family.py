"""What a network is, as far as it decides how to prune it without training.

Transformers: a softmax between two products of activations (attention), and more multiplications in
linear maps of tokens than in convolutions. In them weight norms say nothing about what a channel
does, or the opposite, and a target that holds what earlier layers lost is over-fitted under a
small ridge. All other networks count as convolutional.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from spa.graph.cost import node_costs
from spa.graph.model import Model
from spa.graph.nodes import Node
from spa.obspa.settings import SHARE

Family = Literal["convolutional", "transformer"]
_ATTENTION = frozenset({
    "Attention", "com.microsoft::Attention", "com.microsoft::MultiHeadAttention",
    "com.microsoft::GroupQueryAttention", "com.microsoft::PackedAttention",
})  # fmt: skip
_CONVOLUTIONS = ("Conv", "ConvTranspose", "DeformConv")
_BETWEEN = ("Cast", "Dropout", "Identity", "Where", "Mul", "Reshape", "Transpose")


@dataclass(frozen=True)
class Defaults:
    """What is done where nothing else is asked for.

    Attributes:
        selection: the criterion.
        normalize: how its scores are made comparable.
        target_outputs: what refitted layers should give.
        damping: the ridge.
        token_weights: whether positions count less where the stream is larger.
    """

    selection: str
    normalize: str
    target_outputs: str
    damping: float | str
    token_weights: bool


def family_of(model: Model) -> Family:
    """Tells a model's family from its graph."""
    if not any(_is_attention(model, node) for node in model.graph.nodes):
        return "convolutional"
    conv = linear = 0.0
    for cost in node_costs(model):
        macs = cost.factor * math.prod(model.shapes[name][axis] for name, axis in cost.axes)
        if model.graph.nodes[cost.node].op in _CONVOLUTIONS:
            conv += macs
        else:
            linear += macs
    return "transformer" if linear > conv else "convolutional"


def _is_attention(model: Model, node: Node) -> bool:
    if node.op in _ATTENTION:
        return True
    if node.op != "Softmax":
        return False
    seen: set[int] = set()
    frontier = [node.outputs[0]]
    while frontier:
        name = frontier.pop()
        for use in model.graph.uses.get(name, ()):
            reader = model.graph.nodes[use.node]
            if reader.op in ("MatMul", "Einsum"):
                others = [other for other in reader.inputs if other and other != name]
                if not model.constants.issuperset(others):
                    return True
            elif reader.op in _BETWEEN and use.node not in seen:
                seen.add(use.node)
                frontier.append(reader.outputs[0])
    return False


def defaults(family: Family, *, given: bool) -> Defaults:
    """Defaults that were measured.

    Args:
        family: of the network.
        given: whether somebody gave calibration inputs; those that are made are of another kind
            than what the network will see, and want a stronger ridge.
    """
    if family == "convolutional":
        return Defaults("l1", "mean", "dense", SHARE, False)
    return Defaults("obs", "mean", "stream", "held-out" if given else 1.0, True)
