"""Scoring: a criterion, aggregated over coupled sets and normalised over groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

import spa.importance.criteria  # noqa: F401  (fills the registry)
from spa.coupling.groups import Group, Groups, Member
from spa.errors import SettingError, unknown
from spa.graph.model import Array, Model
from spa.importance.aggregate import AGGREGATES, NORMALIZATIONS
from spa.importance.registry import Context, Criterion, ElementScores, get

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """Importance of every channel of every group.

    Attributes:
        criterion: name of what scored.
        aggregate: how slices were folded.
        normalize: how groups were made comparable.
        by_group: by group id, shape (channels,); a group with no scored parameter is missing.
    """

    criterion: str
    aggregate: str
    normalize: str
    by_group: dict[int, Values]


def score(
    model: Model,
    groups: Groups,
    criterion: str = "l1",
    *,
    aggregate: str | None = None,
    normalize: str | None = None,
    data: tuple[Array, Array] | None = None,
    seed: int = 0,
) -> Scores:
    """Scores the coupled channels of a model.

    Args:
        model: the model; other weights of the same structure are fine.
        groups: its groups.
        criterion: a registered name (``spa.importance.registry.names()``).
        aggregate: sum, mean, max, prod, first or median; None takes the criterion's own.
        normalize: none, sum, mean, max, minmax or gaussian; None takes the criterion's own.
        data: inputs (N, ...) and labels (N,) for criteria that need gradients.
        seed: for whatever is drawn.

    Raises:
        SettingError: an unknown name, or scores that are not finite.
    """
    chosen = get(criterion)
    aggregate = aggregate or chosen.aggregate
    normalize = normalize or chosen.normalize
    if aggregate not in AGGREGATES:
        raise SettingError(unknown("aggregation", aggregate, AGGREGATES))
    if normalize not in NORMALIZATIONS:
        raise SettingError(unknown("normalisation", normalize, NORMALIZATIONS))
    table = _channel_table(chosen, model, groups, Context(data, seed))
    by_group = {}
    for group in groups.groups:
        members = _member_scores(model, group, table)
        if members is not None:
            values = AGGREGATES[aggregate](members)
            if not np.isfinite(values).all():
                raise SettingError(
                    f"{criterion} gives scores that are not finite in group {group.id} (first "
                    f'parameter "{group.members[0].name}"): the weights, or the gradients on '
                    "this data, overflow or are NaN."
                )
            by_group[group.id] = NORMALIZATIONS[normalize](values)
    return Scores(criterion, aggregate, normalize, by_group)


class _Sums:
    """Element scores, summed over all axes but one.

    A tensor's scores are computed once, for all of its axes that are asked for, and not kept.

    Args:
        elements: the scores.
        groups: whose members will be asked for.
    """

    def __init__(self, elements: ElementScores, groups: Groups) -> None:
        self._elements = elements
        self._sums: dict[tuple[str, int], Values] = {}
        self._axes: dict[str, set[int]] = {}
        for group in groups.groups:
            for member in group.members:
                self._axes.setdefault(member.name, set()).add(member.axis.axis)

    def get(self, key: tuple[str, int]) -> Values | None:
        name, axis = key
        if name not in self._elements:
            return None
        if key not in self._sums:
            array = self._elements[name]
            axes = sorted({axis, *self._axes.get(name, ())})
            # What none of them is, such as a kernel's pixels, goes first.
            rest = tuple(k for k in range(array.ndim) if k not in axes)
            left = array.sum(axis=rest, dtype=np.float64) if rest else array
            for i, k in enumerate(axes):
                others = tuple(j for j in range(left.ndim) if j != i)
                self._sums[name, k] = left.sum(axis=others, dtype=np.float64)
        return self._sums[key]


def _channel_table(
    criterion: Criterion, model: Model, groups: Groups, context: Context
) -> _Sums | dict[tuple[str, int], Values]:
    raw = criterion.function(model, context)
    return _Sums(raw, groups) if criterion.kind == "element" else dict(raw)


def _member_scores(
    model: Model, group: Group, table: _Sums | dict[tuple[str, int], Values]
) -> Values | None:
    """Scores of every scored member, shape (members, channels)."""
    rows = []
    for member in group.members:
        if member.axis.uses and model.statistic_reads.issuperset(member.axis.uses):
            continue
        values = None
        # A read with labels of its own may have scores of its own (a gradient), by the name read.
        for use in member.axis.uses:
            read = model.graph.nodes[use.node].inputs[use.position]
            values = table.get((read, member.axis.axis))
        if values is None:
            values = table.get((member.name, member.axis.axis))
        if values is not None:
            rows.append(_gather(member, values))
    return np.stack(rows) if rows else None


def _gather(member: Member, values: Values) -> Values:
    """Values of an axis's indices, summed over the indices that one channel holds."""
    gathered: Values = values[member.indices].sum(axis=1)
    return gathered
