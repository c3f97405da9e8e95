"""A pruned model and all that belongs to it; from a plan to that: surgery and proof."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx

from spa.coupling.groups import Groups
from spa.graph.cost import Cost
from spa.graph.model import Model
from spa.pruning.plan import Plan
from spa.pruning.surgery import apply_plan
from spa.pruning.verify import Proof, verify


@dataclass(frozen=True)
class Reached:
    """Dense over pruned FLOPs and parameters."""

    rf: float
    rp: float


@dataclass(frozen=True)
class Pruned:
    """A pruned model and all that belongs to it.

    Attributes:
        model: the smaller model; write it with `spa.save`, as `onnx.save` lacks large weights that
            stay in the files of the model that came in.
        plan: what went.
        reached: RF and RP.
        dense: cost before.
        pruned: cost after.
        proof: what was checked; None if that was not asked for.
        seconds: wall-clock time from the loaded model to the proven one.
        reconstructed: the dense-shaped model that the proof compares with, where weights were
            changed too (OBSPA); None otherwise.
        details: what a method adds to a record (OBSPA's settings).
        module: where a torch module came in, a smaller one of its class (a traced one where that
            cannot be; ``plan.notes`` say why); None otherwise.
    """

    model: onnx.ModelProto
    plan: Plan
    reached: Reached
    dense: Cost
    pruned: Cost
    proof: Proof | None
    seconds: float
    reconstructed: onnx.ModelProto | None = None
    details: Mapping[str, Any] | None = None
    module: Any = None


def finish(
    model: Model,
    groups: Groups,
    plan: Plan,
    dense: Cost,
    pruned: Cost,
    started: float,
    *,
    check: bool,
) -> Pruned:
    """Surgery and proof of a plan."""
    smaller = apply_plan(model, plan, groups)
    proof = verify(model, smaller, plan, groups) if check else None
    untried = model.untried if proof is None else proof.untried
    if untried:
        note = (
            f"sizes other than the example's are untried for {', '.join(untried)}: the model ran "
            "at no other"
        )
        plan = dataclasses.replace(plan, notes=(*plan.notes, note))
    return Pruned(
        model=smaller,
        plan=plan,
        reached=Reached(plan.reached["rf"], plan.reached["rp"]),
        dense=dense,
        pruned=pruned,
        proof=proof,
        seconds=time.perf_counter() - started,
    )
