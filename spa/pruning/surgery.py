"""Surgery: the only module that makes a smaller model, always on a copy.

1. Parameters are cut (`spa.pruning.parameters`).
2. Numbers that are computed from the size of a tensor that shrank stay what they were: slice
   bounds, the scale of a softmax. Fixed ones are written as constants where they are read; the
   arithmetic of others begins with the dense sizes (`spa.pruning.dense_sizes`).
3. Every node's size-dependent pieces follow: each operator family's resize function asks for new
   attributes, constants of the node's own, or other nodes in its place.
4. Declared shapes follow: value_info, and inputs that have an initializer.

Names, metadata, opset and dynamic axes survive. The model's real interface never changes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from spa.coupling.couple import Cut
from spa.coupling.filled import is_zero_fill
from spa.coupling.groups import Groups
from spa.coupling.rules.base import RESIZES
from spa.coupling.tracker import Shape
from spa.graph.forks import close_forks
from spa.graph.model import Array, Model
from spa.graph.nodes import Node, Use, reads, set_nodes
from spa.graph.read import free_name, names_in
from spa.graph.shape_arithmetic import ShapeArithmetic
from spa.pruning.dense_sizes import keep_dense_sizes
from spa.pruning.parameters import add_initializer, rewrite_parameters, take_slices
from spa.pruning.plan import Plan, cut_of

# Operators that hold a parameter, or pass one on.
CARRIERS = ("Constant", "ConstantOfShape", "Identity")


def apply_plan(model: Model, plan: Plan, groups: Groups | None = None) -> onnx.ModelProto:
    """Makes the smaller model that a plan describes.

    Args:
        model: the model that the plan was made for.
        plan: what goes.
        groups: the model's groups, where they are at hand already.

    Returns:
        A new model; the one that came in is not touched.

    Raises:
        PlanError: the plan does not fit the model.
    """
    from spa.coupling.couple import couple

    coupling = groups.coupling if groups is not None else couple(model, **plan.coupled)
    return close_forks(cut_model(model, cut_of(plan, coupling)), model.forks)


def cut_model(model: Model, cut: Cut) -> onnx.ModelProto:
    """Makes the smaller model for labels that go, its Ifs opened as the model's are.

    ``model`` may hold other weights than the coupling's own model, of the same shapes.
    """
    proto = rewrite_parameters(model, cut, take_slices)
    if not cut.removed.any():
        return proto
    surgeon = Surgeon(model, cut, proto)
    surgeon.pin()
    for node in model.graph.nodes:
        if node.op in RESIZES and all(name in model.shapes for name in node.outputs if name):
            RESIZES[node.op](node, surgeon)
    surgeon.finish()
    _declare(proto, cut)
    was_read = frozenset(model.graph.uses) | model.graph.captured
    _drop_unread(proto, was_read)
    if keep_dense_sizes(proto, model, cut):
        _drop_unread(proto, was_read)
    return proto


class Surgeon:
    """What resize functions may ask and order (`spa.coupling.rules.base.Cutter`)."""

    def __init__(self, model: Model, cut: Cut, proto: onnx.ModelProto) -> None:
        self.opset = model.graph.opset
        self.model = model
        self._cut = cut
        self._proto = proto
        self._arithmetic = ShapeArithmetic(model)
        self._replacements: dict[int, Sequence[onnx.NodeProto]] = {}
        self._before: dict[int, list[onnx.NodeProto]] = {}
        self._names = set(names_in(proto.graph))

    def pin(self) -> None:
        """Writes numbers that would change as constants, where they are read."""
        for node, i in self._arithmetic.reads():
            value = self.value(node, i)
            if value is not None and self._is_stale(node, i):
                self.set_input(node, i, value)

    def _is_stale(self, node: Node, i: int) -> bool:
        """Says whether input ``i`` is computed from a size that shrinks."""
        return any(self.is_cut(*origin) for origin in self._arithmetic.of(node.inputs[i]))

    def old_shape(self, name: str) -> Shape:
        """Shape before the cut."""
        return self.model.shapes[name]

    def new_shape(self, name: str) -> Shape:
        """Shape after the cut."""
        return _shape(self.old_shape(name), self._cut.of_tensor(name))

    def kept(self, name: str, axis: int) -> npt.NDArray[np.bool_]:
        """Which indices of an axis stay, shape (size,)."""
        mask = self._cut.of_tensor(name)[axis]
        return np.ones(self.old_shape(name)[axis], dtype=bool) if mask is None else mask

    def is_cut(self, name: str, axis: int) -> bool:
        """Says whether an axis shrinks."""
        return self._cut.of_tensor(name)[axis] is not None

    def input_kept(self, node: Node, i: int, axis: int) -> npt.NDArray[np.bool_]:
        """Which indices of an axis of input ``i`` stay, as this node reads it."""
        mask = self._cut.of_read(Use(node.index, i))[axis]
        return np.ones(self.old_shape(node.inputs[i])[axis], dtype=bool) if mask is None else mask

    def input_shape(self, node: Node, i: int) -> Shape:
        """Shape after the cut of input ``i`` as this node reads it."""
        return _shape(self.old_shape(node.inputs[i]), self._cut.of_read(Use(node.index, i)))

    def value(self, node: Node, i: int) -> Array | None:
        """Value of a small input that depends on no input of the model."""
        return self.model.static_value(node.inputs[i]) if node.has_input(i) else None

    def entries(self, node: Node, i: int) -> list[int | None] | None:
        """Whole numbers in a small input, None for those that sizes or values decide."""
        return self.model.whole_entries(node.inputs[i]) if node.has_input(i) else None

    def varies(self, name: str, axis: int) -> bool:
        """Says whether an axis may have another size for other inputs."""
        return self.model.varies(name, axis)

    def is_zero_fill(self, node: Node, i: int) -> bool:
        """Says whether input ``i`` is filled with zeros to a size that follows an input."""
        return is_zero_fill(node.inputs[i], self.model)

    def set_attr(self, node: Node, name: str, value: Any) -> None:
        """Sets an attribute; None takes it away."""
        attributes = self._proto.graph.node[node.index].attribute
        for attribute in [a for a in attributes if a.name == name]:
            attributes.remove(attribute)
        if value is not None:
            attributes.append(onnx.helper.make_attribute(name, value))

    def set_input(self, node: Node, i: int, value: Array) -> None:
        """Gives a node a constant of its own as input ``i``, in the type of the one it had."""
        old = self.model.observed.dtypes.get(node.inputs[i]) if node.has_input(i) else None
        proto = self._proto.graph.node[node.index]
        while len(proto.input) <= i:
            proto.input.append("")
        proto.input[i] = self.constant(
            node, f"input_{i}", value if old is None else value.astype(old)
        )

    def set_entries(
        self,
        node: Node,
        i: int,
        entries: Mapping[int, int],
        shares: Mapping[int, tuple[int, int]] = MappingProxyType({}),
    ) -> None:
        """Gives some entries of a list of integers, input ``i``, another value.

        ``shares`` says how much of others is left, of how much: these are multiplied and divided.
        """
        if not entries and not shares:
            return
        source = node.inputs[i]
        times = np.ones(self.old_shape(source), dtype=np.int64)
        by, more = np.ones_like(times), np.zeros_like(times)
        for place, value in entries.items():
            times[place], more[place] = 0, value
        for place, (left, whole) in shares.items():
            common = math.gcd(left, whole)
            times[place], by[place] = left // common, whole // common
        known = self.value(node, i)
        if known is not None:
            self.set_input(node, i, known * times // by + more)
            return
        steps = [("Mul", "stays", times), ("Div", "of", by), ("Add", "new", more)]
        idle = (1, 1, 0)
        kind = self.model.observed.dtypes[source]
        before = self._before.setdefault(node.index, [])
        for (op, hint, numbers), nothing in zip(steps, idle, strict=True):
            if (numbers == nothing).all():
                continue
            made = self._free_name(node, f"input_{i}_{op.lower()}")
            constant = self.constant(node, f"input_{i}_{hint}", numbers.astype(kind))
            before.append(onnx.helper.make_node(op, [source, constant], [made]))
            source = made
        self._proto.graph.node[node.index].input[i] = source

    def inputs(self, node: Node) -> list[str]:
        """Names of the inputs that a node has by now."""
        return list(self._proto.graph.node[node.index].input)

    def drop_input(self, node: Node, i: int) -> None:
        """Leaves an optional input out."""
        self._proto.graph.node[node.index].input[i] = ""

    def replace(self, node: Node, nodes: Sequence[onnx.NodeProto]) -> None:
        """Puts other nodes in a node's place, with the inputs that it has by now."""
        now: dict[str, set[str]] = {}
        for name, other in zip(node.inputs, self.inputs(node), strict=False):
            now.setdefault(name, set()).add(other)
        # A constant that is read twice may have become two; these are named as they are by now.
        names = {name: min(others) for name, others in now.items() if len(others) == 1}
        for new in nodes:
            for i, name in enumerate(new.input):
                new.input[i] = names.get(name, name)
        self._replacements[node.index] = nodes

    def constant(self, node: Node, hint: str, value: Array) -> str:
        """Adds an initializer under a free name."""
        name = self._free_name(node, hint)
        add_initializer(self._proto, name, value)
        return name

    def _free_name(self, node: Node, hint: str) -> str:
        return free_name(f"{node.outputs[0]}_{hint}", self._names)

    def finish(self) -> None:
        """Puts new nodes in place; node indices hold no longer afterwards."""
        if not self._replacements and not self._before:
            return
        nodes: list[onnx.NodeProto] = []
        for index, node in enumerate(self._proto.graph.node):
            nodes.extend(self._before.get(index, ()))
            nodes.extend(self._replacements.get(index, (node,)))
        set_nodes(self._proto.graph, nodes)


def _shape(shape: Shape, masks: Sequence[npt.NDArray[np.bool_] | None]) -> Shape:
    return tuple(
        size if mask is None else int(mask.sum()) for size, mask in zip(shape, masks, strict=True)
    )


def _declare(proto: onnx.ModelProto, cut: Cut) -> None:
    """Writes new sizes into declared shapes of tensors that shrank."""
    weights = {tensor.name: tensor for tensor in proto.graph.initializer}
    for value in (*proto.graph.value_info, *proto.graph.input):
        dims = value.type.tensor_type.shape.dim
        if value.name in weights:
            sizes: Sequence[int | None] = list(weights[value.name].dims)
        elif value.name in cut.coupling.model.shapes:
            masks = cut.of_tensor(value.name)
            sizes = [None if mask is None else int(mask.sum()) for mask in masks]
        else:
            continue
        if len(sizes) == len(dims):
            for dim, size in zip(dims, sizes, strict=True):
                if size is None:
                    continue
                if dim.HasField("dim_value"):
                    dim.dim_value = size
                else:  # the expression of a larger size: a runtime would share buffers by it
                    dim.Clear()


def _drop_unread(proto: onnx.ModelProto, was_read: frozenset[str]) -> None:
    """Drops parameters, Identity nodes, and whatever else nothing reads any more."""
    read = {v.name for v in proto.graph.output}
    kept = []
    for node in reversed(proto.graph.node):
        droppable = node.op_type in CARRIERS or was_read.intersection(node.output)
        if droppable and not read.intersection(node.output):
            continue
        kept.append(node)
        read.update(reads([node]))
    if len(kept) < len(proto.graph.node):
        set_nodes(proto.graph, reversed(kept))
    unread = [t for t in proto.graph.initializer if t.name not in read]
    for tensor in unread:
        for value in [v for v in proto.graph.input if v.name == tensor.name]:
            proto.graph.input.remove(value)
        proto.graph.initializer.remove(tensor)
