"""Score, plan, cut: `spa.prune` with any criterion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

import spa as library
from experiments.methods import Job, Need, Outcome, method, plain
from spa.errors import SettingError


@dataclass(frozen=True)
class Spa:
    """How the library prunes.

    Attributes:
        steps: rounds, scored anew in each.
        attention: what attention loses.
    """

    steps: Annotated[int, Field(ge=1)] = 1
    attention: Literal["heads", "head_dim", "none"] = "heads"


@method(
    needs=Need.LIMITS | Need.CRITERION,
    settings=Spa,
    source="SPA, arXiv 2403.18955",
    targets=None,
)
def spa(job: Job, how: Spa) -> Outcome:
    """Prune by a criterion."""
    scoring = job.scoring
    if scoring is None:
        raise SettingError("the method spa needs a criterion, and none is given")
    seen = job.seen()
    pruned = library.prune(
        library.load(job.dense, job.given or None),
        criterion=scoring.criterion,
        options=plain(scoring.options),
        target=job.target,
        machine=job.machine,
        limits=job.limits,
        aggregate=scoring.aggregate,
        normalize=scoring.normalize,
        attention=how.attention,
        steps=how.steps,
        data=seen,
        loss=None if seen is None else job.loss(),
        seed=job.seed,
    )
    return Outcome(
        pruned.model,
        pruned.plan,
        pruned.proof,
        seconds=pruned.seconds,
        details=dict(pruned.details or {}),
        notes=tuple(pruned.plan.notes),
    )
