"""What the one pass over the graph carries: label layers of every tensor, and what rules stated.

Rules see a `Tracker`. They ask for the layers of a node's inputs, state equalities, keep labels
with a reason, and set the layers of the outputs. Nothing is decided here.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence

import numpy as np

from spa.coupling.components import Alternative, Choice, Pairs
from spa.coupling.labels import (
    KEPT,
    Labels,
    LabelSpace,
    Layer,
    along,
    collapse,
    first_slices,
    fits,
    support,
)
from spa.coupling.places import Stretch
from spa.coupling.remarks import Floor, Mixing, Remark
from spa.coupling.runs import Runs
from spa.coupling.zeros import Zeros
from spa.graph.model import Array, Model
from spa.graph.nodes import Node, Use
from spa.graph.shape_arithmetic import ShapeArithmetic

Shape = tuple[int, ...]
EMPTIED = "its removal would empty a tensor"
# An alternative, as a rule states it: name, and equalities that are broadcast.
Way = tuple[str, Sequence[Pairs]]


class Tracker:
    """State of one pass.

    Args:
        model: the model.
        attention: what attention loses: ``heads``, ``head_dim`` (the same index of every head), or
            ``none``.
    """

    def __init__(self, model: Model, attention: str = "heads") -> None:
        self.model = model
        self._shapes = model.shapes
        self.attention = attention
        self.zeros = Zeros(self)
        self.space = LabelSpace()
        self.layers: dict[str, list[Layer]] = {}
        self.stretches: list[Stretch] = []
        self.equalities: list[Pairs] = []
        #: The node whose rule is applied.
        self.visited: int | None = None
        self.choices: list[Choice] = []
        self.kept: list[Remark] = []
        self.inexact: list[Remark] = []
        self.mixed: list[Mixing] = []
        self.floors: list[Floor] = []
        self.picks: list[Remark] = []
        self.arithmetic = ShapeArithmetic(model)
        self._aliases = model.aliases
        self._parameters = model.parameters
        self._shared = model.private_reads
        self._private = frozenset(use for uses in self._shared.values() for use in uses)
        # Names whose layers lie under another, or differ from read to read.
        self._indirect = self._aliases.keys() | self._shared.keys()
        self.private_layers: dict[Use, list[Layer]] = {}
        self._runs = Runs(self.space)
        self._grids: set[tuple[Shape, bytes | int]] = set()

    # --- asking ---------------------------------------------------------------------------------

    def shape(self, node: Node, i: int) -> Shape:
        """Shape of input ``i``."""
        return self._shapes[node.inputs[i]]

    def out_shape(self, node: Node, i: int = 0) -> Shape:
        """Shape of output ``i``."""
        return self._shapes[node.outputs[i]]

    def value(self, node: Node, i: int) -> Array | None:
        """Value of input ``i`` where it is small and depends on no input; None otherwise."""
        return self.model.static_value(node.inputs[i]) if node.has_input(i) else None

    def entries(self, node: Node, i: int) -> list[int | None] | None:
        """Whole numbers in a small input, None for those that sizes or values decide."""
        return self.model.whole_entries(node.inputs[i]) if node.has_input(i) else None

    def is_constant(self, node: Node, i: int) -> bool:
        """Says whether input ``i`` is computed from parameters alone."""
        return node.inputs[i] in self.model.constants

    def is_zeroed(self, node: Node, i: int) -> bool:
        """Says whether removed entries of input ``i`` are zero in the zeroed dense model.

        A weight in the file is zeroed there; one that is computed (``w + c``, a centred ``w``) need
        not be zero even so.
        """
        name = node.inputs[i]
        return self._aliases.get(name, name) in self._parameters or name in self.zeros

    def read(self, node: Node, i: int) -> list[Layer]:
        """Layers of input ``i``; a parameter gets its labels when it is first read."""
        root = node.inputs[i]
        if root in self._indirect:  # seldom
            root = self._aliases.get(root, root)
            use = Use(node.index, i)
            private = self.private_layers.get(use)
            if private is None and use in self._private:
                private = self.private_layers[use] = self._label(root, (use,))
            if private is not None:
                return private
        layers = self.layers.get(root)
        return self._layers_of(root) if layers is None else layers

    def read_outside(self, name: str) -> list[Layer]:
        """Layers of a tensor that something other than a node of the main graph reads."""
        return self._layers_of(self._aliases.get(name, name))

    def _layers_of(self, root: str) -> list[Layer]:
        layers = self.layers.get(root)
        if layers is None:
            layers = self._label(root, ()) if root in self._parameters else []
            self.layers[root] = layers
        return layers

    def is_alias(self, name: str) -> bool:
        """Says whether a tensor is a parameter behind Identity nodes."""
        return name in self.model.aliases

    # --- stating --------------------------------------------------------------------------------

    def equal(self, a: Labels, b: Labels, node: Node) -> None:
        """States that labels are equal, element by element, after broadcasting."""
        self.equal_to_all(a, (b,), node)

    def equal_to_all(self, a: Labels, others: Iterable[Labels], node: Node) -> None:
        """States that labels are equal to each of several others, and looks at them once."""
        first = self._runs.first(a)
        for b in others:
            if a.shape == b.shape:
                other = self._runs.first(b)
                if first is not None and other is not None:
                    if first != other:
                        self.stretches.append((first, other, a.size))
                    continue
                self._runs.note_twins(a, first, b, other)
                first = self._runs.first(a)
            self._equal_one_by_one(a, b, node)

    def _equal_one_by_one(self, a: Labels, b: Labels, node: Node) -> None:
        a, b = self._runs.pairs(a, b)
        if np.count_nonzero(a) < a.size or np.count_nonzero(b) < b.size:  # KEPT is 0
            kept = (a == KEPT) | (b == KEPT)
            self.keep(np.concatenate([a[kept], b[kept]]), node, "it meets entries that are kept")
            a, b = a[~kept], b[~kept]
        different = a != b
        if np.count_nonzero(different):
            self.equalities.append((a[different], b[different]))

    def keep(self, labels: Labels, node: Node | None, reason: str) -> None:
        """States that labels stay."""
        flat = self._without_kept(labels)
        if flat.size:
            self.kept.append(Remark(flat, None if node is None else node.index, reason))

    def _without_kept(self, labels: Labels) -> Labels:
        flat = labels.reshape(-1)
        return flat if self.space.first_of_run(labels) is not None else flat[flat != KEPT]

    def keep_layers(self, layers: Iterable[Layer], node: Node | None, reason: str) -> None:
        """Keeps every label of some layers."""
        for layer in layers:
            self.keep(layer, node, reason)

    def keep_inputs(self, node: Node, reason: str) -> None:
        """Keeps all that a node reads."""
        for i in range(len(node.inputs)):
            if node.has_input(i):
                self.keep_layers(self.read(node, i), node, reason)

    def mark_inexact(self, labels: Labels, node: Node, reason: str) -> None:
        """States that removing these labels changes what the rest computes at ``node``."""
        flat = self._without_kept(labels)
        if flat.size:
            self.inexact.append(Remark(flat, node.index, reason))

    def mark_mixed(self, layer: Layer, axes: Iterable[int], node: Node, reason: str) -> None:
        """States that ``node`` mixes entries along axes: only whole lines along them go exactly."""
        followed = tuple(k for k in axes if layer.shape[k] > 1)
        if followed:
            self.mixed.append(Mixing(layer, followed, node.index, reason))

    def at_least(self, layer: Layer, axis: int, count: int) -> None:
        """States that an axis must keep so many entries."""
        if layer.shape[axis] > 1:
            self.floors.append(Floor(first_slices(layer, axis).reshape(-1), count))

    def pick(self, layers: Iterable[Layer], node: Node) -> None:
        """States that some of what a node picks must be left (see `spa.coupling.picks`)."""
        for layer in layers:
            if np.count_nonzero(layer) == layer.size > 0:
                self.picks.append(Remark(layer.reshape(-1), node.index, EMPTIED))

    def choose(self, alternatives: Sequence[Way], preferred: Sequence[int] | None = None) -> None:
        """States that a node can shrink in one of several ways (see `spa.coupling.components`).

        Args:
            alternatives: name and equalities of each.
            preferred: positions of those that the user prefers.
        """
        self.choices.append(
            Choice(
                tuple(
                    Alternative(name, tuple([self._runs.pairs(a, b) for a, b in pairs]))
                    for name, pairs in alternatives
                ),
                None if preferred is None else tuple(preferred),
                self.visited,
            )
        )

    def write(self, node: Node, layers: Sequence[Layer], i: int = 0) -> None:
        """Sets the layers of output ``i``."""
        name = node.outputs[i] if i < len(node.outputs) else ""
        if not name:
            return
        shape = self._shapes[name]
        source = node.inputs[0] if node.inputs else ""
        given = self.layers.get(source, ())
        passed = len(given) == len(layers) > 0 and (
            given is layers or all(map(operator.is_, given, layers))
        )
        if passed and self._shapes[source] == shape:
            self.layers[name] = self.layers[source]  # all was seen to when that was written
            return
        written = []
        for layer in layers:
            if not layer.size:
                continue  # a tensor without entries loses none
            first = self.space.first_of_run(layer)
            layer = layer if first is not None else collapse(layer)
            assert fits(layer, shape), (
                f"{node}: a layer of shape {layer.shape} does not fit output {i} of shape {shape}"
            )
            if layer.size == 1:
                self.keep(layer, node, EMPTIED)
                continue
            if first is None and not np.count_nonzero(layer):  # faster than any()
                continue
            if layer.size not in layer.shape:
                self.open_grid(layer)
            written.append(layer)
        self.layers[name] = written

    def made_up(self, node: Node, axis: int, size: int, i: int = 0) -> Labels:
        """Fresh labels for entries that a node makes up; they may go, and cost nothing."""
        return self.space.fresh(node.outputs[i], axis, size, is_parameter=False)

    # --- shorthands for rules -------------------------------------------------------------------

    def drop_axis(self, layer: Layer, axis: int, node: Node, reason: str) -> Layer:
        """Keeps an axis whole: what remains of the layer does not follow it.

        A layer that follows nothing else is kept; one that follows other axes too may still go
        along those.
        """
        if layer.shape[axis] == 1:
            return layer
        if layer.size > layer.shape[axis]:
            first = layer.take([0], axis=axis)
            self.equal(layer, first, node)
            return first
        self.keep(layer, node, reason)
        return np.zeros((1,) * layer.ndim, dtype=np.int64)

    def keep_axes(
        self, layers: Sequence[Layer], axes: Iterable[int], node: Node, reason: str
    ) -> list[Layer]:
        """Keeps several axes whole; returns the layers without them."""
        result = list(layers)
        for axis in axes:
            for i, layer in enumerate(result):
                if layer.shape[axis] > 1:
                    result[i] = self.drop_axis(layer, axis, node, reason)
        return [layer for layer in result if layer.size > 1]

    def vector(self, layers: Sequence[Layer], axis: int, size: int, node: Node) -> Labels:
        """The labels that govern one axis, shape (size,); zeros where nothing follows it.

        A layer that follows other axes too is made to follow this one alone. Where several layers
        follow it (merged axes), one of them governs it and the others are kept: a choice.
        """
        vectors = []
        for layer in layers:
            if layer.shape[axis] == 1:
                continue
            if layer.size > layer.shape[axis]:
                for other in support(layer):
                    if other != axis:
                        layer = self.drop_axis(layer, other, node, "")
            vectors.append(layer.reshape(-1))
        if not vectors:
            return np.zeros(size, dtype=np.int64)
        if len(vectors) == 1:
            return vectors[0]
        governing = self.space.fresh("", axis, size, is_parameter=False)
        self.choose(
            [
                (
                    f"layer {i}",
                    [
                        (vector, governing if k == i else np.zeros_like(vector))
                        for k, vector in enumerate(vectors)
                    ],
                )
                for i in range(len(vectors))
            ],
        )
        return governing

    def emptied(self, layer: Layer, axis: int) -> list[Layer]:
        """Layers of a tensor of which nothing is left along an axis: those of its other axes.

        A layer over several axes shrinks along one of them, so that each of the others gets labels
        of its own, which go with it where it is the one.
        """
        if layer.shape[axis] == 1:
            return [layer]
        followed = support(layer)
        left = {
            k: self.space.fresh("", k, layer.shape[k], is_parameter=False)
            for k in followed
            if k != axis
        }
        if not left:
            return []
        alternatives: list[Way] = []
        for k in followed:
            goes = first_slices(layer, k)
            own = {j: goes.reshape(-1) if j == k else np.zeros_like(left[j]) for j in left}
            pairs = [(layer, goes), *[(left[j], own[j]) for j in left]]
            alternatives.append((f"axis {k}", pairs))
        self.choose(alternatives)
        return [along(mine, k, layer.ndim) for k, mine in left.items()]

    def open_grid(self, layer: Layer) -> None:
        """One layer over several axes: what remains must be rectangular, along one of them."""
        if layer.size in layer.shape:
            return
        axes = support(layer)
        if len(axes) < 2:
            return
        first = self.space.first_of_run(layer)
        key = (tuple([layer.shape[k] for k in axes]), layer.tobytes() if first is None else first)
        if key in self._grids:
            return
        self._grids.add(key)
        alternatives = []
        for axis in axes:
            alternatives.append((f"axis {axis}", [(layer, first_slices(layer, axis))]))
        self.choose(alternatives)

    def _label(self, name: str, uses: tuple[Use, ...]) -> list[Layer]:
        shape, fresh = self._shapes[name], self.space.fresh
        rank = len(shape)
        layers = []
        for axis, size in enumerate(shape):
            if size > 1:
                labels = fresh(name, axis, size, is_parameter=True, uses=uses)
                layers.append(labels if rank == 1 else along(labels, axis, rank))
        return layers
