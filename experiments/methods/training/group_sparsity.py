"""DepGraph's sparse learning: train coupled sets towards zero together, prune the smallest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from experiments.methods import Job, Need, Outcome, method
from experiments.methods.training.sparse import Above, Sparse, sparse
from spa.training.hooks import HookSpec


@dataclass(frozen=True)
class GroupSparsity(Sparse):
    """How sparse, and how long.

    Attributes:
        strength: of the penalty.
        alpha: how much harder the weakest set of a group is pulled: 2^alpha.
        lasso: whether norms are penalised, and not their squares.
    """

    strength: Above = 5e-4
    alpha: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 4.0
    lasso: bool = False


@method(
    needs=Need.TRAINED | Need.LIMITS,
    settings=GroupSparsity,
    source="Fang et al. 2023, DepGraph, 3.4; pruned at once, not in 400 steps",
)
def group_sparsity(job: Job, how: GroupSparsity) -> Outcome:
    """Train with the hook of that name and no other decay; then group norms rank all channels."""
    import spa

    given = {"strength": how.strength, "alpha": how.alpha, "lasso": how.lasso}
    trained = sparse(job, how, HookSpec("group_sparsity", given), weight_decay=0.0)
    made = spa.prune(
        spa.load(trained, job.given or None),
        criterion="group_norm",
        normalize="max",  # as in the authors' recipe
        target=job.target,
        limits=job.limits,
    )
    return Outcome(made.model, made.plan, made.proof, reconstructed=trained)
