"""Scoring: a criterion, aggregated over coupled sets and normalised over groups."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from spa.coupling.groups import Groups
from spa.errors import SettingError, unknown
from spa.graph.model import Model
from spa.importance.aggregate import AGGREGATES, NORMALIZATIONS
from spa.importance.checked import checked
from spa.importance.criterion import Criterion, get, of_function
from spa.importance.fold import Fold
from spa.importance.values import Channels, Scored, Values
from spa.importance.view import View
from spa.observe.data import Given, data_for
from spa.observe.losses import Loss
from spa.showing import as_html, as_text

# A registered name, a function of a view (and of a dataclass of options), or a criterion of a file.
Chosen: TypeAlias = "str | Callable[..., Scored] | Criterion"


@dataclass(frozen=True)
class Scores:
    """Importance of every channel of every group.

    Attributes:
        criterion: name of what scored.
        aggregate: how slices were folded; "" where the criterion did it.
        normalize: how groups were made comparable.
        by_group: by group id, shape (channels,); a group with no scored parameter is missing.
        details: the criterion's options, and what it saw of data.
    """

    criterion: str
    aggregate: str
    normalize: str
    by_group: dict[int, Values]
    details: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        head, rows = self._table()
        return f"{head}\n{as_text(rows, 12)}"

    def _repr_html_(self) -> str:
        return as_html(*self._table())

    def _table(self) -> tuple[str, list[tuple[str, ...]]]:
        rows: list[tuple[str, ...]] = [("group", "channels", "least", "median", "most")]
        for group, values in self.by_group.items():
            numbers = [f"{f(values):.3g}" for f in (np.min, np.median, np.max)]
            rows.append((str(group), f"{len(values):,}", *numbers))
        how = f"{self.aggregate or 'its own'} over slices, {self.normalize} over groups"
        return f"Scores by {self.criterion} ({how})", rows


def score(
    model: Model,
    groups: Groups,
    criterion: Chosen = "l1",
    *,
    aggregate: str | None = None,
    normalize: str | None = None,
    options: Mapping[str, Any] | None = None,
    data: Given | None = None,
    loss: str | Loss | None = None,
    seed: int = 0,
) -> Scores:
    """Scores the coupled channels of a model.

    Args:
        model: the model; other weights of the same structure are fine.
        groups: its groups.
        criterion: a registered name (``spa.importance.criterion.names()``), a function of a `View`
            that gives `Elements`, `Axes`, `Tensors` or `Channels`, or what
            `spa.importance.from_file` gives.
        aggregate: sum, mean, max, prod, first or median; None takes the criterion's own.
        normalize: none, sum, mean, max, minmax, gaussian or lamp; None takes the criterion's own.
        options: the criterion's own, by name.
        data: for criteria that look at some: inputs (N, ...) and targets (N,), inputs by name and
            targets, inputs alone, or ``"noise"`` or ``"uniform"``.
        loss: for criteria with gradients: a function of outputs and targets, summed over samples,
            or a name (`spa.observe.losses`); None takes cross-entropy where labels fit.
        seed: for whatever is drawn.

    Raises:
        SettingError: an unknown name, data that is lacking or does not fit, or scores that are not
            finite.
    """
    chosen = chosen_criterion(criterion)
    asked, aggregate = aggregate, _aggregate(chosen, aggregate)
    normalize = normalize or chosen.normalize
    if normalize not in NORMALIZATIONS:
        raise SettingError(unknown("normalisation", normalize, NORMALIZATIONS))
    how = chosen.how(options or {})
    samples = None
    if data is not None and (chosen.needs.sees_data or not isinstance(criterion, str)):
        samples = data_for(model, data, seed=seed)
    view = View(model, groups, data=samples, loss=loss, seed=seed, name=f"Criterion {chosen.name}")
    scored = checked(model, groups, chosen.function(view, how), f"Criterion {chosen.name}")
    if isinstance(scored, Channels):
        aggregate = _aggregate(dataclasses.replace(chosen, aggregate=""), asked)
    fold = Fold(groups, scored)
    by_group = {}
    for group in groups.groups:
        rows = fold.rows(group)
        if rows is not None:
            values = AGGREGATES[aggregate or "sum"](rows)
            if not np.isfinite(values).all():
                raise SettingError(
                    f"{chosen.name} gives scores that are not finite in group {group.id} (first "
                    f'parameter "{group.members[0].name}"): the weights, or the gradients on '
                    "this data, overflow or are NaN."
                )
            by_group[group.id] = NORMALIZATIONS[normalize](values)
    details = {**({"options": dict(options)} if options else {}), **view.seen}
    return Scores(chosen.name, aggregate, normalize, by_group, details)


def chosen_criterion(criterion: Chosen) -> Criterion:
    """The criterion that a name, a function or itself stands for.

    Raises:
        SettingError: an unknown name; near matches are offered.
    """
    if isinstance(criterion, Criterion):
        return criterion
    return get(criterion) if isinstance(criterion, str) else of_function(criterion)


def _aggregate(chosen: Criterion, asked: str | None) -> str:
    """How slices are folded; "" for a criterion that folds them itself."""
    if asked is None:
        return chosen.aggregate
    if asked not in AGGREGATES:
        raise SettingError(unknown("aggregation", asked, AGGREGATES))
    if not chosen.aggregate:
        raise SettingError(
            f"Criterion {chosen.name} scores whole sets of coupled channels, so there is nothing "
            f"to aggregate; leave aggregate={asked} out."
        )
    return asked
