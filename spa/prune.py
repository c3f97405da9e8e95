"""The whole job in one call: load, group, score, plan, cut, prove."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx

from spa.coupling.couple import Cut
from spa.coupling.groups import Groups, find_groups
from spa.errors import SettingError
from spa.graph.model import Model
from spa.graph.notes import notes_of
from spa.importance.score import Chosen, score
from spa.latency.machine import Machine
from spa.latency.reach import select_for_latency
from spa.observe.data import Given
from spa.observe.losses import Loss
from spa.pruning.parameters import rewrite_parameters, zero_slices
from spa.pruning.planning import plan_of
from spa.pruning.result import Pruned, finish
from spa.selection.budget import Selection, select
from spa.selection.target import Limits, Target
from spa.sources import Source, load


def prune(
    source: Source | Model,
    *,
    criterion: Chosen = "l1",
    target: Target | None = None,
    rf: float | None = None,
    rp: float | None = None,
    ratio: float | None = None,
    machine: Machine | None = None,
    inputs: Any = None,
    limits: Limits | None = None,
    aggregate: str | None = None,
    normalize: str | None = None,
    attention: str = "heads",
    keep_class: bool = False,
    steps: int = 1,
    options: Mapping[str, Any] | None = None,
    data: Given | None = None,
    loss: str | Loss | None = None,
    seed: int = 0,
    best_effort: bool = False,
    verify: bool = True,
) -> Pruned:
    """Prunes a model and proves that nothing else changed.

    Args:
        source: path of an ONNX file, a ``ModelProto``, a ``torch.nn.Module`` (with ``inputs``), or
            a loaded `Model`.
        criterion: what scores parameters or channels: a registered name, or a function of a
            `spa.importance.view.View`.
        target: what to reach; or give one of ``rf``, ``rp`` (dense over pruned FLOPs and
            parameters) and ``ratio`` (removed share of the channels). ``Target`` takes bytes and
            latency too.
        rf: see ``target``.
        rp: see ``target``.
        ratio: see ``target``.
        machine: what a target of latency is measured on; None is one thread of the CPU.
        inputs: example inputs or their shapes; see `spa.load`.
        limits: scope, rounding, floors, caps, globs, and shares of some groups.
        aggregate: how slices are folded; None takes the criterion's own.
        normalize: how groups are made comparable; None takes the criterion's own.
        attention: what attention loses: ``heads``, ``head_dim`` or ``none``.
        keep_class: take the same of all equal parts that a tensor is split into, so that a torch
            module that calls ``chunk`` can keep its class.
        steps: number of rounds, scored anew in each.
        options: the criterion's own, by name.
        data: what criteria with gradients or activations look at (see `spa.score`): inputs and
            targets, inputs by name, or ``"noise"``.
        loss: what gradients are of; None takes cross-entropy where labels fit.
        seed: for whatever is drawn.
        best_effort: where the target is out of reach, give the smallest model within the limits
            (the unchanged one where nothing may shrink), with the reason among ``plan.notes``,
            instead of raising `InfeasibleTarget`.
        verify: prove the result (see `spa.verify`).

    Returns:
        The pruned model with its plan, costs and proof; and a smaller module where one came in.

    Raises:
        SpaError: see `spa.errors`.

    Example:
        >>> result = spa.prune("resnet50.onnx", rf=2.0)
        >>> spa.save(result.model, "smaller.onnx")
    """
    if steps < 1:
        raise SettingError(f"steps must be 1 or more; {steps} was given.")
    target = target or Target(rf=rf, rp=rp, ratio=ratio)
    limits = limits or Limits()
    model = source if isinstance(source, Model) else load(source, inputs)
    started = time.perf_counter()
    groups = find_groups(model, attention, even_parts=keep_class)

    def made(limits: Limits) -> Pruned:
        selection: Selection | None = None
        for step in range(1, steps + 1):
            current = model if selection is None else _without(model, groups, selection)
            scores = score(
                current,
                groups,
                criterion,
                aggregate=aggregate,
                normalize=normalize,
                options=options,
                data=data,
                loss=loss,
                seed=seed,
            )
            goal, held = target.part(step, steps), limits.part(step, steps)
            already = None if selection is None else selection.removed
            if target.of.value is None:
                selection = select_for_latency(
                    model, groups, scores, goal, held, machine or Machine(), already,
                    best_effort=best_effort,
                )  # fmt: skip
            else:
                selection = select(
                    groups, scores, goal, held, already, best_effort=best_effort, whole=target
                )
        assert selection is not None
        plan = plan_of(groups, scores, target, limits, selection)
        plan = dataclasses.replace(plan, notes=(*plan.notes, *notes_of(model.proto)))
        dense, pruned = selection.dense, selection.pruned
        return finish(model, groups, plan, dense, pruned, started, check=verify)

    if isinstance(source, (str, os.PathLike, onnx.ModelProto, Model)):
        return made(limits)
    if keep_class:
        from spa.modules.keeping import keeping_class

        return keeping_class(made, source, inputs, model, groups, limits)
    from spa.modules.shrinking import with_module

    return with_module(made(limits), source, inputs, model, groups)


def _without(model: Model, groups: Groups, selection: Selection) -> Model:
    """The dense-shaped model with all that went so far set to zero, to be scored anew.

    Removed slices then add nothing to the sums of those that are left, as if they had been cut.
    """
    gone = selection.removed[groups.coupling.components.of]
    cut = Cut(groups.coupling, np.asarray(gone))
    counted = frozenset(model.counted_parameters)
    return model.with_weights(rewrite_parameters(model, cut, zero_slices, only=counted))
