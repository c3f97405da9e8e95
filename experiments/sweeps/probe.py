"""A few steps of what a run will do, timed, where no earlier run says how long that takes.

A fresh network of the run's takes some steps of training and answers some samples; the run's
method prunes it, once. What a method trains is not run but counted: its epochs, by those steps.
All is done in a folder that is removed.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.config.settings import Settings
from experiments.data import Dataset, load
from experiments.ground.progress import Progress
from experiments.sweeps.past import Parts
from experiments.training.interrupts import Interrupts
from spa.errors import SpaError

if TYPE_CHECKING:
    from torch import nn

# Steps that are not timed, and those that are; the latter end after so many seconds.
WARM, STEPS, SECONDS = 2, 8, 6.0
# Seconds in which prunings are timed, of one sweep.
PATIENCE = 30.0
# Samples that are answered to see how long that takes.
ANSWERED = 512


class Quiet(Progress):
    """Says nothing."""

    def _write(self, text: str, stays: bool) -> None:
        pass


class Probes:
    """What was timed so far, each part once for all runs that are alike in what it depends on.

    Pruning is timed for `PATIENCE` seconds in all; of what is left, the mean of the others holds.

    Attributes:
        any: whether anything was timed.
    """

    def __init__(self) -> None:
        self.any = False
        self._networks: dict[Any, Parts] = {}
        self._tuned: dict[Any, float] = {}
        self._pruned: dict[Any, tuple[float, int]] = {}
        self._spent = 0.0

    def parts(self, settings: Settings) -> Parts:
        """Time the parts of a run.

        Raises:
            SpaError: the run itself would end so: its data are missing, or its model takes others.
        """
        from experiments.training.loop import prepare

        self.any = True
        what = settings.semantic()
        data = load(settings.dataset, settings.place.data_root, settings.place.workers)
        device = prepare(settings.place.device, settings.place.threads)
        network = (settings.model_is, str(what["dataset"]), settings.train.batch,
                   str(settings.latency), settings.time)  # fmt: skip
        method = (*network[:2], settings.method, settings.criterion, settings.how)
        then = settings.when.then
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if network not in self._networks:
                self._networks[network] = of_network(settings, data, folder, device)
            found = self._networks[network]
            tuning = (*network[:2], str(settings.asked), then and settings.budget(then).batch)
            known = tuning in self._tuned or then is None
            if method not in self._pruned and not (self._spent > PATIENCE and known):
                began = time.perf_counter()
                took, trained, smaller = prunes(settings, data, folder)
                self._pruned[method] = took, trained
                self._spent += time.perf_counter() - began
                if not known and smaller is not None:
                    self._tuned[tuning] = tuned_steps(smaller, data, settings, device)
        pruning, trained = self._pruned.get(method) or (self._mean(), trained_by(settings.how))
        tuned = self._tuned.get(tuning, found.dense or 0.0)
        pruning += trained * (found.dense or 0.0)
        rounds = settings.pace
        if rounds.steps > 1:
            between = rounds.epochs * (rounds.steps - 1)
            pruning = rounds.steps * pruning + between * tuned
        return replace(found, prune=pruning, tuned=tuned if then is not None else None)

    def _mean(self) -> float:
        found = [took for took, _ in self._pruned.values()]
        return sum(found) / len(found)


def of_network(settings: Settings, data: Dataset, folder: Path, device: Any) -> Parts:
    """What does not depend on the method: an epoch of the fresh network, and how it is measured."""
    net, dense = opened(settings, data, folder)
    params = sum(weight.numel() for weight in net.parameters())
    # Imports and exports are left out: a sweep has them once.
    epoch = steps(net, data, settings, device, "train")
    return Parts(epoch, None, None, answers(dense, data, settings), params)


def opened(settings: Settings, data: Dataset, folder: Path) -> tuple[nn.Module, Path]:
    """The run's fresh network, as a module and as a file."""
    from experiments.models.network import fresh

    net, proto = fresh(settings.model, data, settings.seed)
    path = folder / "dense.onnx"
    path.write_bytes(proto.SerializeToString())
    return net, path


def tuned_steps(smaller: Path, data: Dataset, settings: Settings, device: Any) -> float:
    """Seconds of an epoch of the pruned network, as the bridge trains it."""
    import onnx

    from spa.bridge import to_torch

    part = settings.when.then
    assert part is not None
    return steps(to_torch(onnx.load(smaller)), data, settings, device, part)


def steps(net: nn.Module, data: Dataset, settings: Settings, device: Any, part: Any) -> float:
    """Seconds of an epoch, by a few steps of it."""
    import torch

    from experiments.tasks import task_of
    from experiments.training.loop import feed

    task, budget = task_of(data), settings.budget(part)
    fed = feed(data.train, budget, settings.seed, "probe")
    net = net.to(device).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-6)
    began, timed = 0.0, 0
    for i, (x, y) in enumerate(fed.epoch(0)):
        if i == min(WARM, fed.steps - 1):
            began = time.perf_counter()
        elif timed and (timed >= STEPS or time.perf_counter() - began > SECONDS):
            break
        inputs = x.values() if isinstance(x, dict) else [x]
        outputs = net(*(torch.from_numpy(each).to(device) for each in inputs))
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        optimizer.zero_grad()
        task.loss(outputs, torch.from_numpy(y).to(device)).backward()
        optimizer.step()
        timed += bool(began)
    net.to("cpu").eval()
    return (time.perf_counter() - began) / max(timed, 1) * fed.steps


def answers(file: Path, data: Dataset, settings: Settings) -> float:
    """Seconds in which a run measures: its networks on the held-out parts, and their latency."""
    import numpy as np

    from experiments.runs.evaluate import latency_ms, predictor

    held = data.held(settings.split)
    predict = predictor(file)
    count = min(ANSWERED, len(held))
    x, _ = held.take(np.arange(count))
    predict({name: value[:1] for name, value in x.items()} if isinstance(x, dict) else x[:1])
    each = _seconds(lambda: predict(x)) / count
    samples = len(held)
    if settings.split == "test" and data.validation is not None:
        samples += len(data.held("validation"))
    networks = 1 + (settings.when.then is not None)  # the dense one is measured once for all
    latency = {**settings.latency, "warmup": 1, "repeats": 3}
    timing = _seconds(lambda: latency_ms(file, file, held, **latency)) / 4
    rounds = settings.latency["warmup"] + settings.latency["repeats"]
    return each * samples * networks + timing * rounds


def prunes(settings: Settings, data: Dataset, folder: Path) -> tuple[float, int, Path | None]:
    """Seconds of a pruning without its trainings, the epochs of these, and the smaller file.

    Where the method trains, or does not reach the target on fresh weights, its pruning is taken
    for one by l1.
    """
    import spa
    from experiments.runs.execute import trainer_of
    from experiments.runs.folder import RunFolder
    from experiments.runs.job import Source
    from experiments.runs.prune import prune

    dense, smaller = folder / "dense.onnx", folder / "pruned.onnx"
    if not dense.is_file():
        opened(settings, data, folder)
    epochs = trained_by(settings.how)
    if not epochs:
        away = replace(settings, place=replace(settings.place, results_dir=folder))
        room = RunFolder(away)
        room.path.mkdir(parents=True)
        trainer = trainer_of(away, Quiet(""), Interrupts())
        try:
            took = _seconds(lambda: prune(dense, Source(away, data, room, trainer)))
            return took, 0, room.path / "pruned.onnx"
        except SpaError:
            pass  # fresh weights may refuse what trained ones do not
    began = time.perf_counter()
    try:
        made = spa.prune(dense, target=spa.Target(**settings.asked), best_effort=True)
        smaller.write_bytes(made.model.SerializeToString())
    except SpaError:
        return time.perf_counter() - began, epochs, None
    return time.perf_counter() - began, epochs, smaller


def trained_by(how: Any) -> int:
    """Epochs that a method trains, by its own settings."""
    learns = getattr(how, "learns", None)
    return int(getattr(how, "epochs", 0) if learns is None else learns)


def _seconds(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
