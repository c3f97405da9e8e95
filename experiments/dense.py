"""Dense baselines: trained once for (model, data set, framework, budget, seed), shared by all.

    results/dense/<hash>/
        key.json      what the hash is made of
        init.onnx     before training       dense.onnx    after training
        metrics.jsonl one line an epoch     done.json     seconds, epochs; written last
        lock          held while it is trained; a process that dies lets go of it

A network of another framework than PyTorch lies there in its framework's own format too.
A second run that needs the same baseline waits for the first one. A baseline without done.json
is trained again from the start.
"""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments import files, paths
from experiments.models import MODELS, builder
from experiments.seeds import seed_torch, whole
from experiments.settings import Settings, dense_key
from spa.errors import OutputError
from spa.graph.deferred import held

if TYPE_CHECKING:
    import onnx
    from torch import nn

    from experiments.data import Dataset
    from experiments.progress import Progress

    Rows = list[dict[str, Any]]
    # Before training, after it, and a row an epoch.
    Made = tuple[onnx.ModelProto, onnx.ModelProto, Rows]


@dataclass(frozen=True)
class Baseline:
    """A dense network: the file before training, the file after, and how the training went."""

    init: Path
    dense: Path
    training: dict[str, Any]
    metrics: list[dict[str, Any]]


def baseline(settings: Settings, data: Dataset, progress: Progress) -> Baseline:
    """Return the shared baseline, trained now when nobody has yet.

    Raises:
        OutputError: the results folder cannot be written.
    """
    folder = paths.dense(settings.results, dense_key(settings))
    with _locked(folder, progress):
        if not (folder / "done.json").is_file():
            _make(folder, settings, data, progress)
    training = json.loads((folder / "done.json").read_text())
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return Baseline(folder / "init.onnx", folder / "dense.onnx", training, metrics)


def _make(folder: Path, settings: Settings, data: Dataset, progress: Progress) -> None:
    started = time.monotonic()
    if settings.framework == "pytorch":
        init, dense, lines = _in_torch(settings, data, progress)
    else:
        init, dense, lines = _elsewhere(folder, settings, data, progress)
    files.write_bytes(folder / "init.onnx", held(init).SerializeToString())
    files.write_bytes(folder / "dense.onnx", held(dense).SerializeToString())
    files.write_text(folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    files.write_json(folder / "key.json", settings.semantic() | {"seed": settings.seed})
    seconds = time.monotonic() - started
    files.write_json(
        folder / "done.json",
        {"epochs": len(lines), "seconds": seconds, "model": settings.model, "seed": settings.seed},
    )
    progress.say(f"dense baseline trained in {seconds:.1f} s")


def _in_torch(settings: Settings, data: Dataset, progress: Progress) -> Made:
    from experiments.train import fit, prepare

    net, init = fresh(settings, data)
    if settings.comes_trained:
        return init, init, []
    lines: Rows = []
    fit(
        net,
        data.train,
        settings.train,
        seed=settings.seed,
        stream="dense",
        device=prepare(settings.device, settings.threads),
        report=lines.append,
        progress=progress,
    )
    return init, export(net, init, data), lines


def _elsewhere(folder: Path, settings: Settings, data: Dataset, progress: Progress) -> Made:
    """Has a framework build, train and export its own network; its files stay beside ours."""
    from experiments.train import feed, listener, training
    from spa.frameworks import Source, framework

    it = framework(settings.framework)
    fresh, trained = (folder / f"{stem}{it.suffix}" for stem in ("init", "dense"))
    source = Source(builder(it.name, settings.model), {"classes": data.classes})
    it.build(source, fresh, data.shape, whole(settings.seed, "initial weights"))
    init = it.export(fresh, [data.shape], channels_first=True)
    lines: Rows = []
    it.train(
        fresh,
        trained,
        feed(data.train, settings.train, settings.seed, "dense"),
        training(settings.train),
        listener("dense", settings.train, lines.append, progress),
    )
    return init, it.export(trained, [data.shape], channels_first=True), lines


def fresh(settings: Settings, data: Dataset) -> tuple[nn.Module, onnx.ModelProto]:
    """Make the untrained network, as a module to train and as the ONNX file that it is."""
    import onnx

    from spa.bridge import from_torch, to_torch

    seed_torch(settings.seed, "initial weights")
    made = MODELS.get(settings.model)(data.shape, data.classes)
    if isinstance(made, onnx.ModelProto):
        return to_torch(made), made
    return made, from_torch(made.eval(), _example(data))


def export(net: nn.Module, init: onnx.ModelProto, data: Dataset) -> onnx.ModelProto:
    """Write a trained module as ONNX, the way that it came."""
    from spa.bridge import OnnxModule, from_torch, to_onnx

    if isinstance(net, OnnxModule):
        return to_onnx(net, init)
    return from_torch(net.eval(), _example(data))


def _example(data: Dataset) -> Any:
    import torch

    return torch.from_numpy(data.test.take(np.arange(2))[0])


@contextmanager
def _locked(folder: Path, progress: Progress) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise OutputError(f"cannot write in {folder}: {error.strerror or error}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.say(f"waiting for another run that trains the same dense baseline ({folder})")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
