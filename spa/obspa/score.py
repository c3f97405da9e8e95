"""Ranking the dense model's channels for OBSPA: by any criterion, of what can be refitted."""

from __future__ import annotations

from dataclasses import replace

from spa.coupling.groups import Groups
from spa.importance.criterion import get
from spa.importance.score import Scores, score
from spa.observe.layers import find_layers, readable
from spa.obspa.calibration import Calibration
from spa.obspa.settings import Settings

NORMALIZE = "mean"


def static_scores(groups: Groups, calibration: Calibration, settings: Settings) -> Scores:
    """Scores the dense model's channels.

    A group that no linear layer reads has nothing to be refitted, so it gets no score and is left
    dense, whatever the criterion.
    """
    model = groups.coupling.model
    chosen = get(settings.selection)
    options = {}
    if chosen.name == "obs":
        names = ("damping", "columns", "batch_statistics", "device")
        options = {name: getattr(settings, name) for name in names}
    scores = score(
        model, groups, chosen.name, normalize=NORMALIZE, options=options,
        data=calibration.data() if chosen.needs.sees_data else None, seed=settings.seed,
    )  # fmt: skip
    kept = readable(groups, find_layers(groups.coupling))
    return replace(scores, by_group={i: v for i, v in scores.by_group.items() if i in kept})
