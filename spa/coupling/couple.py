"""The one pass: walk the nodes in order, then solve for the sets of coupled channels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

import spa.coupling.rules  # noqa: F401, I001  (fills the registry)
from spa.coupling.components import Choice, Components, solve
from spa.coupling.even import tie_equal_parts
from spa.coupling.labels import KEPT, LabelledAxis, Labels, Layer, support
from spa.coupling.mixing import mixed_remarks
from spa.coupling.operators import operator
from spa.coupling.places import NO_LABELS
from spa.coupling.remarks import Floor, Remark
from spa.coupling.rules.base import RULES
from spa.coupling.rules.dense import KEPT_DENSE
from spa.coupling.tracker import Tracker
from spa.coupling.zeros import multiplied_parameters, note_poles, table_parameters
from spa.errors import PlanError, SettingError, unknown
from spa.graph.model import Model
from spa.graph.nodes import Node, Use

Mask = npt.NDArray[np.bool_]

ATTENTION = ("heads", "head_dim", "none")
OTHER_WAY = "it could shrink along one axis or another, and another was taken"


@dataclass(frozen=True)
class Coupling:
    """Labels of a model and the components that they fall into.

    Attributes:
        model: the model.
        axes: what labels stand for, by order of label.
        components: component of every label, and which components stay.
        layers: label layers of every tensor that has some; parameters included.
        private_layers: layers of parameter reads that have labels of their own.
        kept: why labels stay, in the order in which it was stated.
        inexact: why the removal of labels is not exact.
        floors: lines of labels of which some must be left (`spa.coupling.floors`).
        multiplied: parameters that contractions multiply with (`spa.coupling.zeros`).
        attention: what attention loses.
        even_parts: whether equal parts of a tensor lose the same indices.
    """

    model: Model
    axes: tuple[LabelledAxis, ...]
    components: Components
    layers: dict[str, list[Layer]]
    private_layers: dict[Use, list[Layer]]
    kept: tuple[Remark, ...]
    inexact: tuple[Remark, ...]
    floors: tuple[Floor, ...]
    multiplied: frozenset[str]
    attention: str
    even_parts: bool = False

    @cached_property
    def axis_is_parameter(self) -> Mask:
        """Whether an axis is a parameter's, by its position; the entry behind the last is False."""
        return np.array([axis.is_parameter for axis in self.axes] + [False])

    @cached_property
    def axis_of_label(self) -> Labels:
        """Position in `axes` of every label; -1 for KEPT."""
        sizes = [axis.size for axis in self.axes]
        return np.concatenate([[-1], np.repeat(np.arange(len(sizes)), sizes)]).astype(np.int64)

    @cached_property
    def is_parameter(self) -> Mask:
        """Whether a label is of a parameter, and not made up; shape (labels,)."""
        return np.asarray(self.axis_is_parameter[self.axis_of_label])

    @cached_property
    def is_prunable(self) -> Mask:
        """Whether a label may go, shape (labels,)."""
        prunable = ~self.components.kept[self.components.of]
        prunable[KEPT] = False
        return prunable

    def layers_read(self, use: Use) -> list[Layer]:
        """Layers of an input as one node reads it."""
        if use in self.private_layers:
            return self.private_layers[use]
        name = self.model.graph.nodes[use.node].inputs[use.position]
        return self.layers.get(self.model.root(name), [])

    @cached_property
    def why_kept(self) -> Labels:
        """Position in `kept` of the first remark on every component; past the end without one."""
        return self._first_remarks(self.kept)

    @cached_property
    def why_inexact(self) -> Labels:
        """The same in `inexact`."""
        return self._first_remarks(self.inexact)

    def _first_remarks(self, remarks: tuple[Remark, ...]) -> Labels:
        first = np.full(self.components.kept.size, len(remarks))
        if remarks:
            numbers = np.repeat(np.arange(len(remarks)), [r.labels.size for r in remarks])
            labels = np.concatenate([remark.labels for remark in remarks])
            np.minimum.at(first, self.components.at(labels), numbers)
        return first


def couple(model: Model, attention: str = "heads", *, even_parts: bool = False) -> Coupling:
    """Finds all coupled channels of a model in one pass.

    Args:
        model: the model.
        attention: what attention loses: ``heads``, ``head_dim`` or ``none``.
        even_parts: whether equal parts of a tensor lose the same indices (`spa.coupling.even`).

    Raises:
        SettingError: another value of ``attention``.
    """
    if attention not in ATTENTION:
        raise SettingError(unknown("way to shrink attention", attention, ATTENTION))
    tracker = Tracker(model, attention)
    multiplied = multiplied_parameters(model)
    contracted = multiplied | table_parameters(model)
    tracker.zeros.update(contracted.difference(model.private_reads))
    graph, seen = model.graph, model.shapes.keys()
    unseen = (graph.uses.keys() - seen) | (graph.producers.keys() - seen)  # nearly always none
    for node in model.graph.nodes:
        tracker.visited = node.index
        _visit(node, tracker, contracted, unseen)
    if even_parts:
        tie_equal_parts(tracker)
    for names, reason in (
        (model.graph.outputs, "it is an output of the model"),
        (sorted(model.graph.captured), "a subgraph reads it"),
    ):
        for name in names:
            tracker.keep_layers(tracker.read_outside(name), None, reason)
    kept = [remark.labels for remark in tracker.kept]
    components = solve(
        [axis.size for axis in tracker.space.axes],
        tracker.stretches,
        tracker.equalities,
        np.concatenate([NO_LABELS, *kept]),
        tracker.choices,
        [remark.labels for remark in tracker.picks],
    )
    tracker.kept += [remark for remark in tracker.picks if _is_one(components.at(remark.labels))]
    tracker.kept += _other_ways(tracker.choices, components)
    return Coupling(
        model=model,
        axes=tuple(tracker.space.axes),
        components=components,
        layers=tracker.layers,
        private_layers=tracker.private_layers,
        kept=tuple(tracker.kept),
        inexact=(*tracker.inexact, *mixed_remarks(tracker.mixed, components)),
        floors=(*tracker.floors, *[Floor(pick.labels, 1) for pick in tracker.picks]),
        multiplied=multiplied,
        attention=attention,
        even_parts=even_parts,
    )


def _other_ways(choices: Sequence[Choice], components: Components) -> Iterator[Remark]:
    """Why labels are kept that an alternative keeps: last, as another reason says more."""
    for choice in choices:
        for way in choice.alternatives:
            for pair in way.pairs:
                for one, other in (pair, pair[::-1]):
                    labels = one[(other == KEPT) & (one != KEPT)]
                    labels = labels[components.kept[components.at(labels)]]
                    if labels.size:
                        yield Remark(labels, choice.node, OTHER_WAY)


def _is_one(components: Labels) -> bool:
    """Whether what was picked is one component, which had to stay."""
    return bool((components == components[0]).all())


def _visit(node: Node, tracker: Tracker, contracted: frozenset[str], unseen: Set[str]) -> None:
    """Applies a node's rule; what has none, or was not seen in the run, keeps what it reads."""
    if node.outputs and node.outputs[0] in tracker.arithmetic.origins:
        _keep_tables(node, tracker)
        return
    if node.op in KEPT_DENSE:
        tracker.keep_inputs(node, f"{node.op} stays dense: {KEPT_DENSE[node.op]}")
    elif node.captured:
        tracker.keep_inputs(node, f"{node.op} has subgraphs")
    elif node.op not in RULES:
        tracker.keep_inputs(node, f"there is no rule for {node.op}")
    elif unseen and (strange := _first_of(unseen, (*node.inputs, *node.outputs))):
        tracker.keep_inputs(node, f'"{strange}" is not a plain tensor')
    else:
        RULES[node.op](node, tracker)
        if operator(node.op).pole is not None:
            note_poles(node, tracker, contracted)
        tracker.zeros.follow(node)
        return
    for i in range(len(node.outputs)):
        if node.outputs[i] in tracker.model.shapes:
            tracker.write(node, [], i)


def _first_of(some: Set[str], names: Sequence[str]) -> str:
    return next((name for name in names if name in some), "")


def _keep_tables(node: Node, tracker: Tracker) -> None:
    """Sizes follow what they are the sizes of; tensors that they are computed with are kept.

    Lists of numbers (a shape's constant part) are read here alone, or have labels of their own for
    every read, so they need none.
    """
    for i, name in enumerate(node.inputs):
        if not name or node.op in ("Shape", "Size"):
            continue
        listed = name in tracker.model.parameters and len(tracker.shape(node, i)) < 2
        if name not in tracker.arithmetic.origins and not listed:
            tracker.keep_layers(tracker.read(node, i), node, "sizes are computed with it")


class Cut:
    """Which indices of every tensor stay, given the labels that go.

    Args:
        coupling: the model's coupling.
        removed: whether a label goes, shape (labels,).
    """

    def __init__(self, coupling: Coupling, removed: Mask) -> None:
        self.coupling = coupling
        self.removed = removed
        self._cache: dict[Any, tuple[Mask | None, ...]] = {}

    def of_tensor(self, name: str) -> tuple[Mask | None, ...]:
        """By axis, which indices stay; None where all do."""
        return self._masks(name, name, self.coupling.layers.get(name, []))

    def of_read(self, use: Use) -> tuple[Mask | None, ...]:
        """The same for an input as one node reads it."""
        node = self.coupling.model.graph.nodes[use.node]
        name = node.inputs[use.position]
        if use in self.coupling.private_layers:
            return self._masks(use, name, self.coupling.private_layers[use])
        return self.of_tensor(self.coupling.model.root(name))

    def _masks(self, key: Any, name: str, layers: list[Layer]) -> tuple[Mask | None, ...]:
        if key not in self._cache:
            shape = self.coupling.model.shapes.get(name, ())
            masks: list[Mask | None] = [None] * len(shape)
            for layer in layers:
                for axis, mask in self._axes_of(layer, name).items():
                    known = masks[axis]
                    masks[axis] = mask if known is None else known & mask
            self._cache[key] = tuple(None if m is None or m.all() else m for m in masks)
        return self._cache[key]

    def _axes_of(self, layer: Layer, name: str) -> dict[int, Mask]:
        gone = self.removed[layer]
        axes = support(layer)
        if not gone.any():
            return {}
        if len(axes) == 1:
            return {axes[0]: ~gone.reshape(-1)}
        # A layer over several axes: whole slices along any of them, and nothing else.
        result = {}
        explained = np.zeros_like(gone)
        for axis in axes:
            others = tuple(k for k in range(gone.ndim) if k != axis)
            whole = gone.all(axis=others, keepdims=True)
            explained |= whole
            if whole.any():
                result[axis] = ~whole.reshape(-1)
        if (gone & ~explained).any():
            raise PlanError(
                f'Tensor "{name}" would not stay rectangular: what goes is no product of whole '
                "slices. Remove the same channels from every part of it."
            )
        return result
