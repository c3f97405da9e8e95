"""One plain training loop, for fresh networks and for what the bridge makes of an ONNX file.

The order of the samples and the augmentation come from the seed and the stream's name, so that
two runs with the same seed see the same batches, whatever the network.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from experiments.data import Split
from experiments.data.base import batches
from experiments.seeds import generator, seed_torch
from experiments.settings import Budget
from spa.errors import SettingError

if TYPE_CHECKING:
    from experiments.progress import Progress

Report = Callable[[dict[str, Any]], None]


def prepare(name: str, threads: int | None) -> torch.device:
    """Return the device to train on (``auto``: a GPU where there is one) and set the threads."""
    if threads is not None:
        torch.set_num_threads(threads)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise SettingError("device=cuda, but torch sees no GPU; use device=cpu or device=auto")
    return torch.device(name)


def fit(
    net: nn.Module,
    split: Split,
    budget: Budget,
    *,
    seed: int,
    stream: str,
    device: torch.device,
    report: Report,
    progress: Progress,
) -> nn.Module:
    """Train a network in place.

    Args:
        net: gives logits (N, classes) for pictures (N, C, H, W).
        split: what it is trained on.
        budget: how long, and how.
        seed: the run's seed.
        stream: name of this use of it, ``dense`` or ``finetune``.
        device: where it is trained; it comes back on the CPU, in eval mode.
        report: takes one dict an epoch: epoch, loss, accuracy (of the augmented training
            batches, in train mode), lr, seconds.
        progress: where the user sees it.
    """
    seed_torch(seed, stream)  # dropout
    rng = generator(seed, f"{stream} order")
    net.to(device)
    optimizer = _optimizer(net, budget)
    steps = max(1, math.ceil(len(split) / budget.batch))
    for epoch in range(budget.epochs):
        started, loss_sum, correct, seen = time.monotonic(), 0.0, 0, 0
        net.train()
        for step, (x, y) in enumerate(batches(split, budget.batch, rng)):
            lr = learning_rate(budget, epoch + step / steps)
            for group in optimizer.param_groups:
                group["lr"] = lr
            inputs = torch.from_numpy(x).to(device, non_blocking=True)
            labels = torch.from_numpy(y).to(device, non_blocking=True)
            logits = first(net(inputs))
            loss = nn.functional.cross_entropy(
                logits, labels, label_smoothing=budget.label_smoothing
            )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if budget.clip is not None:
                nn.utils.clip_grad_norm_(net.parameters(), budget.clip)
            optimizer.step()
            loss_sum += float(loss.detach()) * len(y)
            correct += int((logits.detach().argmax(1) == labels).sum())
            seen += len(y)
            progress.step(f"{stream}: epoch {epoch + 1}/{budget.epochs}, step {step + 1}/{steps}")
        row: dict[str, Any] = {
            "stage": stream,
            "epoch": epoch + 1,
            "loss": loss_sum / seen,
            "accuracy": correct / seen,
            "lr": lr,
            "seconds": time.monotonic() - started,
        }
        if not math.isfinite(row["loss"]):
            raise SettingError(
                f"the loss is {row['loss']} after epoch {epoch + 1} of {stream}; "
                f"a smaller learning rate than {budget.lr} may help"
            )
        report(row)
        progress.step(
            f"{stream}: epoch {epoch + 1}/{budget.epochs}, "
            f"loss {row['loss']:.3f}, training accuracy {row['accuracy']:.1%}"
        )
    return net.to("cpu").eval()


def first(output: Any) -> torch.Tensor:
    """Return the logits of a network that gives several things."""
    logits: torch.Tensor = output[0] if isinstance(output, (tuple, list)) else output
    return logits


def learning_rate(budget: Budget, epoch: float) -> float:
    """Return the learning rate at a point in time, measured in epochs from 0."""
    if epoch < budget.warmup:
        return budget.lr * (epoch + 0.1) / (budget.warmup + 0.1)
    if budget.schedule == "cosine":
        done = (epoch - budget.warmup) / max(budget.epochs - budget.warmup, 1e-9)
        return budget.lr * 0.5 * (1 + math.cos(math.pi * done))
    if budget.schedule == "multistep":
        return budget.lr * budget.gamma ** sum(epoch >= at for at in budget.milestones)
    return budget.lr


def _optimizer(net: nn.Module, budget: Budget) -> torch.optim.Optimizer:
    weights = [weight for weight in net.parameters() if weight.requires_grad]
    if budget.optimizer == "adamw":
        return torch.optim.AdamW(weights, lr=budget.lr, weight_decay=budget.weight_decay)
    return torch.optim.SGD(
        weights, lr=budget.lr, momentum=budget.momentum, weight_decay=budget.weight_decay
    )
