"""OBSPA: layer-wise reconstruction, with or without data, without fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from experiments.methods import Job, Need, Outcome, method, plain
from spa.errors import SettingError


@dataclass(frozen=True)
class Obspa:
    """OBSPA's own settings; None is the library's default, which was measured.

    Attributes:
        selection: what ranks the channels: ``obs``, or any other criterion; one that looks at data
            sees the calibration inputs.
        normalize: how its scores are made comparable between groups.
        shares: a criterion that says how much every group loses; None: the selection.
        shares_normalize: how those scores are made comparable.
        target_outputs: what refitted layers should give.
        refit: whether anything is refitted; without, a criterion by itself, or with batch norms.
        intercept: whether biases take what a refit leaves of the mean.
        damping: the ridge: share of the Hessian's mean diagonal, or how it is chosen.
        token_weights: whether positions count less where the residual stream is larger.
        batch_norms: what becomes of their statistics; None: what ``bn_refresh`` says.
        batch_statistics: whether batch norms use the calibration inputs' statistics meanwhile.
        rounds: times that channels are scored anew.
        greedy: whether channels are chosen again by exact losses.
        swaps: rounds of a local search after the selection.
        columns: positions that go into one layer's Hessian, at most.
        memory: GiB for activations.
    """

    selection: str | None = None
    normalize: str | None = None
    shares: str | None = None
    shares_normalize: str | None = None
    target_outputs: Literal["dense", "own", "stream"] | None = None
    refit: bool | None = None
    intercept: bool | None = None
    damping: float | Literal["oas", "held-out"] | None = None
    token_weights: bool | None = None
    batch_norms: Literal["keep", "refresh", "relative", "analytic"] | None = None
    batch_statistics: bool | None = None
    rounds: Annotated[int, Field(ge=1)] | None = None
    greedy: bool | None = None
    swaps: Annotated[int, Field(ge=0)] | None = None
    columns: int | None = None
    memory: float | None = None


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
    asked: dict[str, Any] = plain(how)
    if how.batch_norms is None:
        asked["bn_refresh"] = seen.bn_refresh
    pruned = spa.obspa.prune(
        spa.load(job.dense, job.given or None),
        target=job.target,
        calibration=job.inputs(),
        seed=job.seed,
        limits=job.limits,
        samples=seen.calibration_samples,
        device=job.device,
        **asked,
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
