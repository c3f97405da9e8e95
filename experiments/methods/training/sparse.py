"""A dense network trained to become sparse, as methods do before they prune it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from experiments.methods.protocol import Job
from experiments.training.budget import Budget
from spa.training.hooks import HookSpec

if TYPE_CHECKING:
    import onnx

Above = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Sparse:
    """How long networks are trained to become sparse.

    Attributes:
        epochs: of sparse training.
        lr: its first learning rate.
        batch: samples in a step.
    """

    epochs: Annotated[int, Field(ge=1)] = 10
    lr: Above = 0.01
    batch: Annotated[int, Field(ge=1)] = 64


def sparse(job: Job, how: Sparse, hook: HookSpec, **budget: Any) -> onnx.ModelProto:
    """Return the dense file as it is after a training with a hook, whose name the stream has.

    Args:
        job: the method's.
        how: how long.
        hook: what makes it sparse.
        **budget: what else `Budget` takes.
    """
    import onnx

    from spa.bridge import to_onnx, to_torch

    model = onnx.load(job.dense)
    net = to_torch(model)
    wanted = Budget(epochs=how.epochs, batch=how.batch, lr=how.lr, **budget)
    job.train(net, model, wanted, stream=hook.name, hooks=(hook,))
    return to_onnx(net, model)
