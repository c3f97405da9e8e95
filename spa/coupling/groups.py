"""Groups: sets of coupled channels of one structure (same tensors and axes, other indices)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spa.coupling.couple import Coupling, couple
from spa.coupling.floors import Line, lines
from spa.coupling.kept import KeptAxis, kept_axes, sentence
from spa.coupling.labels import LabelledAxis, Labels
from spa.coupling.zeros import contracted_parameters
from spa.graph.model import Model


class Member(NamedTuple):
    """A parameter axis that takes part in a group.

    Attributes:
        axis: the labelled axis (tensor name, axis, size).
        indices: indices along it of every channel of the group, shape (channels, multiplicity);
            the multiplicity is over 1 where one channel holds several indices (a flatten, the same
            index in every group of a convolution).
    """

    axis: LabelledAxis
    indices: Labels

    @property
    def name(self) -> str:
        """The parameter's name."""
        return self.axis.tensor


@dataclass(frozen=True)
class Group:
    """Coupled channels of the same structure.

    Attributes:
        id: number, in topological order.
        channels: how many sets of coupled channels it holds.
        members: the parameter axes that shrink together.
        exact: whether a removal can be checked to equal the zeroed dense model.
        why_inexact: the first reason why not; empty when exact.
        components: component number of every channel, shape (channels,).
        nodes: names of the nodes that read a member.
        at_least: how many of its channels must be left.
    """

    id: int
    channels: int
    members: tuple[Member, ...]
    exact: bool
    why_inexact: str
    components: Labels
    nodes: tuple[str, ...]
    at_least: int = 1


@dataclass(frozen=True)
class Groups:
    """All groups of a model, and what is kept dense.

    Attributes:
        coupling: the labels behind them.
        groups: in topological order.
        kept: kept parameter axes with the reason, kernel axes left out.
    """

    coupling: Coupling
    groups: tuple[Group, ...]
    kept: tuple[KeptAxis, ...]

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self.groups)

    def __len__(self) -> int:
        return len(self.groups)


def find_groups(model: Model, attention: str = "heads") -> Groups:
    """Finds the groups of a model, afresh at each call.

    Args:
        model: a loaded model.
        attention: what attention loses: ``heads``, ``head_dim`` (the same index of every head), or
            ``none``.

    Returns:
        Its groups, and what is kept dense and why.

    Example:
        >>> for group in spa.find_groups(model):
        ...     print(group.id, group.channels, [(m.name, m.axis.axis) for m in group.members])
    """
    coupling = couple(model, attention)
    return Groups(coupling, _groups(coupling), kept_axes(coupling))


def _groups(coupling: Coupling) -> tuple[Group, ...]:
    of = coupling.components.of
    axis_of = coupling.axis_of_label
    labels = np.flatnonzero(coupling.is_prunable & coupling.is_parameter)
    # A component that no contraction reads (a shape, a list of indices, a mask) saves nothing.
    contracted = contracted_parameters(coupling.model, tables=False)
    is_weight = np.array([axis.tensor in contracted for axis in coupling.axes] + [False])
    of_weights = np.unique(of[labels[is_weight[axis_of[labels]]]])
    labels = labels[np.isin(of[labels], of_weights)]
    if labels.size == 0:
        return ()
    # Sorted by component, then by label: each component's labels in one run, in axis order.
    labels = labels[np.argsort(of[labels], kind="stable")]
    components, starts = np.unique(of[labels], return_index=True)
    axes = axis_of[labels]
    floors = lines(coupling)
    on = np.array([np.isin(components, line.components) for line in floors], dtype=bool)
    on = on.reshape(len(floors), components.size)
    by_structure = _by_structure(axes, starts, on)
    sizes = np.diff(starts, append=labels.size)
    found = []
    for positions in by_structure:
        order = positions[np.argsort(labels[starts[positions]], kind="stable")]
        found.append((int(labels[starts[order[0]]]), order))
    found.sort(key=lambda entry: entry[0])
    return tuple(
        _group(
            coupling,
            number,
            components[order],
            labels[starts[order, None] + np.arange(sizes[order[0]])],
            [line for line, flag in zip(floors, on[:, order[0]], strict=True) if flag],
        )
        for number, (_, order) in enumerate(found)
    )


def _by_structure(axes: Labels, starts: Labels, on: npt.NDArray[np.bool_]) -> list[Labels]:
    """Positions of the components that have the same structure, for each structure.

    A structure is which axes a component has, how often each, and of which lines some of its
    entries must be left. Every axis and every line gets random numbers of 128 bits, whose sum tells
    structures apart.

    Args:
        axes: the axes of all components' labels, one component after another.
        starts: where each component's axes begin.
        on: which components lie on which lines, shape (lines, components).
    """
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 2**64, (2, int(axes.max()) + 1 + len(on)), dtype=np.uint64)
    sums = np.add.reduceat(numbers[:, axes], starts, axis=1)
    for line, row in enumerate(on):
        sums += numbers[:, -1 - line, None] * row
    # By both sums; each run of equal ones is a structure.
    order = np.lexsort(sums)
    changes = (np.diff(sums[:, order], axis=1) != 0).any(axis=0)
    return np.split(order, np.flatnonzero(changes) + 1)


def _group(
    coupling: Coupling, number: int, components: Labels, labels: Labels, floors: Sequence[Line]
) -> Group:
    """labels: (channels, entries), every row with the same axes in the same places."""
    axes = coupling.axis_of_label[labels[0]]
    # Labels are sorted, so those of an axis lie together.
    starts = [0, *(np.flatnonzero(np.diff(axes)) + 1).tolist(), axes.size]
    entries = [coupling.axes[axis] for axis in axes[starts[:-1]].tolist()]
    indices = labels - np.array([entry.start for entry in entries]).repeat(np.diff(starts))
    members = [
        Member(entry, indices[:, start:end])
        for entry, (start, end) in zip(entries, pairwise(starts), strict=True)
    ]
    remark = next(
        (
            remark
            for component in components.tolist()
            if (remark := coupling.why_inexact.get(component)) is not None
        ),
        None,
    )
    graph = coupling.model.graph
    why = "" if remark is None else sentence(coupling, remark.node, remark.text)
    readers: set[int] = set()
    for entry in entries:
        uses = entry.uses or graph.uses.get(entry.tensor, ())
        readers.update([use.node for use in uses])
    return Group(
        id=number,
        channels=int(components.size),
        members=tuple(members),
        exact=remark is None,
        why_inexact=why,
        components=components,
        nodes=tuple(graph.nodes[i].name for i in sorted(readers)),
        at_least=max([1, *(line.share(components) for line in floors)]),
    )
