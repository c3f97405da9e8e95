"""A pruned file trained through the bridge; its weights go back into the file by name."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from experiments.ground import files
from experiments.runs.job import Source
from experiments.training.budget import Budget


def tune(smaller: Path, given: Source, budget: Budget, *, stream: str, to: str) -> dict[str, Any]:
    """Train a file; returns what is to be known of it.

    Args:
        smaller: the file.
        given: the run's data, folder and trainer.
        budget: how long, and how.
        stream: name of this use of the run's seed.
        to: the name of the trained file.
    """
    import onnx

    from spa.bridge import to_onnx, to_torch

    started = time.monotonic()
    folder, trainer = given.folder, given.trainer
    rows: list[dict[str, Any]] = []

    def report(row: dict[str, Any]) -> None:
        rows.append(row)
        folder.log(row)

    model = onnx.load(smaller)
    net = to_torch(model)
    trainer.train(
        net,
        given.data,
        budget,
        stream=stream,
        folder=folder.path,
        of=files.sha256(smaller),
        report=report,
        model=model,
        dense=folder.path / "dense.onnx",
    )
    folder.write_model(to, to_onnx(net, model))
    # The rows have the seconds of before an interruption too.
    seconds = max(time.monotonic() - started, sum(row["seconds"] for row in rows))
    return {
        "rows": rows,
        "epochs": budget.epochs,
        "seconds": seconds,
        "processes": trainer.processes,
    }
