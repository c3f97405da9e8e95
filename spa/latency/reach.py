"""A target of measured latency: widths by the table, then a measurement, then widths again.

What the table tells of a whole model is off by what the runtime does between layers and by how fast
the machine is just now. Dense and pruned model are therefore timed side by side, and the table is
asked for so much more or less as it was off, until what is measured is what was asked.
"""

from __future__ import annotations

from dataclasses import dataclass

from spa.coupling.groups import Groups
from spa.errors import InfeasibleTarget
from spa.graph.latency import measure_latency
from spa.graph.model import Model
from spa.importance.score import Scores
from spa.latency.machine import Machine
from spa.latency.sampling import cut_to, feeds_of, table_of
from spa.latency.search import cheapest
from spa.progress import stage
from spa.selection.budget import Selection, eligible
from spa.selection.costs import CostModel, Mask
from spa.selection.order import Order
from spa.selection.reach import out_of_reach, own_ratio_missed, own_ratio_notes
from spa.selection.target import Limits, Target

# A measured latency within this share of the asked one is reached.
NEAR = 0.05
# How often widths are looked for and measured.
ROUNDS = 5
TIMED, SECONDS = 40, 20.0


@dataclass(frozen=True)
class Timed:
    """What came of a target of latency.

    Attributes:
        dense: measured milliseconds of the dense model.
        pruned: of the pruned one, side by side with it.
        predicted: what the table told of it.
        machine: what they were measured on.
    """

    dense: float
    pruned: float
    predicted: float
    machine: Machine

    def as_dict(self) -> dict[str, float | str]:
        """JSON-ready."""
        return {
            "dense_ms": self.dense, "pruned_ms": self.pruned, "predicted_ms": self.predicted,
            "machine": str(self.machine),
        }  # fmt: skip


def select_for_latency(
    model: Model,
    groups: Groups,
    scores: Scores,
    target: Target,
    limits: Limits,
    machine: Machine,
    already: Mask | None = None,
    *,
    best_effort: bool = False,
) -> Selection:
    """Chooses the channels that go for a target of latency.

    Args:
        model: what is pruned.
        groups: its groups.
        scores: their scores.
        target: of ``latency_ratio`` (dense over pruned) or ``latency_ms``.
        limits: what holds whatever the scores say.
        machine: what it is measured on.
        already: components that went in earlier steps.
        best_effort: take the nearest where the target is out of reach.

    Raises:
        InfeasibleTarget: the limits keep the target out of reach by more than `NEAR`.
    """
    chosen, notes = eligible(groups, scores, limits)
    order = Order(groups, chosen, scores, limits, already)
    if (missed := own_ratio_missed(order, chosen, limits)) is not None:
        if not best_effort:
            raise missed
        notes.append(str(missed))
    notes += own_ratio_notes(order, chosen, limits)
    costs = CostModel(groups.coupling)
    nothing = order.remove([0] * len(order.widths))
    feeds, dense_model = feeds_of(model, machine), cut_to(model, groups, nothing)

    def timed(removed: Mask) -> tuple[float, float]:
        models = [dense_model, cut_to(model, groups, removed)]
        with stage("Timing dense and pruned"):
            dense, pruned = measure_latency(
                models, feeds, rounds=TIMED, threads=machine.threads, seconds=SECONDS,
                provider=machine.provider,
            )  # fmt: skip
        return dense.median, pruned.median

    table = table_of(model, groups, order, costs, machine)

    def told(counts: list[int]) -> float:
        return table.predict(order.remove(counts))

    base = told([0] * len(order.widths))
    asked = target.value
    if target.of.kind == "amount":
        first, _ = timed(nothing)
        asked = max(1.0, first / target.value)
    best: tuple[float, Mask, Timed] | None = None
    aim, fits = asked, True
    for _ in range(ROUNDS):
        counts, fits = cheapest(order, told, base / aim)
        removed = order.remove(counts)
        dense, pruned = timed(removed)
        if target.of.kind == "amount":
            asked = max(1.0, dense / target.value)
        reached = dense / pruned
        off = abs(reached / asked - 1) + (1.0 if reached < asked * (1 - NEAR) else 0.0)
        result = Timed(dense, pruned, told(counts) * dense / base, machine)
        if best is None or off < best[0]:
            best = off, removed, result
        if abs(reached / asked - 1) <= NEAR or (not fits and reached < asked):
            break
        aim *= asked / reached
    assert best is not None
    _, removed, result = best
    if target.of.kind == "amount":  # by what the dense model took just then
        asked = max(1.0, result.dense / target.value)
    value = result.dense / result.pruned if target.of.kind == "quotient" else result.pruned
    if result.dense / result.pruned < asked * (1 - NEAR):
        unchanged = 1.0 if target.of.kind == "quotient" else result.dense
        why = out_of_reach(target, value, unchanged, chosen, groups, limits)
        if not best_effort:
            raise InfeasibleTarget(why, quantity=target.of.keyword, asked=target.value,
                                   reachable=value)  # fmt: skip
        notes.append(why)
    beyond = result.dense / result.pruned > asked * (1 + NEAR)
    nearest = "; nothing nearer was found that is fast enough" if beyond else ""
    notes.append(
        f"{target.of.keyword} {target.value:g} was asked: {result.dense:.3g} ms dense, "
        f"{result.predicted:.3g} ms predicted, {result.pruned:.3g} ms measured "
        f"({machine}){nearest}."
    )
    return Selection(removed, costs.cost(nothing), costs.cost(removed), tuple(notes),
                     result.as_dict())  # fmt: skip
