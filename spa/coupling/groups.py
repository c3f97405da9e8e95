"""Groups: sets of coupled channels of one structure (same tensors and axes, other indices)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from spa.coupling.connect import consecutive
from spa.coupling.couple import Coupling, couple
from spa.coupling.fixed import keep_fixed
from spa.coupling.floors import lines
from spa.coupling.kept import KeptAxis, kept_axes, sentence
from spa.coupling.labels import LabelledAxis, Labels
from spa.coupling.structures import Structure, structures
from spa.graph.model import Model
from spa.showing import as_html, as_text


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
        exact: whether a removal can be checked to equal the zeroed dense model.
        why_inexact: the first reason why not; empty when exact.
        at_least: how many of its channels must be left.
        structure: where its channels lie.
        coupling: the labels behind it.
    """

    id: int
    channels: int
    exact: bool
    why_inexact: str
    at_least: int
    structure: Structure = field(repr=False, compare=False)
    coupling: Coupling = field(repr=False, compare=False)

    @property
    def components(self) -> Labels:
        """Component number of every channel, shape (channels,)."""
        return self.structure.components

    @cached_property
    def members(self) -> tuple[Member, ...]:
        """The parameter axes that shrink together.

        They are listed when somebody asks: in all groups of a DenseNet together there are as many
        as it has layers squared.
        """
        return _members(self.structure, self.coupling.axes)

    @cached_property
    def nodes(self) -> tuple[str, ...]:
        """Names of the nodes that read a member, in topological order."""
        graph = self.coupling.model.graph
        uses = [m.axis.uses or graph.uses.get(m.name, ()) for m in self.members]
        readers = sorted({use.node for some in uses for use in some})
        return tuple([graph.nodes[i].name for i in readers])


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

    def __repr__(self) -> str:
        channels = sum(group.channels for group in self.groups)
        head = (
            f"{len(self.groups)} groups, {channels:,} channels that may go; {len(self.kept)} axes "
            "of parameters are kept dense (see .kept)"
        )
        return f"{head}\n{as_text(self._table(), 12)}" if self.groups else head

    def _repr_html_(self) -> str:
        head, *_ = repr(self).splitlines()
        return as_html(head, self._table())

    def _table(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = [("group", "channels", "exact", "parameters", "the first")]
        for group in self.groups:
            first = group.members[0] if group.members else None
            name = "" if first is None else f"{first.name} axis {first.axis.axis}"
            exact = "yes" if group.exact else "no"
            rows.append(
                (str(group.id), f"{group.channels:,}", exact, str(len(group.members)), name)
            )
        return rows

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self.groups)

    def __len__(self) -> int:
        return len(self.groups)


def find_groups(model: Model, attention: str = "heads", *, even_parts: bool = False) -> Groups:
    """Finds the groups of a model, afresh at each call.

    Args:
        model: a loaded model.
        attention: what attention loses: ``heads``, ``head_dim`` (the same index of every head), or
            ``none``.
        even_parts: whether the same indices go from all equal parts that a tensor is split into,
            as the class of a torch module needs it (`spa.coupling.even`).

    Returns:
        Its groups, and what is kept dense and why.

    Example:
        >>> for group in spa.find_groups(model):
        ...     print(group.id, group.channels, [(m.name, m.axis.axis) for m in group.members])
    """
    coupling = keep_fixed(couple(model, attention, even_parts=even_parts))
    saving, idle = _structures(coupling)
    groups = tuple(_group(coupling, number, each) for number, each in enumerate(saving))
    return Groups(coupling, groups, kept_axes(coupling, idle))


def _structures(coupling: Coupling) -> tuple[list[Structure], list[Structure]]:
    """What may be pruned, and what nothing would be saved by: no contraction reads it.

    The latter are shapes, lists of indices and masks, and now and then a weight.
    """
    pieces, kept = coupling.components.pieces, coupling.components.kept
    found = structures(
        pieces.of(coupling.axis_is_parameter[pieces.axes] & ~kept[pieces.components]),
        lines(coupling),
    )
    multiplied = coupling.multiplied
    saving: list[Structure] = []
    idle: list[Structure] = []
    for each in found:
        reads = any(coupling.axes[k].tensor in multiplied for k in each.axes.tolist())
        (saving if reads else idle).append(each)
    return saving, idle


def _group(coupling: Coupling, number: int, structure: Structure) -> Group:
    exact, why = True, ""
    if coupling.inexact:
        remarks = coupling.why_inexact[structure.components]
        with_remark = remarks < len(coupling.inexact)
        if with_remark.any():
            remark = coupling.inexact[int(remarks[with_remark.argmax()])]
            exact, why = False, sentence(coupling, remark.node, remark.text)
    return Group(
        id=number,
        channels=int(structure.components.size),
        exact=exact,
        why_inexact=why,
        at_least=max([1, *(line.share(structure.components) for line in structure.lines)]),
        structure=structure,
        coupling=coupling,
    )


def _members(structure: Structure, every: Sequence[LabelledAxis]) -> tuple[Member, ...]:
    """The axes of a structure with the indices of every channel."""
    axes = structure.axes.tolist()
    if len(structure.sizes) == 1 and len(set(axes)) == len(axes):
        # One span, an index of each axis per channel: most axes begin alike, and then share.
        starts, count = structure.indices[0].tolist(), structure.components.size
        columns = {start: consecutive(start, count)[:, None] for start in set(starts)}
        # As Member() does, in half the time.
        pairs = zip([every[k] for k in axes], [columns[start] for start in starts], strict=True)
        return tuple(map(tuple.__new__, itertools.repeat(Member), pairs))
    indices = structure.of_all()
    # Labels are sorted, so those of an axis lie together.
    starts = [k for k, axis in enumerate(axes) if k == 0 or axis != axes[k - 1]]
    return tuple(
        [
            Member(every[axes[start]], indices[:, start:end])
            for start, end in zip(starts, [*starts[1:], len(axes)], strict=True)
        ]
    )
