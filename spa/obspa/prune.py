"""OBSPA in one call: score the dense model, choose, refit what stays, cut, prove."""

from __future__ import annotations

import dataclasses
import time
from typing import Any, Literal

import numpy as np

from spa.coupling.couple import Cut
from spa.coupling.groups import Groups, find_groups
from spa.errors import SettingError
from spa.graph.model import Model
from spa.importance.criterion import get
from spa.importance.score import Scores
from spa.observe.layers import find_layers
from spa.observe.memory import GIB
from spa.obspa.calibration import Calibration, Source, calibrate, nothing
from spa.obspa.estimate import estimate
from spa.obspa.family import defaults, family_of
from spa.obspa.reconstruct import Reconstruction, reconstruct
from spa.obspa.score import scores_of
from spa.obspa.search import improved
from spa.obspa.settings import Settings
from spa.pruning.parameters import rewrite_parameters, zero_slices
from spa.pruning.planning import plan_of
from spa.pruning.result import Pruned, finish
from spa.selection.budget import Selection, select
from spa.selection.costs import CostModel
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
    bn_refresh: bool | Literal["relative", "analytic"] | None = None,
    seed: int | None = None,
    best_effort: bool = False,
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
        limits: scope, rounding, floors, caps, globs, and shares of some groups.
        calibration: inputs (an array, or arrays by input name), or what they are made of: ``bn``
            (the model's own batch norm statistics), ``noise``, ``uniform``, or ``self`` (text that
            a language model writes).
        settings: how channels are chosen and refitted.
        bn_refresh: shorthand for the setting ``batch_norms``: False keeps the statistics, True
            refreshes them, ``"relative"`` moves them, ``"analytic"`` moves them without inputs.
        seed: shorthand for the setting of that name.
        best_effort: where the target is out of reach, give the smallest model within the limits.
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
        kinds = {False: "keep", True: "refresh"}
        is_switch = isinstance(bn_refresh, bool)
        changes["batch_norms"] = kinds[bool(bn_refresh)] if is_switch else bn_refresh
    if seed is not None:
        changes["seed"] = seed
    asked = _changed(settings or Settings(), changes)
    target = target or Target(rf=rf, rp=rp, ratio=ratio)
    if target.of.value is None:
        raise SettingError(
            f"OBSPA chooses channels by what follows from widths, and {target.of.keyword} is "
            "measured; ask for rf, rp, ratio or bytes."
        )
    limits = limits or Limits()
    model = source if isinstance(source, Model) else load(source, inputs)
    started = time.perf_counter()
    groups = find_groups(model)
    family = family_of(model)
    given = not isinstance(calibration, str)
    chosen = _resolved(asked, dataclasses.asdict(defaults(family, given=given)))
    seen = _sees_inputs(chosen)
    made = calibrate(model, calibration, chosen) if seen else nothing(model, chosen)
    needed = estimate(model, find_layers(groups.coupling).values(), made, chosen)
    scores, selection, rebuilt = _rounds(
        model, groups, made, chosen, target, limits, best_effort=best_effort
    )
    changed = model.with_weights(rebuilt.proto)
    plan = plan_of(groups, scores, target, limits, selection)
    details = {
        **_details(chosen, made, rebuilt), "family": family, "memory_gib": round(needed / GIB, 2)
    }  # fmt: skip
    plan = dataclasses.replace(
        plan,
        weights=changed.sha256,
        settings={**plan.settings, "method": "obspa", "obspa": _recorded(family, chosen, made)},
        notes=(*plan.notes, *_notes(made, rebuilt)),
    )
    pruned = finish(changed, groups, plan, selection.dense, selection.pruned, started, check=verify)
    return dataclasses.replace(pruned, reconstructed=changed.closed, details=details, before=model)


def _changed(settings: Settings, changes: dict[str, Any]) -> Settings:
    """Settings with others of some names.

    Raises:
        SettingError: a name that there is not.
    """
    known = {field.name for field in dataclasses.fields(Settings)}
    strange = [name for name in changes if name not in known]
    if strange:
        raise SettingError(
            f'OBSPA has no setting "{strange[0]}"; it has {", ".join(sorted(known))}.'
        )
    return dataclasses.replace(settings, **changes)


def _resolved(settings: Settings, family: dict[str, Any]) -> Settings:
    """Settings with the family's where none are given; those of a named selection are its own."""
    given = {
        name: value for name, value in family.items() if getattr(settings, name) is None
    }  # fmt: skip
    if settings.selection is not None and "normalize" in given:
        given["normalize"] = "mean"
    return dataclasses.replace(settings, **given)


def _sees_inputs(settings: Settings) -> bool:
    """Whether anything looks at calibration inputs."""
    criteria = filter(None, (settings.selection, settings.shares))
    return (
        settings.refit
        or settings.greedy
        or settings.swaps > 0
        or settings.batch_norms in ("refresh", "relative")
        or any(get(name).needs.sees_data for name in criteria)
    )


def _rounds(
    model: Model,
    groups: Groups,
    made: Calibration,
    settings: Settings,
    target: Target,
    limits: Limits,
    *,
    best_effort: bool,
) -> tuple[Scores, Selection, Reconstruction]:
    """Scores, chooses and refits, as often as asked; every refit starts from the dense model.

    Scores of later rounds are those of the refitted model without what has gone.
    """
    current, selection = model, None
    for step in range(1, settings.rounds + 1):
        scores = scores_of(current, groups, made, settings)
        already = None if selection is None else selection.removed
        selection = select(
            groups, scores, target.part(step, settings.rounds),
            limits.part(step, settings.rounds), already,
            best_effort=best_effort, whole=target,
        )  # fmt: skip
        if step == settings.rounds and (settings.greedy or settings.swaps):
            better = improved(model, groups, selection.removed, made, settings)
            pruned = CostModel(groups.coupling).cost(better)
            selection = dataclasses.replace(selection, removed=better, pruned=pruned)
        removed = selection.removed[groups.coupling.components.of]
        cut = Cut(groups.coupling, np.asarray(removed))
        rebuilt = reconstruct(model, cut, made, settings)
        if step < settings.rounds:
            changed = model.with_weights(rebuilt.proto)
            only = frozenset(model.counted_parameters)
            current = model.with_weights(rewrite_parameters(changed, cut, zero_slices, only=only))
    assert selection is not None
    return scores, selection, rebuilt


def _notes(made: Calibration, rebuilt: Reconstruction) -> tuple[str, ...]:
    if made.source == "bn" and made.used != "bn":
        fallback = "The model has no batch norm to make inputs from; noise was used instead."
        return (fallback, *rebuilt.notes)
    return rebuilt.notes


def _recorded(family: str, settings: Settings, made: Calibration) -> dict[str, Any]:
    """What a plan says of the method: every choice, defaults filled in."""
    own = ("memory", "device", "samples")
    chosen = {k: v for k, v in dataclasses.asdict(settings).items() if k not in own}
    return {"family": family, "calibration": made.used, "samples": made.samples, **chosen}


def _details(settings: Settings, made: Calibration, rebuilt: Reconstruction) -> dict[str, Any]:
    dampings = sorted(rebuilt.damping)
    return {
        "method": "obspa",
        "scores": "static" if settings.rounds == 1 else "renewed",
        "selection": settings.selection,
        "normalize": settings.normalize,
        "shares": settings.shares,
        "calibration": made.source,
        "calibration_used": made.used,
        "samples": made.samples,
        "batch_statistics": settings.batch_statistics,
        "update": "closed_form" if settings.refit else "none",
        "intercept": settings.intercept,
        "intercepts": rebuilt.intercepts,
        "target_outputs": settings.target_outputs,
        "damping": settings.damping,
        "damping_median": dampings[len(dampings) // 2] if dampings else None,
        "token_weights": settings.token_weights,
        "columns": settings.columns,
        "batch_norms": settings.batch_norms,
        "batch_norms_changed": rebuilt.batch_norms,
        "layers_refitted": len(rebuilt.updated),
        "layers_left": list(rebuilt.notes),
        "rounds": settings.rounds,
        "greedy": settings.greedy,
        "swaps": settings.swaps,
        "seed": settings.seed,
    }
