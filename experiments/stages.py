"""One run, from top to bottom. Everything that it makes lies in its folder.

time                   plan made on     then
prune_train            init.onnx        trained with the dense network's own budget
train_prune_finetune   dense.onnx       fine-tuned
train_prune            dense.onnx       nothing
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import files, provenance
from experiments.data import Dataset, load
from experiments.dense import baseline
from experiments.evaluate import accuracy, latency_ms
from experiments.methods import METHODS
from experiments.schema import FLOPS, SCHEMA_VERSION, Result, Seconds, Width
from experiments.seeds import whole
from experiments.settings import Budget, Settings
from experiments.task import Task

if TYPE_CHECKING:
    import onnx

    from experiments.progress import Progress
    from experiments.records import RunFolder
    from spa.pruning.plan import Plan


def execute(settings: Settings, folder: RunFolder, progress: Progress) -> Result:
    """Do what the settings say and return what result.json holds."""
    from experiments.train import prepare

    watch = Watch()
    prepare(settings.device, settings.threads)
    data = load(settings.dataset, settings.data_root, settings.workers)
    with watch.stage("dense"):
        base = baseline(settings, data, progress)
    for row in base.metrics:
        folder.log(row)
    dense = _take(base.dense, folder.path / "dense.onnx")
    early = settings.time == "prune_train"
    source = _take(base.init, folder.path / "init.onnx") if early else dense

    with watch.stage("prune"):
        pruned = prune(source, data, settings, progress)
    folder.write_model("pruned.onnx", pruned.model)
    folder.write_json("plan.json", pruned.plan.to_json())
    plan_input = {"file": source.name, "sha256": _sha256(source)}
    if pruned.reconstructed is not None:
        folder.write_model("reconstructed.onnx", pruned.reconstructed)
        plan_input["weights"] = "reconstructed.onnx"

    training: dict[str, Any] = {"dense": base.training}
    if settings.time != "train_prune":
        budget = settings.train if early else settings.finetune
        with watch.stage("finetune"):
            tuned = tune(pruned.model, data, budget, settings, folder, progress)
        folder.write_model("finetuned.onnx", tuned)
        training["finetune"] = {"epochs": budget.epochs, "seconds": watch.seconds["finetune"]}

    with watch.stage("measure"):
        acc = measure(folder, data)
        latency = latency_ms(dense, folder.path / "pruned.onnx", data.shape, **settings.latency)
    details = dict(pruned.details or {})
    return {
        "schema_version": SCHEMA_VERSION,
        "checksum": "",  # written with the file
        "run_id": settings.run_id,
        "experiment": settings.experiment,
        "model": settings.model,
        "framework": settings.framework,
        "dataset": data.name,
        "method": settings.method,
        "criterion": settings.criterion,
        "time": settings.time,
        "trainer": settings.trainer,
        "seed": settings.seed,
        "asked": settings.asked,
        "scope": settings.scope,
        "aggregate": settings.aggregate,
        "normalize": settings.normalize,
        "calibration": settings.calibration,
        "bn_refresh": None if settings.calibration is None else settings.bn_refresh,
        "reached": {"rf": float(pruned.reached.rf), "rp": float(pruned.reached.rp)},
        "acc": acc,
        "params": {"dense": int(pruned.dense.params), "pruned": int(pruned.pruned.params)},
        "macs": {"dense": int(pruned.dense.macs), "pruned": int(pruned.pruned.macs)},
        "prune_seconds": float(pruned.seconds),
        "latency_ms": latency,
        "latency": settings.latency,
        "widths": widths(pruned.plan),
        "seconds": watch.all(),
        "config": settings.semantic(),
        "flops": FLOPS,
        "data_sha256": data.fingerprint(),
        "dense_sha256": _sha256(dense),
        "plan_input": plan_input,
        "proof": [str(check) for check in pruned.proof.checks],
        "scores": details.get("scores"),
        "details": details,
        "training": training | {"budget": settings.semantic()["trainer"]},
        "hardware": provenance.hardware(),
        "code": provenance.code(),
        "started": watch.started,
        "finished": now(),
    }


def now() -> str:
    """Return the time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Watch:
    """Wall clock by stage."""

    def __init__(self) -> None:
        self.started = now()
        self.seconds = dict.fromkeys(("dense", "prune", "finetune", "measure"), 0.0)
        self._began = time.monotonic()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the body."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] += time.monotonic() - began

    def all(self) -> Seconds:
        """Return the seconds of every stage, and those since the start."""
        return {"total": time.monotonic() - self._began, **self.seconds}  # type: ignore[typeddict-item]


def widths(plan: Plan) -> list[Width]:
    """Return how many channels every group of a plan had and has."""
    return [
        {
            "name": group.members[0][0],
            "dense": group.channels,
            "pruned": group.channels - len(group.removed),
        }
        for group in plan.groups
    ]


def prune(source: Path, data: Dataset, settings: Settings, progress: Progress) -> Any:
    """Prune a dense file by the run's method."""
    import spa

    progress.step(f"pruning by {settings.criterion or settings.method}")
    method = METHODS.get(settings.method)
    seed = whole(settings.seed, "method")
    target = spa.Target(**settings.asked)
    pruned = method(source, Task(data, settings), target, settings, seed)
    progress.step(f"reached RF {pruned.reached.rf:.2f}, RP {pruned.reached.rp:.2f}")
    return pruned


def tune(
    model: onnx.ModelProto,
    data: Dataset,
    budget: Budget,
    settings: Settings,
    folder: RunFolder,
    progress: Progress,
) -> onnx.ModelProto:
    """Train a pruned file through the bridge; the weights go back into the file by name."""
    from experiments.train import fit, prepare
    from spa.bridge import to_onnx, to_torch

    net = to_torch(model)
    fit(
        net,
        data.train,
        budget,
        seed=settings.seed,
        stream="finetune",
        device=prepare(settings.device, settings.threads),
        report=folder.log,
        progress=progress,
    )
    return to_onnx(net, model)


def measure(folder: RunFolder, data: Dataset) -> Any:
    """Measure the accuracy of every file of the run that exists."""
    acc: dict[str, float | None] = {}
    for stage in ("dense", "pruned", "finetuned"):
        path = folder.path / f"{stage}.onnx"
        acc[stage] = accuracy(path, data.test) if path.is_file() else None
        folder.log({"stage": f"test {stage}", "accuracy": acc[stage]})
    return acc


def _take(source: Path, target: Path) -> Path:
    """Copy a shared file into the run's folder, so that nobody who edits it there harms others."""
    files.write_bytes(target, source.read_bytes())
    return target


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
