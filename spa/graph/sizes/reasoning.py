"""Which sizes are fixed by the file, which are open, and which are the same, for every input.

Every dynamic axis of an input is a symbol, shared by axes to which the file gives one name. One
walk over the nodes in order finds the sizes of all tensors' axes as expressions of these, and the
numbers that are computed from sizes. What an operator does to sizes stands in `spa.graph.sizes`
by family; what has no such function has open sizes, unless ONNX's own shape inference fixes them.

A number counts as fixed only where nothing that it is computed from is open. That it was the same
in two runs says nothing: pads were 0 in both, and a count of chunks 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

import spa.graph.sizes.families  # noqa: F401, I001  (fills the registries)
from spa.graph.example import Declared
from spa.graph.nodes import RANDOM_OPS, Graph, Node
from spa.graph.observe import Run
from spa.graph.sizes.algebra import Algebra, Size, Symbol
from spa.graph.sizes.registry import AXES, NUMBERS, Axes, Numbers
from spa.graph.weightless import list_as_inputs, without_weights

Array = npt.NDArray[Any]
# A tensor with more entries than this is not followed number by number.
MOST_NUMBERS = 256
# Operators whose output's entries are decided by their input's sizes alone.
OF_SIZES = ("Shape", "Size")


class Sizes:
    """What is known of a model's sizes.

    Args:
        proto: the model.
        graph: its graph.
        declared: its inputs, as the file declares them.
        run: a run on the example.
        constant: gives the value of a small tensor that the file holds; None for others.
    """

    def __init__(
        self,
        proto: onnx.ModelProto,
        graph: Graph,
        declared: Sequence[Declared],
        run: Run,
        constant: Callable[[str], Array | None],
    ) -> None:
        self.algebra = Algebra()
        self._proto, self._run, self._constant = proto, run, constant
        self._axes: dict[str, Axes] = {}
        self._numbers: dict[str, Numbers] = {}
        self._changing = set(graph.inputs)
        self._inferred: Mapping[str, tuple[bool, ...]] | None = None
        #: By name, the symbols of the inputs' dynamic axes.
        self.free = self._name_inputs(declared)
        for node in graph.nodes:
            self._visit(node)

    # --- what others ask ----------------------------------------------------------------------

    def changes(self, name: str) -> bool:
        """Whether a tensor's entries may differ from one input to another."""
        return name in self._changing

    def varies(self, name: str, axis: int) -> bool:
        """Whether a tensor's size along an axis may."""
        axes = self._axes.get(name)
        return axes is not None and not isinstance(self.algebra.resolved(axes[axis]), int)

    def of(self, name: str, axis: int) -> Size:
        """A tensor's size along an axis."""
        return self.algebra.resolved(self.axes(name)[axis])

    def entries(self, name: str) -> list[Size] | None:
        """Every number of a small tensor, an ``int`` where it is fixed; None where none is told."""
        numbers = self.numbers(name)
        if numbers is None:
            return None
        wide = np.broadcast_to(numbers, self.seen(name)).reshape(-1)
        return [self.algebra.resolved(number) for number in wide]

    def same(self, a: Size, b: Size) -> bool:
        """Whether two sizes are equal for every input."""
        return self.algebra.same(a, b)

    # --- what functions by family ask ---------------------------------------------------------

    def axes(self, name: str) -> Axes:
        """Sizes of a tensor's axes."""
        found = self._axes.get(name)
        return self.seen(name) if found is None else found

    def seen(self, name: str) -> tuple[int, ...]:
        """Its shape in the example's run."""
        return self._run.shapes[name]

    def dtype(self, name: str) -> np.dtype[Any] | None:
        """Its type."""
        return self._run.dtypes.get(name)

    def numbers(self, name: str) -> Numbers | None:
        """Its entries, as far as they are known; None where nothing is."""
        found = self._numbers.get(name)
        if found is not None or name in self._changing:
            return found
        value = self.fixed(name)
        if value is None or value.size > MOST_NUMBERS or value.dtype.kind not in "iufb":
            return None
        plain = np.empty(value.shape, dtype=object)
        plain.reshape(-1)[:] = [
            x if isinstance(x, float) else int(x) for x in value.reshape(-1).tolist()
        ]
        return plain

    def fixed(self, name: str) -> Array | None:
        """Its value, where no size and no input decides it; None where one may."""
        if not name or name in self._changing:
            return None
        value = self._constant(name)
        return self._run.values.get(name) if value is None else value

    def open(self, node: Node, axis: int, i: int = 0) -> Size:
        """A size that nothing is known of: an axis of output ``i``."""
        return self.algebra.call("size", node.index, i, axis)

    # --- the walk -----------------------------------------------------------------------------

    def _name_inputs(self, declared: Sequence[Declared]) -> dict[str, Symbol]:
        free: dict[str, Symbol] = {}
        for each in declared:
            axes: list[Size] = list(each.dims)
            for k, size in enumerate(axes):
                if size is None:
                    name = each.name_of(k)
                    axes[k] = free.setdefault(name, Symbol(name))
            if None in each.dims:
                self._axes[each.name] = tuple(axes)
        return free

    def _visit(self, node: Node) -> None:
        read = [name for name in (*node.inputs, *node.captured) if name]
        open_sizes = not self._axes.keys().isdisjoint(read)
        if node.op in OF_SIZES:
            if open_sizes:
                self._changing.update(node.outputs)
                self._take_numbers(node)
            return
        changing = not self._changing.isdisjoint(read)
        if node.op in RANDOM_OPS:
            self._changing.update(filter(None, node.outputs))
        if not changing and not open_sizes:
            return
        self._take_axes(node)
        self._changing.update(filter(None, node.outputs))
        if not self._numbers.keys().isdisjoint(read):
            self._take_numbers(node)

    def _take_numbers(self, node: Node) -> None:
        """Numbers of a node's outputs."""
        numbers = NUMBERS[node.op](node, self) if node.op in NUMBERS else None
        each = numbers if isinstance(numbers, list) else [numbers]
        for name, found in zip(node.outputs, each, strict=False):
            self._take(name, found)

    def _take(self, name: str, numbers: Numbers | None) -> None:
        """Notes an output's numbers; where all of them are fixed, it does not change."""
        if numbers is None or numbers.size > MOST_NUMBERS or name not in self._run.shapes:
            return
        plain = all([isinstance(number, (int, float)) for number in numbers.flat])
        if plain and name not in self._axes:
            self._changing.discard(name)
        else:
            self._numbers[name] = numbers

    def _take_axes(self, node: Node) -> None:
        made = [name for name in node.outputs if name and name in self._run.shapes]
        if not made or not any(self._run.shapes[name] for name in made):
            return
        rule = AXES.get(node.op)
        if rule is None or not all(name in self._run.shapes for name in filter(None, node.inputs)):
            found: Sequence[Axes] = ()
        else:
            given = rule(node, self)
            found = given if isinstance(given, list) else [tuple(given)]
        for i, name in enumerate(node.outputs):
            if name in self._run.shapes:
                self._write(node, name, i, found[i] if i < len(found) else None)

    def _write(self, node: Node, name: str, i: int, axes: Axes | None) -> None:
        shape = self._run.shapes[name]
        if axes is None or len(axes) != len(shape):
            fixed = self._inferred_of(name)
            axes = tuple(
                size if k < len(fixed) and fixed[k] else self.open(node, k, i)
                for k, size in enumerate(shape)
            )
        if any([size is not seen and size != seen for size, seen in zip(axes, shape, strict=True)]):
            # A number that the example does not bear out is no reason.
            self._axes[name] = tuple(
                [
                    self.open(node, k, i) if isinstance(size, int) and size != shape[k] else size
                    for k, size in enumerate(axes)
                ]
            )

    def _inferred_of(self, name: str) -> tuple[bool, ...]:
        if self._inferred is None:
            self._inferred = _inferred(self._proto)
        return self._inferred.get(name, ())


def _inferred(proto: onnx.ModelProto) -> dict[str, tuple[bool, ...]]:
    """By tensor, which axes have a number by ONNX's own inference, for any inputs."""
    light, weights = without_weights(proto)
    del light.graph.value_info[:]  # the file's own may be what one run showed
    list_as_inputs(light.graph, weights)
    try:
        inferred = onnx.shape_inference.infer_shapes(light, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        return {}
    return {
        value.name: tuple(dim.HasField("dim_value") for dim in value.type.tensor_type.shape.dim)
        for value in inferred.graph.value_info
    }
