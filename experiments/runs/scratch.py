"""A pruned shape with fresh weights: what a choice of channels must beat, trained as long.

    pruned.onnx, and a fresh network of the same name -> fresh.onnx

Every weight of the pruned file is the corner of that size of a fresh network's, whose entries are
drawn one like the other, so that it does not matter which of them are taken. Initialisers draw a
weight's entries with a variance of one over its fan-in or its fan-out; both are smaller now, so
entries grow by the square root of their geometric mean, (dense size / pruned size)^(1/4).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import spa
from experiments.config.settings import Settings
from experiments.ground.seeds import whole
from experiments.runs.job import Source
from experiments.times import Drawn, Once, Rounds
from experiments.training.budget import Budget
from spa.errors import SettingError

if TYPE_CHECKING:
    import onnx

FRESH = "fresh.onnx"


def seeds(settings: Settings) -> dict[str, Any]:
    """What the record says of the weights: the seed that they are drawn by."""
    return {"fresh_seed": whole(settings.seed, "scratch")}


def drawn(pruned: Path, given: Source) -> Path:
    """Write the fresh network, unless it is there from an earlier try; returns its file."""
    import onnx

    from experiments.models.network import fresh

    settings, folder = given.settings, given.folder

    def make() -> dict[str, Any]:
        seed = seeds(settings)
        _, proto = fresh(settings.model, given.data, seed["fresh_seed"])
        folder.write_model(FRESH, with_fresh_weights(onnx.load(pruned), proto))
        return seed

    folder.stage("fresh", pruned, make, makes=(FRESH,))
    return folder.path / FRESH


def lengthened(budget: Budget, pace: Once | Rounds, rf: float) -> Budget:
    """The budget, by as much longer as an epoch is cheaper, where that is asked for."""
    if not isinstance(pace, Drawn) or pace.budget == "epochs":
        return budget
    return replace(
        budget,
        epochs=round(budget.epochs * rf),
        milestones=tuple(round(epoch * rf) for epoch in budget.milestones),
        warmup=round(budget.warmup * rf),
    )


def with_fresh_weights(pruned: onnx.ModelProto, fresh: onnx.ModelProto) -> onnx.ModelProto:
    """Return the pruned file with a fresh network's weights, cut to size.

    Raises:
        SettingError: a weight of it has no counterpart of its name and axes.
    """
    import onnx
    from onnx import numpy_helper

    begins = {t.name: numpy_helper.to_array(t) for t in fresh.graph.initializer}
    learned = spa.load(pruned).parameters
    out = onnx.ModelProto()
    out.CopyFrom(pruned)
    for tensor in out.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if tensor.name not in learned or value.dtype.kind != "f":
            continue
        first = begins.get(tensor.name)
        fits = first is not None and first.ndim == value.ndim
        if first is None or not fits or any(np.less(first.shape, value.shape)):
            raise SettingError(
                f"time=scratch finds no fresh weights for {tensor.name}, {list(value.shape)}: the "
                "method gave it another name or more axes than the network has; use another method"
            )
        part = first[tuple(slice(size) for size in value.shape)]
        grown = (first.size / value.size) ** 0.25 if value.ndim > 1 else 1.0
        tensor.CopyFrom(numpy_helper.from_array((part * grown).astype(value.dtype), tensor.name))
    return out
