"""OBSPA in one call: score the dense model, choose, refit what stays, cut, prove."""

from __future__ import annotations

import dataclasses
import time
from typing import Any, Literal

import numpy as np

from spa.bridge import OnnxModule, to_torch
from spa.coupling.couple import Cut
from spa.coupling.groups import find_groups
from spa.errors import SettingError
from spa.graph.model import Model
from spa.graph.read import first_line
from spa.obspa.calibration import Calibration, Source, calibrate
from spa.obspa.reconstruct import Reconstruction, reconstruct
from spa.obspa.score import static_scores
from spa.obspa.settings import Settings
from spa.pruning.planning import plan_of
from spa.pruning.result import Pruned, finish
from spa.selection.budget import select
from spa.selection.target import Limits, Target
from spa.sources import Source as ModelSource
from spa.sources import load


def prune(
    source: ModelSource | Model,
    *,
    target: Target | None = None,
    rf: float | None = None,
    rp: float | None = None,
    ratio: float | None = None,
    inputs: Any = None,
    limits: Limits | None = None,
    calibration: Source = "bn",
    settings: Settings | None = None,
    bn_refresh: bool | Literal["relative"] | None = None,
    seed: int | None = None,
    verify: bool = True,
    **changes: Any,
) -> Pruned:
    """Prunes a trained model and refits what stays; no training, and no data unless given.

    Args:
        source: path of an ONNX file, a ``ModelProto``, a ``torch.nn.Module`` (with ``inputs``), or
            a loaded `Model`.
        target: what to reach; or give one of ``rf``, ``rp`` and ``ratio``.
        rf: dense over pruned FLOPs.
        rp: dense over pruned parameters.
        ratio: removed share of the channels.
        inputs: example inputs or their shapes; see `spa.load`.
        limits: scope, rounding, floors, caps and globs.
        calibration: inputs (an array, or arrays by input name), or what they are made of: ``bn``
            (the model's own batch norm statistics), ``noise`` or ``uniform``.
        settings: how channels are chosen and refitted.
        bn_refresh: shorthand for the setting ``batch_norms``: False keeps the statistics, True
            refreshes them, ``"relative"`` moves them.
        seed: shorthand for the setting of that name.
        verify: prove the result against the refitted model.
        **changes: other settings by name.

    Returns:
        The pruned model. Its ``reconstructed`` is the dense-shaped model with the new weights,
        whose hash the plan holds; its ``details`` say how it was made.

    Raises:
        SpaError: see `spa.errors`.

    Example:
        >>> result = spa.obspa.prune("resnet50.onnx", rf=1.5)
    """
    if bn_refresh is not None:
        kinds = {False: "keep", True: "refresh", "relative": "relative"}
        changes["batch_norms"] = kinds.get(bn_refresh, bn_refresh)
    if seed is not None:
        changes["seed"] = seed
    settings = dataclasses.replace(settings or Settings(), **changes)
    target = target or Target(rf=rf, rp=rp, ratio=ratio)
    limits = limits or Limits()
    model = source if isinstance(source, Model) else load(source, inputs)
    started = time.perf_counter()
    groups = find_groups(model)
    net = _module(model, settings.device)
    made = calibrate(model, net, calibration, settings)
    scores = static_scores(groups, made, settings)
    selection = select(groups, scores, target, limits)
    removed = selection.removed[groups.coupling.components.of]
    cut = Cut(groups.coupling, np.asarray(removed))
    rebuilt = reconstruct(model, net, cut, made, settings)
    changed = model.with_weights(rebuilt.proto)
    plan = plan_of(groups, scores, target, limits, selection)
    plan = dataclasses.replace(
        plan,
        weights=changed.sha256,
        settings={**plan.settings, "method": "obspa"},
        notes=(*plan.notes, *_notes(made, rebuilt)),
    )
    pruned = finish(changed, groups, plan, selection.dense, selection.pruned, started, check=verify)
    return dataclasses.replace(
        pruned, reconstructed=changed.closed, details=_details(settings, made, rebuilt)
    )


def _module(model: Model, device: str) -> OnnxModule:
    net = to_torch(model.proto).requires_grad_(False)
    try:
        return net.to(device)
    except (RuntimeError, AssertionError) as error:  # torch's own ways to refuse a device
        raise SettingError(f'device "{device}" cannot be used: {first_line(error)}') from error


def _notes(made: Calibration, rebuilt: Reconstruction) -> tuple[str, ...]:
    if made.source == "bn" and made.used != "bn":
        fallback = "The model has no batch norm to make inputs from; noise was used instead."
        return (fallback, *rebuilt.notes)
    return rebuilt.notes


def _details(settings: Settings, made: Calibration, rebuilt: Reconstruction) -> dict[str, Any]:
    return {
        "method": "obspa",
        "scores": "static",
        "selection": settings.selection,
        "normalize": "mean",
        "calibration": made.source,
        "calibration_used": made.used,
        "samples": made.samples,
        "batch_statistics": settings.batch_statistics,
        "update": "closed_form",
        "target_outputs": settings.target_outputs,
        "damping": settings.damping,
        "columns": settings.columns,
        "batch_norms": settings.batch_norms,
        "batch_norms_changed": rebuilt.batch_norms,
        "layers_refitted": len(rebuilt.updated),
        "layers_left": list(rebuilt.notes),
        "seed": settings.seed,
    }
