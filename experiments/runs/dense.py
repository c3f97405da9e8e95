"""Dense baselines: trained once for (model, data set, framework, budget, seed), shared by all.

    results/dense/<hash>/
        key.json      what the hash is made of
        init.onnx     before training       dense.onnx    after training
        metrics.jsonl one line an epoch     done.json     seconds, epochs, the hashes of those
                                                          three; written last
        lease.json    held while it is trained
        checkpoint.pt a training that was interrupted goes on from here (PyTorch's only)

A network of another framework than PyTorch lies there in its framework's own format too.
A second run that needs the same baseline waits for the first one.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.config.settings import Settings, dense_key
from experiments.ground import files, paths, provenance
from experiments.ground.seeds import whole
from experiments.models import builder
from experiments.models.network import check, export, fresh
from experiments.results import faults
from experiments.runs import lease
from experiments.runs.lease import Lease
from experiments.tasks import task_of
from experiments.tasks.classification import Classification
from experiments.training.trainer import Trainer, forget
from spa.errors import InputError
from spa.graph.deferred import held

if TYPE_CHECKING:
    import onnx

    from experiments.data import Dataset
    from experiments.ground.progress import Progress

    Rows = list[dict[str, Any]]
    # Before training, after it, and a row an epoch.
    Made = tuple[onnx.ModelProto, onnx.ModelProto, Rows]

_HASHED = ("init.onnx", "dense.onnx", "metrics.jsonl")


@dataclass(frozen=True)
class Baseline:
    """A dense network: the file before training, the file after, and how the training went."""

    init: Path
    dense: Path
    training: dict[str, Any]
    metrics: list[dict[str, Any]]


def baseline(settings: Settings, data: Dataset, trainer: Trainer) -> Baseline:
    """Return the shared baseline, trained now when nobody has yet.

    Raises:
        OutputError: the results folder cannot be written.
        Lost: another process took the lease over.
    """
    folder = paths.dense(settings.place.results_dir, dense_key(settings))

    def wait(holder: str) -> None:
        trainer.progress.say(f"waiting for {holder}, which trains the same dense baseline")

    if _found(folder) is None:
        with lease.hold(folder, wait=wait) as mine:
            if _found(folder) is None:
                _make(mine, settings, data, trainer)
    found = _found(folder)
    if found is None:
        raise InputError(f"{folder} was changed while it was read; launch again to make it anew")
    return found


def _found(folder: Path) -> Baseline | None:
    """A baseline that is there and whole; a machine that lost its power may leave empty files."""
    try:
        training = files.read_json(folder / "done.json")
        hashes = training.pop("files", {})
        if faults.of_training(training) or any(
            files.sha256(folder / name) != sha256 for name, sha256 in hashes.items()
        ):
            return None
        lines = files.read_text(folder / "metrics.jsonl").splitlines()
        metrics = [dict(files.parse_json(line)) for line in lines]
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    return Baseline(folder / "init.onnx", folder / "dense.onnx", training, metrics)


def _make(mine: Lease, settings: Settings, data: Dataset, trainer: Trainer) -> None:
    started, folder = time.monotonic(), mine.folder
    if settings.framework == "pytorch":
        init, dense, lines = _in_torch(folder, settings, data, trainer)
    else:
        init, dense, lines = _elsewhere(folder, settings, data, trainer.progress)
    mine.check()
    files.write_bytes(folder / "init.onnx", held(init).SerializeToString())
    files.write_bytes(folder / "dense.onnx", held(dense).SerializeToString())
    files.write_text(folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    files.write_json(folder / "key.json", settings.semantic() | {"seed": settings.seed})
    # Those of before an interruption are in the rows.
    seconds = max(time.monotonic() - started, sum(line.get("seconds", 0.0) for line in lines))
    files.write_json(
        folder / "done.json",
        {
            **{"epochs": len(lines), "seconds": seconds, "processes": trainer.processes},
            **{"model": settings.model, "seed": settings.seed},
            "files": {name: files.sha256(folder / name) for name in _HASHED},
        },
    )
    forget(folder)
    trainer.progress.say(f"dense baseline trained in {seconds:.1f} s")


def _in_torch(folder: Path, settings: Settings, data: Dataset, trainer: Trainer) -> Made:
    net, init = fresh(settings.model, data, settings.seed)
    if settings.comes_trained:
        return init, init, []
    lines: Rows = []
    # As with a run, only the same code goes on with what was left.
    code = json.dumps(provenance.code(), sort_keys=True)
    of = f"{hashlib.sha256(init.SerializeToString()).hexdigest()} {code}"
    trainer.train(
        net, data, settings.train, stream="dense", folder=folder, of=of, report=lines.append
    )
    return init, export(net, init, data), lines


def _elsewhere(folder: Path, settings: Settings, data: Dataset, progress: Progress) -> Made:
    """Has a framework build, train and export its own network; its files stay beside ours.

    Raises:
        InputError: the task's loss is none that other frameworks than PyTorch are told to use.
    """
    from experiments.training.loop import feed, listener, training
    from spa.frameworks import Source, framework

    if not isinstance(task_of(data), Classification):
        raise InputError(
            f"framework={settings.framework} trains networks to tell labels, but {data.name} asks "
            f"for {data.task}; use framework=pytorch"
        )
    it = framework(settings.framework)
    fresh, trained = (folder / f"{stem}{it.suffix}" for stem in ("init", "dense"))
    source = Source(builder(it.name, settings.model), {"classes": data.classes})
    it.build(source, fresh, data.shape, whole(settings.seed, "initial weights"))
    init = it.export(fresh, [data.shape], channels_first=True)
    check(settings.model, init, data)
    lines: Rows = []
    it.train(
        fresh,
        trained,
        feed(data.train, settings.train, settings.seed, "dense"),
        training(settings.train),
        listener("dense", settings.train, lines.append, progress),
    )
    return init, it.export(trained, [data.shape], channels_first=True), lines
