"""Network slimming: train with a penalty on the scales of batch norms, prune the smallest."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.methods import Job, Need, Outcome, method
from experiments.methods.training.sparse import Above, Sparse, sparse
from spa.training.hooks import HookSpec


@dataclass(frozen=True)
class Slimming(Sparse):
    """How sparse, and how long.

    Attributes:
        strength: of the penalty.
    """

    strength: Above = 1e-4


@method(
    needs=Need.TRAINED | Need.LIMITS, settings=Slimming, source="Liu et al. 2017, Network Slimming"
)
def slimming(job: Job, how: Slimming) -> Outcome:
    """Train with the hook of that name; then the scales rank all channels."""
    import spa

    hook = HookSpec("slimming", {"strength": how.strength})
    trained = sparse(job, how, hook, weight_decay=1e-4)
    made = spa.prune(
        spa.load(trained, job.given or None),
        criterion="bn_scale",
        normalize="none",  # scales of all layers are held to one threshold
        target=job.target,
        limits=job.limits,
    )
    return Outcome(made.model, made.plan, made.proof, reconstructed=trained)
