"""One plain training loop, for fresh networks and for what the bridge makes of an ONNX file.

The order of the samples and the augmentation come from the seed and the stream's name, so that
two runs with the same seed see the same batches, whatever the network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

import spa
from experiments.data import Dataset, Split
from experiments.data.base import Inputs, batches
from experiments.ground.seeds import generator, seed_torch
from experiments.tasks import Task, task_of
from experiments.training.budget import Budget
from spa.errors import SettingError
from spa.training.feed import Feed
from spa.training.how import Training
from spa.training.objective import Objective

if TYPE_CHECKING:
    import onnx

    from experiments.ground.progress import Progress
    from spa.training.hooks import HookSpec
    from spa.training.loop import Keeper
    from spa.training.teacher import Teacher
    from spa.training.team import Team

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
    data: Dataset,
    budget: Budget,
    *,
    seed: int,
    stream: str,
    device: torch.device,
    report: Report = lambda row: None,
    progress: Progress | None = None,
    keeper: Keeper | None = None,
    team: Team | None = None,
    model: onnx.ModelProto | None = None,
    hooks: Sequence[HookSpec] = (),
    teacher: onnx.ModelProto | None = None,
) -> nn.Module:
    """Train a network in place.

    Args:
        net: takes the data set's inputs, and gives what its task's loss takes.
        data: on whose training split, and for whose task, it is trained.
        budget: how long, and how.
        seed: the run's seed.
        stream: name of this use of it, ``dense`` or ``finetune``.
        device: where it is trained; it comes back on the CPU, in eval mode.
        report: takes one dict an epoch: epoch, loss, accuracy (of the augmented training
            batches, in train mode; of tasks that have right answers), lr, seconds.
        progress: where the user sees it.
        keeper: keeps the training's state.
        team: the processes that train together.
        model: the file that the network was made of, whose coupled sets hooks see; None for a
            fresh network.
        hooks: what happens besides (`spa.training.hooks`).
        teacher: the dense file, of a budget that distills.

    Raises:
        SettingError: see `spa.training.loop.fit`; or there is no dense network to learn from.
    """
    from spa.training.hooks import averaging
    from spa.training.loop import fit as fit_feed

    groups = spa.find_groups(spa.load(model)) if hooks and model is not None else None
    seed_torch(seed, stream)  # dropout
    fed = feed(data.train, budget, seed, stream)

    def on_step(epoch: int, step: int) -> None:
        if progress is not None:
            where = f"epoch {epoch + 1}/{budget.epochs}, step {step + 1}/{fed.steps}"
            progress.step(f"{stream}: {where}")

    return fit_feed(
        net,
        fed,
        training(budget),
        device=device,
        report=listener(stream, budget, report, progress),
        on_step=on_step,
        keeper=keeper,
        team=team,
        hooks=[*hooks, *averaging(budget.ema)],
        groups=groups,
        objective=objective(task_of(data), budget),
        teacher=None if not budget.distill else taught(budget, teacher),
    )


def objective(task: Task, budget: Budget) -> Objective:
    """What a task is trained for."""
    loss = partial(task.loss, smoothing=budget.label_smoothing)
    return Objective(loss, task.guess, task.scores)


def taught(budget: Budget, dense: onnx.ModelProto | None) -> Teacher:
    """Return whom a network learns from.

    Raises:
        SettingError: there is no dense network.
    """
    from spa.bridge import to_torch
    from spa.training.teacher import Teacher

    if dense is None:
        raise SettingError("this training has no dense network to learn from; leave distill out")
    return Teacher(to_torch(dense), budget.distill, budget.distill_temperature)


def listener(stream: str, budget: Budget, report: Report, progress: Progress | None) -> Report:
    """What takes a row an epoch from any framework, records it and shows it."""

    def listen(row: dict[str, Any]) -> None:
        report({"stage": stream, **row})
        if progress is not None:
            right = f", training accuracy {row['accuracy']:.1%}" if "accuracy" in row else ""
            progress.step(
                f"{stream}: epoch {row['epoch']}/{budget.epochs}, loss {row['loss']:.3f}{right}"
            )

    return listen


def feed(split: Split, budget: Budget, seed: int, stream: str) -> Feed:
    """What any framework trains on: the same batches in the same order, with the same rates."""
    steps = max(1, math.ceil(len(split) / budget.batch))
    if steps > 1 and len(split) % budget.batch == 1:
        steps -= 1  # as `batches` joins a last single sample to the batch before it

    schedule = budget.rates()

    def rest(epoch: int, step: int) -> Iterator[tuple[Inputs, np.ndarray]]:
        return batches(split, budget.batch, generator(seed, f"{stream} epoch {epoch}"), step)

    return Feed(
        epoch=lambda epoch: rest(epoch, 0),
        rate=lambda epoch, step: schedule.rate(epoch + step / steps),
        epochs=budget.epochs,
        steps=steps,
        batch=budget.batch,
        rest=rest,
    )


def training(budget: Budget) -> Training:
    """How any framework trains."""
    return Training(
        optimizer=budget.optimizer,
        momentum=budget.momentum,
        weight_decay=budget.weight_decay,
        label_smoothing=budget.label_smoothing,
        clip=budget.clip,
    )
