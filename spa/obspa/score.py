"""Ranking channels for OBSPA: by any criterion, of what can be refitted; and shares of groups."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spa.coupling.groups import Groups
from spa.graph.model import Model
from spa.importance.criterion import get
from spa.importance.score import Scores, score
from spa.observe.layers import find_layers, readable
from spa.obspa.calibration import Calibration
from spa.obspa.settings import Settings


def scores_of(model: Model, groups: Groups, calibration: Calibration, settings: Settings) -> Scores:
    """Scores a model's channels.

    A group that no linear layer reads has nothing to be refitted, so it gets no score and is left
    dense, whatever the criterion.

    Args:
        model: the dense model, or one of the same structure whose channels that went are zero.
        groups: the dense model's groups.
        calibration: what criteria that look at data see.
        settings: a selection must be named.
    """
    assert settings.selection is not None
    found = _scored(model, groups, calibration, settings, settings.selection, settings.normalize)
    if settings.shares is not None:
        other = _scored(
            model, groups, calibration, settings, settings.shares, settings.shares_normalize
        )
        found = in_shares_of(found, other)
    kept = readable(groups, find_layers(groups.coupling)) if settings.refit else None
    if kept is None:
        return found
    return replace(found, by_group={i: v for i, v in found.by_group.items() if i in kept})


def in_shares_of(order: Scores, shares: Scores) -> Scores:
    """Scores that rank within groups as ``order`` does, and between groups as ``shares`` does.

    The n-th channel of a group by one score gets the n-th smallest value of the other.
    """
    by_group = {}
    for i, values in order.by_group.items():
        if i not in shares.by_group:
            continue
        ranked = np.empty_like(values)
        ranked[np.argsort(values, kind="stable")] = np.sort(shares.by_group[i])
        by_group[i] = ranked
    details = {**order.details, "shares": shares.criterion, "shares_normalize": shares.normalize}
    return replace(order, by_group=by_group, details=details)


def _scored(
    model: Model, groups: Groups, calibration: Calibration, settings: Settings, name: str,
    normalize: str | None,
) -> Scores:  # fmt: skip
    chosen = get(name)
    options = {}
    if chosen.name == "obs":
        options = {
            "damping": settings.share,
            "columns": settings.columns,
            "batch_statistics": settings.batch_statistics,
            "token_weights": bool(settings.token_weights),
            "device": settings.device,
        }
    return score(
        model, groups, chosen.name, normalize=normalize, options=options,
        data=calibration.data() if chosen.needs.sees_data else None, seed=settings.seed,
    )  # fmt: skip
