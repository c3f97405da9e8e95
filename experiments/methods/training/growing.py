"""Growing regularisation: choose what goes, pull it to zero ever harder, cut it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field

from experiments.methods import Job, Need, Outcome, method
from experiments.methods.training.sparse import Above, Sparse, sparse
from spa.training.hooks import HookSpec


@dataclass(frozen=True)
class Growing(Sparse):
    """How hard, and how long.

    Attributes:
        ceiling: where the pull ends.
        every: steps between two growths.
        delta: by which it grows; None: so that it is at the ceiling in four fifths of the training
            (the paper's 1e-4 is for tens of thousands of steps).
    """

    ceiling: Above = 1.0
    every: Annotated[int, Field(ge=1)] = 5
    delta: Above | None = None


@method(
    needs=Need.TRAINED | Need.LIMITS,
    settings=Growing,
    source="Wang et al. 2021, Neural Pruning via Growing Regularization, GReg-1; ranked globally",
)
def growing(job: Job, how: Growing) -> Outcome:
    """Plan by L1 on the dense weights; train with the hook of that name; do as planned."""
    import spa

    dense = spa.load(job.dense, job.given or None)
    # Nothing is to be proven yet: what is cut comes later.
    first = spa.prune(dense, criterion="l1", target=job.target, limits=job.limits, verify=False)
    chosen = {str(group.id): list(group.removed) for group in first.plan.groups if group.removed}
    given = {"ceiling": how.ceiling, "every": how.every, "delta": how.delta, "chosen": chosen}
    trained = sparse(job, how, HookSpec("growing", given), weight_decay=5e-4, schedule="constant")
    model = spa.load(trained, job.given or None)
    groups = spa.find_groups(model, **first.plan.coupled)
    plan = replace(first.plan, model=model.sha256)
    smaller = spa.apply_plan(model, plan, groups)
    proof = spa.verify(model, smaller, plan, groups)
    return Outcome(smaller, plan, proof, reconstructed=trained)
