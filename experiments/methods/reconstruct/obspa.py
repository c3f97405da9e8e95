"""OBSPA: layer-wise reconstruction, with or without data, without fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from experiments.methods import Job, Need, Outcome, method, plain
from spa.errors import SettingError


@dataclass(frozen=True)
class Obspa:
    """OBSPA's own settings; None is the library's default, which was measured.

    Attributes:
        selection: what ranks the channels: ``obs``, or a criterion that needs no data.
        target_outputs: what refitted layers should give.
        batch_statistics: whether batch norms use the calibration inputs' statistics meanwhile.
        damping: share of the Hessian's mean diagonal that is added to it.
        columns: positions that go into one layer's Hessian, at most.
    """

    selection: str | None = None
    target_outputs: Literal["dense", "own"] | None = None
    batch_statistics: bool | None = None
    damping: float | None = None
    columns: int | None = None


@method(
    needs=Need.TRAINED | Need.LIMITS | Need.CALIBRATION,
    settings=Obspa,
    source="SPA, arXiv 2403.18955, section 3.3",
)
def obspa(job: Job, how: Obspa) -> Outcome:
    """Choose channels, refit what stays, cut."""
    import spa.obspa

    seen = job.calibration
    if seen is None:
        raise SettingError("the method obspa needs a calibration, and none is given")
    pruned = spa.obspa.prune(
        spa.load(job.dense, job.given or None),
        target=job.target,
        calibration=job.inputs(),
        bn_refresh=seen.bn_refresh,
        seed=job.seed,
        limits=job.limits,
        samples=seen.calibration_samples,
        device=job.device,
        **plain(how),
    )
    details = dict(pruned.details or {})
    return Outcome(
        pruned.model,
        pruned.plan,
        pruned.proof,
        pruned.reconstructed,
        pruned.seconds,
        details,
        tuple(pruned.plan.notes),
    )
