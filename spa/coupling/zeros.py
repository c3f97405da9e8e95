"""Where removed entries are zero once the weights that make them are zero.

A sum over a tracked axis, or a product of two activations summed over it, is exact only where the
removed entries are zero at that point. They are, from a contraction with a zeroed weight (and bias)
on, through every operator that maps zero to zero; not after a sigmoid, an exponential or a kept
bias. An operand makes zeros only along the axes that its own layers follow: a map of one channel
that is added to six has no slice that could be zeroed with one of them.

1. Contractions say so themselves (`spa.coupling.contract`, and the rules of Conv and Gemm).
2. What maps zero to zero, or moves it, keeps it, unless it makes entries of one (Expand, Tile).
3. A sum, a maximum and the like of several operands: where all are zero along every axis.
4. A product: where the zero ones follow every axis that the others follow.
5. A power with positive exponents keeps zero.

Where zeros are divided by, or put into a logarithm, the zeroed dense model has no value to compare
with: that is not exact (`note_poles`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from spa.coupling.labels import support
from spa.coupling.operators import multiplies, operator
from spa.graph.model import Model
from spa.graph.nodes import Node
from spa.graph.quantised import SCALING

if TYPE_CHECKING:
    from spa.coupling.tracker import Tracker

# What picks entries of a tensor, beside what moves all or some of them.
LOOKED_UP = ("GatherElements", "GatherND")


def weights_of(node: Node) -> tuple[str, ...]:
    """What a contracting node reads as weights or biases, constant or not; () for other nodes."""
    positions = operator(node.op).weights
    if positions is None:
        return tuple(filter(None, node.inputs))
    count = len(node.inputs)
    return tuple([name for i in positions if i < count and (name := node.inputs[i])])


class Zeros:
    """Tensors whose removed entries are zero in the zeroed dense model.

    What a rule does not say follows from the operator, and is worked out when somebody asks: in
    most networks of convolutions nobody does.

    Args:
        tracker: the pass.
    """

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._known: set[str] = set()
        self._visited: list[Node] = []

    def __contains__(self, name: str) -> bool:
        visited, self._visited = self._visited, []
        for node in visited:
            if _is_zero(node, self._tracker):
                self._known.update(filter(None, node.outputs))
        return name in self._known

    def add(self, name: str) -> None:
        """Says it of a tensor."""
        self._known.add(name)

    def update(self, names: Iterable[str]) -> None:
        """Says it of several."""
        self._known.update(names)

    def follow(self, node: Node) -> None:
        """Leaves it to the operator, whose rule was applied, what becomes of zeros."""
        self._visited.append(node)


def note_poles(node: Node, tracker: Tracker, contracted: frozenset[str]) -> None:
    """Marks what a node reads as not exact where the zeroed dense model divides by zero there.

    Args:
        node: the node, whose operator has poles.
        tracker: the pass.
        contracted: the parameters that are zeroed (`contracted_parameters`).
    """
    if node.op == "Pow" and _exponents_stay(node, tracker):
        return
    i = operator(node.op).pole
    assert i is not None, node
    if node.inputs[i] in tracker.zeros or _is_zeroed(node.inputs[i], tracker.model, contracted):
        for layer in tracker.read(node, i):
            tracker.mark_inexact(layer, node, "zeroed entries have no quotient or logarithm")


def _is_zeroed(name: str, model: Model, contracted: frozenset[str]) -> bool:
    """Whether a tensor is a norm of a zeroed weight, or another map of it that keeps zero."""
    while name in model.constants and model.root(name) not in model.parameters:
        producer = model.graph.producers[name]
        if operator(producer.op).zero != "each":
            return False
        name = producer.inputs[0]
    return model.root(name) in contracted


def _exponents_stay(node: Node, tracker: Tracker) -> bool:
    """Whether all exponents of a Pow are known to be positive."""
    exponents = tracker.value(node, 1)
    return exponents is not None and bool((exponents > 0).all())


def product_is_zero(zero: Iterable[set[int]], other: Iterable[set[int]]) -> bool:
    """Whether a product is zero where entries go, given the axes that its operands follow.

    Args:
        zero: of every operand whose removed entries are zero, the axes that it follows.
        other: the same of all other operands.
    """
    followed: set[int] = set().union(*zero)
    return bool(followed) and followed.issuperset(set().union(*other))


def bias_of(node: Node, model: Model) -> str | None:
    """The constant that an Add gives to a contraction's output as its bias."""
    if node.op != "Add":
        return None
    for i in (0, 1):
        producer = model.graph.producers.get(node.inputs[i])
        other = node.inputs[1 - i]
        if producer is None or not multiplies(producer.op):
            continue  # what is added to rows of a table is another table
        if other in model.constants:
            return other
    return None


def contracted_parameters(model: Model) -> frozenset[str]:
    """Parameters that reach a contracting operator as its weight or bias, tables included.

    They are floating ones, and integers that are dequantised on the way; not their scales.
    """
    return multiplied_parameters(model) | table_parameters(model)


def multiplied_parameters(model: Model) -> frozenset[str]:
    """The same, without tables of which Gather picks rows that no contraction multiplies with.

    The weights of experts are tables that are: those of the chosen ones are picked, and multiplied.
    """
    constants = model.constants
    pending: list[str] = []
    for node in model.graph.nodes:
        if multiplies(node.op):
            tables = (_looked_up(name, model) for name in weights_of(node))
            pending += [name for name in tables if name in constants]
        elif node.op == "Add" and (bias := bias_of(node, model)) is not None:
            pending.append(bias)
    return _made_of(pending, model)


def _looked_up(name: str, model: Model) -> str:
    """The tensor that a weight is picked from while the model runs, however it is then moved."""
    while name not in model.constants and (node := model.graph.producers.get(name)) is not None:
        if node.op not in LOOKED_UP and not operator(node.op).moves:
            break
        name = node.inputs[0]
    return name


def table_parameters(model: Model) -> frozenset[str]:
    """The tables alone."""
    nodes = (node for node in model.graph.nodes if node.op == "Gather")
    return _made_of([n for node in nodes for n in weights_of(node) if n in model.constants], model)


def _made_of(pending: list[str], model: Model) -> frozenset[str]:
    """The parameters that some constants are computed from."""
    found: set[str] = set()
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in model.dequantised:
            found.add(model.dequantised[name])
        elif name in model.parameters:
            if name in model.quantised or model.dtype(name).kind not in "iub":
                found.add(name)
        elif name in model.graph.producers:
            node = model.graph.producers[name]
            pending.extend(node.inputs[:1] if node.op in SCALING else node.inputs)
    return frozenset(found)


def _is_zero(node: Node, tracker: Tracker) -> bool:
    zeros, model = tracker.zeros, tracker.model
    if node.outputs and node.outputs[0] in model.dequantised:
        return model.dequantised[node.outputs[0]] in zeros
    facts = operator(node.op)
    if facts.zero == "each":
        integers = model.quantised.get(model.root(node.inputs[0]))
        if integers is not None and integers.zero_point.any():
            return False
        table = node.op == "Gather" and tracker.is_constant(node, 0)
        return table or (node.inputs[0] in zeros and not _repeats_one(node, tracker))
    if node.op == "Pow":
        return node.inputs[0] in zeros and _exponents_stay(node, tracker)
    if node.op == "Clip":
        return node.inputs[0] in zeros and _contains_zero(node, model)
    if node.op == "Concat":
        return all(name in zeros or not tracker.read(node, i) for i, name in enumerate(node.inputs))
    if facts.zero == "all":
        bias = bias_of(node, model)
        axes = _followed(node, tracker)
        known = all(name in zeros or name == bias for name in node.inputs)
        return known and bool(axes[0]) and all(entry == axes[0] for entry in axes)
    if node.op in ("Mul", "Div"):
        # Axes that an operand alone follows are kept (`spa.coupling.align`): the output lacks them.
        goes = {k - layer.ndim for layer in tracker.layers[node.outputs[0]] for k in support(layer)}
        is_zero = [name in zeros for name in node.inputs]
        if node.op == "Div":
            is_zero[1] = False
        axes = _followed(node, tracker)
        zero_axes = [entry for entry, flag in zip(axes, is_zero, strict=True) if flag]
        return product_is_zero(zero_axes, [goes])
    return False


def _repeats_one(node: Node, tracker: Tracker) -> bool:
    """Whether an axis of size 1 is repeated: such entries have labels of their own."""
    if node.op not in ("Expand", "Gather", "Tile"):
        return False
    old, new = tracker.shape(node, 0), tracker.out_shape(node)
    if node.op == "Gather":
        axis = node.attr("axis", 0)
        return old[axis] == 1 and bool(np.prod(tracker.shape(node, 1), dtype=np.int64) > 1)
    wide = (1,) * (len(new) - len(old)) + tuple(old)
    return any(before == 1 < after for before, after in zip(wide, new, strict=True))


def _followed(node: Node, tracker: Tracker) -> list[set[int]]:
    """Axes that every operand follows, counted from the last, as broadcasting aligns them."""
    return [
        {k - layer.ndim for layer in tracker.read(node, i) for k in support(layer)}
        for i in range(len(node.inputs))
    ]


def _contains_zero(node: Node, model: Model) -> bool:
    bounds = []
    for i, name in ((1, "min"), (2, "max")):
        bound = node.attr(name)
        if node.has_input(i):
            value = model.static_value(node.inputs[i])
            if value is None:
                return False
            bound = float(np.asarray(value).reshape(-1)[0])
        bounds.append(bound)
    low, high = bounds
    return (low is None or low <= 0) and (high is None or high >= 0)
