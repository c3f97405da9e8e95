"""Uniform widths: every layer scaled alike, whatever it holds; the first channels stay.

What any choice of channels must beat, and trained from fresh weights the control of a pruned shape.
"""

from __future__ import annotations

import numpy as np

from experiments.methods import Job, NoSettings, Outcome, method
from spa.importance.values import Channels
from spa.importance.view import View


@method(source="own; a control", targets=None)
def uniform(job: Job, how: NoSettings) -> Outcome:
    """Scale every layer."""
    import spa

    made = spa.prune(
        spa.load(job.dense, job.given or None),
        criterion=first,
        target=job.target,
        machine=job.machine,
        limits=spa.Limits(scope="local"),
        seed=job.seed,
    )
    return Outcome(made.model, made.plan, made.proof)


def first(view: View) -> Channels:
    """Scores channels by their place."""
    return Channels(-np.arange(view.groups.coupling.components.kept.size, dtype=np.float64))
