"""The loop that trains torch modules: fresh ones, and what the bridge makes of an ONNX file."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from spa.errors import SettingError
from spa.frameworks.base import Report, Training
from spa.frameworks.feed import Feed


def fit(
    net: nn.Module,
    feed: Feed,
    training: Training,
    *,
    device: torch.device | None = None,
    report: Report,
    on_step: Callable[[int, int], None] = lambda epoch, step: None,
) -> nn.Module:
    """Trains a classifier in place.

    Args:
        net: gives logits (N, classes), or several things of which they are the first.
        feed: what it is trained on.
        training: how.
        device: where; the CPU where left out.
        report: takes one dict an epoch: epoch, loss, accuracy (of the training batches, in train
            mode), lr, seconds.
        on_step: called with the epoch's and the batch's number, both from 0, after each step.

    Returns:
        The same module, on the CPU and in eval mode.

    Raises:
        SettingError: the loss is no longer finite.
    """
    net.to(device)
    optimizer = _optimizer(net, training)
    for epoch in range(feed.epochs):
        started, loss_sum, correct, seen, rate = time.monotonic(), 0.0, 0, 0, 0.0
        net.train()
        for step, (x, y) in enumerate(feed.epoch(epoch)):
            rate = feed.rate(epoch, step)
            for group in optimizer.param_groups:
                group["lr"] = rate
            inputs = torch.from_numpy(x).to(device, non_blocking=True)
            labels = torch.from_numpy(y).to(device, non_blocking=True)
            logits = first(net(inputs))
            loss = nn.functional.cross_entropy(
                logits, labels, label_smoothing=training.label_smoothing
            )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            if training.clip is not None:
                nn.utils.clip_grad_norm_(net.parameters(), training.clip)
            optimizer.step()
            loss_sum += float(loss.detach()) * len(y)
            correct += int((logits.detach().argmax(1) == labels).sum())
            seen += len(y)
            on_step(epoch, step)
        row: dict[str, Any] = {
            "epoch": epoch + 1,
            "loss": loss_sum / seen,
            "accuracy": correct / seen,
            "lr": rate,
            "seconds": time.monotonic() - started,
        }
        if not math.isfinite(row["loss"]):
            raise SettingError(
                f"The loss is {row['loss']} after epoch {epoch + 1}; a smaller learning rate than "
                f"{rate:g} may help."
            )
        report(row)
    return net.to("cpu").eval()


def first(output: Any) -> torch.Tensor:
    """The logits of a network that gives several things."""
    logits: torch.Tensor = output[0] if isinstance(output, (tuple, list)) else output
    return logits


def _optimizer(net: nn.Module, training: Training) -> torch.optim.Optimizer:
    weights = [weight for weight in net.parameters() if weight.requires_grad]
    # The feed sets the learning rate of every step.
    if training.optimizer == "adamw":
        return torch.optim.AdamW(weights, weight_decay=training.weight_decay)
    return torch.optim.SGD(
        weights, lr=1.0, momentum=training.momentum, weight_decay=training.weight_decay
    )
