"""A pruned model and all that belongs to it; from a plan to that: surgery and proof."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import onnx

from spa.coupling.groups import Groups
from spa.graph.cost import Cost
from spa.graph.model import Model
from spa.pruning.plan import Plan
from spa.pruning.surgery import apply_plan
from spa.pruning.verify import Proof, verify
from spa.pruning.widths import HEAD, moved, moved_line, widths
from spa.showing import MOST_OF_A_MESSAGE, MOST_ROWS, as_html, as_text, shown


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
        before: the dense model, which `moved` runs; None where it is not at hand.
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
    before: Model | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        proof = "unproven" if self.proof is None or not self.proof.equal else "proven"
        module = "" if self.module is None else f", module {type(self.module).__name__}"
        return f"Pruned({self._head()}; {proof}{module}; .summary() says more)"

    def _repr_html_(self) -> str:
        rows = [HEAD, *(width.row for width in widths(self.plan, self.model))]
        return as_html(self._head(), rows)

    def summary(self, most: int = MOST_ROWS) -> str:
        """What shrank by layer, how far the outputs moved, and what to do next, as lines.

        Args:
            most: how many weights are listed.
        """
        rows = [HEAD, *(width.row for width in widths(self.plan, self.model))]
        lines = [self._head(), as_text(rows, most) if len(rows) > 1 else "nothing shrank"]
        lines += [f"note: {shown(note, MOST_OF_A_MESSAGE)}" for note in self.plan.notes]
        if self.moved is not None:
            lines.append(moved_line(self.moved, self.before is not None and self.before.asked))
        if len(rows) > 1 and self.reconstructed is None:
            lines.append(
                "next: train what is left (spa.finetune, or result.module in a loop of your own), "
                "or prune with refitted weights and without data (spa.obspa.prune)"
            )
        return "\n".join(lines)

    @cached_property
    def moved(self) -> float | None:
        """How far the outputs moved (`spa.pruning.widths.moved`); None where it is not known."""
        return None if self.before is None else moved(self.before, self.model)

    def _head(self) -> str:
        return (
            f"rf {self.reached.rf:.3f}, rp {self.reached.rp:.3f}; parameters "
            f"{self.dense.params:,} -> {self.pruned.params:,}, MACs {self.dense.macs:,} -> "
            f"{self.pruned.macs:,}"
        )


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
        before=model if plan.weights is None else None,
    )
