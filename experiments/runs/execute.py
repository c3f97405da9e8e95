"""One run, from top to bottom. Everything that it makes lies in its folder.

What is pruned, and what is trained afterwards, is the time's to say (`experiments.times`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.config.settings import Settings
from experiments.data import load
from experiments.ground import files, provenance
from experiments.methods import plain
from experiments.results.schema import FLOPS, SCHEMA_VERSION, Result, Seconds
from experiments.runs.dense import baseline
from experiments.runs.evaluate import latency_ms
from experiments.runs.job import Source
from experiments.runs.measured import measure
from experiments.runs.rounds import in_rounds
from experiments.runs.scratch import drawn, lengthened, seeds
from experiments.runs.tune import tune
from experiments.training.interrupts import Interrupts
from experiments.training.trainer import Trainer

if TYPE_CHECKING:
    from experiments.ground.progress import Progress
    from experiments.runs.folder import RunFolder
    from experiments.training.team import Processes


def execute(
    settings: Settings,
    folder: RunFolder,
    progress: Progress,
    interrupts: Interrupts,
    team: Processes | None = None,
) -> Result:
    """Do what the settings say and return what result.json holds.

    A stage whose files are there from an earlier try is not done again.
    """
    import spa.bridge  # noqa: F401  (takes seconds, which are no method's own)
    from experiments.training.loop import prepare

    watch = Watch()
    prepare(settings.place.device, settings.place.threads)
    data = load(settings.dataset, settings.place.data_root, settings.place.workers)
    held = data.held(settings.split)
    trainer = trainer_of(settings, progress, interrupts, team)
    with watch.stage("dense"):
        base = baseline(settings, data, trainer)
    for row in base.metrics:
        folder.log(row)
    dense = _take(base.dense, folder.path / "dense.onnx")
    when = settings.when
    source = _take(base.init, folder.path / "init.onnx") if when.fresh else dense

    given = Source(settings, data, folder, trainer)
    with watch.stage("prune") as took:
        pruned = in_rounds(source, given)
        took(pruned["seconds"])

    training: dict[str, Any] = {"dense": base.training}
    if pruned["epochs"]:
        training["prune"] = {
            "epochs": pruned["epochs"],
            "seconds": pruned["trained_seconds"],
            "processes": trainer.processes,
        }
    if when.then is not None:
        budget = settings.budget(when.then)
        smaller = folder.path / "pruned.onnx"
        if when.draws:
            smaller, pruned["details"] = drawn(smaller, given), pruned["details"] | seeds(settings)
            budget = lengthened(budget, settings.pace, pruned["reached"]["rf"])
        with watch.stage("finetune") as took:
            tuned = folder.stage(
                "finetune",
                smaller,
                lambda: tune(smaller, given, budget, stream="finetune", to="finetuned.onnx"),
                makes=("finetuned.onnx",),
            )
            took(tuned["seconds"])
        training["finetune"] = {key: tuned[key] for key in ("epochs", "seconds", "processes")}

    with watch.stage("measure"):
        shared = base.dense.parent
        metrics = measure(folder, data, settings.split, shared)
        latency = latency_ms(dense, folder.path / "pruned.onnx", held, **settings.latency)
        held_out = settings.split == "test" and data.validation is not None
        chosen_by = measure(folder, data, "validation", shared) if held_out else None
    result: Result = {
        "schema_version": SCHEMA_VERSION,
        "checksum": "",  # written with the file
        "run_id": settings.run_id,
        "experiment": settings.experiment,
        "model": settings.model,
        "framework": settings.framework,
        "dataset": data.name,
        "task": data.task,
        "split": settings.split,
        "method": settings.method,
        "criterion": settings.criterion,
        "time": settings.time,
        "trainer": settings.trainer,
        "seed": settings.seed,
        "asked": settings.asked,
        "scope": None if settings.limits is None else settings.limits.scope,
        "aggregate": None if settings.scoring is None else settings.scoring.aggregate,
        "normalize": None if settings.scoring is None else settings.scoring.normalize,
        "calibration": settings.calibration,
        "bn_refresh": None if settings.calibrating is None else settings.calibrating.bn_refresh,
        "options": {
            "method": plain(settings.how),
            "criterion": {} if settings.scoring is None else plain(settings.scoring.options),
        },
        "reached": pruned["reached"],
        "metrics": metrics,
        "params": pruned["params"],
        "macs": pruned["macs"],
        "prune_seconds": pruned["prune_seconds"],
        "latency_ms": latency,
        "latency": settings.latency,
        "widths": pruned["widths"],
        "seen": pruned["seen"],
        "seconds": watch.all(),
        "config": settings.semantic(),
        "flops": FLOPS,
        "data_sha256": data.fingerprint(),
        "dense_sha256": files.sha256(dense),
        "plan_input": pruned["plan_input"],
        "proof": pruned["proof"],
        "scores": pruned["details"].get("scores"),
        "details": pruned["details"],
        "training": training | {"budget": _budgets(settings)},
        "hardware": provenance.hardware(),
        "code": provenance.code(),
        "started": folder.started,
        "finished": now(),
    }
    if chosen_by is not None:
        result["validation"] = chosen_by
    return result


def trainer_of(
    settings: Settings,
    progress: Progress,
    interrupts: Interrupts,
    team: Processes | None = None,
) -> Trainer:
    """Return what trains as the settings say."""
    return Trainer(
        settings.seed,
        settings.place.device,
        settings.place.threads,
        settings.place.checkpoint_seconds,
        progress,
        interrupts,
        team,
    )


def _budgets(settings: Settings) -> dict[str, Any]:
    """The whole budget, used or not: runs of one budget are compared, whatever their times."""
    parts = {"train": settings.train.plain(), "finetune": settings.finetune.plain()}
    return {"name": settings.trainer, **parts}


def now() -> str:
    """Return the time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Watch:
    """Wall clock by stage."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(("dense", "prune", "finetune", "measure"), 0.0)
        self._began = time.monotonic()
        self._before = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[float], None]]:
        """Time the body; gives a function that takes what an earlier try's share makes of it."""
        began = time.monotonic()
        whole = 0.0

        def took(seconds: float) -> None:
            nonlocal whole
            whole = seconds

        try:
            yield took
        finally:
            now = time.monotonic() - began
            self.seconds[name] = max(now, whole)
            self._before += self.seconds[name] - now

    def all(self) -> Seconds:
        """Return the seconds of every stage, and those of the whole run, earlier tries too."""
        total = time.monotonic() - self._began + self._before
        return {"total": total, **self.seconds}  # type: ignore[typeddict-item]


def _take(source: Path, target: Path) -> Path:
    """Copy a shared file into the run's folder, so that nobody who edits it there harms others."""
    files.write_bytes(target, source.read_bytes())
    return target
