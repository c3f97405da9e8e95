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
from spa.graph.deferred import cut_slices
from spa.graph.execute import run_each
from spa.graph.model import Array, Model
from spa.graph.nodes import Node, set_nodes
from spa.graph.weightless import without_weights

Example = Mapping[str, Array]
Tensors = dict[str, Array]

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
        watched: what they read and other nodes compute, and whatever else shall be compared.
    """

    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    watched: tuple[str, ...]


def fixing(model: Model, nodes: Sequence[Node], also: Sequence[str] = ()) -> Fixing | None:
    """Prepares to fix the outputs of some nodes; None where one cannot be fed as an array.

    Args:
        model: the dense model.
        nodes: the nodes.
        also: further tensors to compare.
    """
    outputs = [name for node in nodes for name in node.outputs if name]
    if any(name not in model.observed.dtypes for name in outputs):
        return None
    made = set(made_tensors(model))
    read = dict.fromkeys([*(name for node in nodes for name in node.inputs), *also])
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
    """Runs of two models on some examples, with some outputs fixed in both.

    Args:
        dense: the zeroed dense model.
        cut: what goes.
        feeds: the examples.
        fixed: what is fixed, if anything.
        optimize: let ONNX Runtime rewrite the model that says what it is fixed to.

    Raises:
        ModelError: the dense model does not run.
    """

    def __init__(
        self,
        dense: onnx.ModelProto,
        cut: Cut,
        feeds: Sequence[Example],
        fixed: Fixing,
        *,
        optimize: bool = True,
    ) -> None:
        self._cut = cut
        self.feeds = feeds
        self.fixed = fixed
        # Several fixed nodes may follow one another, so one dense run gives all their values.
        wanted = (*fixed.outputs, *fixed.watched)
        found = _run(dense, feeds, [{} for _ in feeds], wanted, optimize)
        first = [{name: tensors[name] for name in fixed.outputs} for tensors in found]
        self._values = [
            {name: _finite(value, cut, name) for name, value in values.items()} for values in first
        ]
        changed = any(a[name] is not b[name] for a, b in zip(first, self._values, strict=True)
                      for name in fixed.outputs)  # fmt: skip
        if changed:
            found = self._on_dense(dense, optimize)
        #: Outputs and watched tensors of the zeroed dense model, less what goes; by example.
        self.reference = self._less(found)

    def of_dense(self, dense: onnx.ModelProto, *, optimize: bool = True) -> list[Tensors]:
        """The same of another model of the dense shape."""
        return self._less(self._on_dense(dense, optimize))

    def of_pruned(self, pruned: onnx.ModelProto, *, optimize: bool = True) -> list[Tensors]:
        """The same of the pruned model."""
        values = [{name: kept_of(v, self._cut, name) for name, v in fixed.items()}
                  for fixed in self._values]  # fmt: skip
        return _run(pruned, self.feeds, values, self.fixed.watched, optimize)

    def _on_dense(self, dense: onnx.ModelProto, optimize: bool) -> list[Tensors]:
        return _run(dense, self.feeds, self._values, self.fixed.watched, optimize)

    def _less(self, found: Sequence[Tensors]) -> list[Tensors]:
        fixed = set(self.fixed.outputs)
        return [
            {name: kept_of(v, self._cut, name) for name, v in tensors.items() if name not in fixed}
            for tensors in found
        ]


def _run(
    proto: onnx.ModelProto,
    feeds: Sequence[Example],
    fixed: Sequence[Tensors],
    wanted: Sequence[str],
    optimize: bool,
) -> list[Tensors]:
    """Runs a model with some tensors fed; its other outputs, and the wanted tensors, by example."""
    light, weights = without_weights(proto)
    set_nodes(light.graph, [n for n in light.graph.node if not fixed[0].keys() & set(n.output)])
    for value in [value for value in light.graph.output if value.name in fixed[0]]:
        light.graph.output.remove(value)
    del light.graph.value_info[:]
    light.graph.input.extend(
        onnx.helper.make_tensor_value_info(
            name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), [None] * value.ndim
        )
        for name, value in fixed[0].items()
    )
    names = [value.name for value in light.graph.output]
    also = [name for name in dict.fromkeys(wanted) if name not in fixed[0] and name not in names]
    if not names and not also:
        return [{} for _ in feeds]
    examples = [{**feed, **values} for feed, values in zip(feeds, fixed, strict=True)]
    found = run_each(light, examples, also=also, weights=weights, optimize=optimize)
    return [dict(zip([*names, *also], results, strict=True)) for results in found]


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
    return cut_slices(value, cut.of_tensor(name))
