"""Network slimming: train with a penalty on the scales of batch norms, prune the smallest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from experiments.methods import Job, Need, Outcome, method
from experiments.training.budget import Budget
from spa.training.hooks import HookSpec


@dataclass(frozen=True)
class Slimming:
    """How sparse, and how long.

    Attributes:
        strength: of the penalty.
        epochs: of sparse training.
        lr: its first learning rate.
        batch: samples in a step.
    """

    strength: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-4
    epochs: Annotated[int, Field(ge=1)] = 10
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.01
    batch: Annotated[int, Field(ge=1)] = 64


@method(
    needs=Need.TRAINED | Need.LIMITS, settings=Slimming, source="Liu et al. 2017, Network Slimming"
)
def slimming(job: Job, how: Slimming) -> Outcome:
    """Train with the hook of that name; then the scales rank all channels."""
    import onnx

    import spa
    from spa.bridge import to_onnx, to_torch

    model = onnx.load(job.dense)
    hooks = (HookSpec("slimming", {"strength": how.strength}),)
    budget = Budget(epochs=how.epochs, batch=how.batch, lr=how.lr, weight_decay=1e-4)
    net = to_torch(model)
    job.train(net, model, budget, stream="slimming", hooks=hooks)
    sparse = to_onnx(net, model)
    made = spa.prune(
        spa.load(sparse, job.given or None),
        criterion="bn_scale",
        normalize="none",  # scales of all layers are held to one threshold
        target=job.target,
        limits=job.limits,
    )
    return Outcome(made.model, made.plan, made.proof, reconstructed=sparse)
