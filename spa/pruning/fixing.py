"""Comparing two models around operators whose outputs need not agree.

Some operators would make a right model look wrong: those that draw random numbers, those at which a
removal is not exact (a norm over fewer channels is another norm), and those that jump (TopK,
rounding: a difference in the last bit picks another entry; a determinant near zero is what rounding
leaves). Their outputs are *fixed*: taken from the dense run, less what goes, and fed to both. What
they read is compared like an output, so that everything before, between and after them is proven.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from spa.coupling.couple import Cut
from spa.graph.execute import run
from spa.graph.model import Array, Model
from spa.graph.nodes import Node, set_nodes
from spa.graph.weightless import without_weights

RANDOM_OPS = frozenset({
    "Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
    "RandomUniformLike",
})  # fmt: skip
JUMPING_OPS = frozenset({
    "ArgMax", "ArgMin", "Ceil", "Compress", "Det", "DynamicQuantizeLinear", "Equal", "Floor",
    "Greater", "GreaterOrEqual", "Hardmax", "Less", "LessOrEqual", "Mod", "NonMaxSuppression",
    "NonZero", "QuantizeLinear", "Round", "Sign", "ThresholdedRelu", "TopK", "Unique",
    "com.microsoft::QuantizeLinear",
})  # fmt: skip


@dataclass(frozen=True)
class Fixing:
    """Which nodes' outputs are fixed, and what is compared besides the model's outputs.

    Attributes:
        nodes: the nodes.
        outputs: their outputs.
        watched: what they read and other nodes compute.
    """

    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    watched: tuple[str, ...]


def fixing(model: Model, nodes: Sequence[Node]) -> Fixing | None:
    """Prepares to fix the outputs of some nodes; None where one cannot be fed as an array."""
    outputs = [name for node in nodes for name in node.outputs if name]
    if any(name not in model.observed.dtypes for name in outputs):
        return None
    made = set(made_tensors(model))
    read = dict.fromkeys(name for node in nodes for name in node.inputs)
    return Fixing(tuple(nodes), tuple(outputs), tuple(name for name in read if name in made))


def made_tensors(model: Model) -> list[str]:
    """Tensors that nodes compute from the model's inputs and NumPy can hold, in order."""
    return [
        name
        for node in model.graph.nodes
        for name in node.outputs
        if name in model.observed.dtypes and name not in model.constants
    ]


def random_nodes(model: Model) -> list[Node]:
    """Nodes that draw random numbers."""
    return [node for node in model.graph.nodes if node.op in RANDOM_OPS]


def jumping_nodes(model: Model) -> list[Node]:
    """Nodes whose output jumps, and depends on the model's inputs."""
    return [
        node
        for node in model.graph.nodes
        if node.op in JUMPING_OPS and not model.constants.issuperset(node.outputs)
    ]


def inexact_nodes(model: Model, cut: Cut) -> list[Node]:
    """Nodes at which the removal of what goes is not exact."""
    found = {
        remark.node
        for remark in cut.coupling.inexact
        if remark.node is not None and cut.removed[remark.labels].any()
    }
    return [model.graph.nodes[i] for i in sorted(found)]


class Runs:
    """Runs of two models on one example, with some outputs fixed in both.

    Args:
        dense: the zeroed dense model.
        cut: what goes.
        feed: the example.
        fixed: what is fixed, if anything.
        optimize: let ONNX Runtime rewrite the model that says what it is fixed to.

    Raises:
        ModelError: the dense model does not run.
    """

    def __init__(
        self,
        dense: onnx.ModelProto,
        cut: Cut,
        feed: Mapping[str, Array],
        fixed: Fixing,
        *,
        optimize: bool = True,
    ) -> None:
        self._cut = cut
        self._feed = feed
        self._fixed = fixed
        # Several fixed nodes may follow one another, so one dense run gives all their values.
        first = _run(dense, feed, {}, fixed.outputs, optimize) if fixed.nodes else {}
        self._values = {name: _finite(first[name], cut, name) for name in fixed.outputs}

    def of_dense(self, dense: onnx.ModelProto, *, optimize: bool = True) -> dict[str, Array]:
        """Outputs and watched tensors of a model of the dense shape, less what goes."""
        found = _run(dense, self._feed, self._values, self._fixed.watched, optimize)
        return {name: kept_of(value, self._cut, name) for name, value in found.items()}

    def of_pruned(self, pruned: onnx.ModelProto, *, optimize: bool = True) -> dict[str, Array]:
        """The same of the pruned model."""
        values = {name: kept_of(value, self._cut, name) for name, value in self._values.items()}
        return _run(pruned, self._feed, values, self._fixed.watched, optimize)


def _run(
    proto: onnx.ModelProto,
    feed: Mapping[str, Array],
    fixed: Mapping[str, Array],
    wanted: Sequence[str],
    optimize: bool,
) -> dict[str, Array]:
    """Runs a model with some tensors fed; returns its other outputs, and the wanted tensors."""
    light, weights = without_weights(proto)
    set_nodes(light.graph, [n for n in light.graph.node if not fixed.keys() & set(n.output)])
    for value in [value for value in light.graph.output if value.name in fixed]:
        light.graph.output.remove(value)
    del light.graph.value_info[:]
    light.graph.input.extend(
        onnx.helper.make_tensor_value_info(
            name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
        )
        for name, value in fixed.items()
    )
    names = [value.name for value in light.graph.output]
    if not names and not wanted:
        return {}
    also = [name for name in wanted if name not in fixed and name not in names]
    results = run(light, {**feed, **fixed}, also=also, weights=weights, optimize=optimize)
    return dict(zip([*names, *also], results, strict=True))


def _finite(value: Array, cut: Cut, name: str) -> Array:
    """Puts zero where what goes is infinite or no number.

    A channel of zeros that is divided by its own norm is none; no weight of zero takes that back.
    """
    if value.dtype.kind != "f" or np.isfinite(value).all():
        return value
    stays = np.zeros(value.shape, dtype=bool)
    masks = cut.of_tensor(name)
    stays[np.ix_(*(np.ones(n, bool) if m is None else m
                   for n, m in zip(value.shape, masks, strict=True)))] = True  # fmt: skip
    return np.where(stays | np.isfinite(value), value, value.dtype.type(0))


def kept_of(value: Array, cut: Cut, name: str) -> Array:
    """What stays of a tensor of the dense model."""
    for axis, mask in enumerate(cut.of_tensor(name)):
        if mask is not None:
            value = np.compress(mask, value, axis=axis)
    return value
