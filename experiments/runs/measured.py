"""How well networks answer: every file of a run is measured, the dense one once for all runs.

    results/dense/<hash>/measured_<split>.json    what its metrics are, and of which file and data

A sweep has one dense network for hundreds of small pruned ones, so measuring it anew in each of
them would be most of what they take.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from experiments.data import Dataset
from experiments.data.base import Held
from experiments.ground import files
from experiments.results.schema import Metrics
from experiments.runs.evaluate import predictor
from experiments.runs.folder import RunFolder
from experiments.tasks import task_of

STAGES: tuple[Literal["dense", "pruned", "finetuned"], ...] = ("dense", "pruned", "finetuned")


def measure(folder: RunFolder, data: Dataset, split: Held, shared: Path) -> Metrics:
    """Measure how well every file of the run answers that exists, and log it.

    Args:
        folder: the run's.
        data: what it is measured on.
        split: which part of that.
        shared: the folder of the dense baseline.
    """
    task = task_of(data)
    names = {metric.key: metric.name for metric in task.metrics}
    found: Metrics = {}
    for stage in STAGES:
        path = folder.path / f"{stage}.onnx"
        if not path.is_file():
            continue
        if stage == "dense":
            found[stage] = _once(path, data, split, shared / f"measured_{split}.json")
        else:
            found[stage] = task.measure(predictor(path), data.held(split))
        shown = {names[key]: value for key, value in found[stage].items()}
        folder.log({"stage": f"{split} {stage}", **shown})
    return found


def _once(path: Path, data: Dataset, split: Held, known: Path) -> dict[str, float]:
    import onnxruntime

    of = {
        "sha256": files.sha256(path),
        "data_sha256": data.fingerprint(),
        "onnxruntime": onnxruntime.__version__,
    }
    try:
        before: dict[str, Any] = files.read_json(known)
        if before["of"] == of:
            return {str(key): float(value) for key, value in before["metrics"].items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        pass  # not measured yet, or damaged: it is measured now
    found = task_of(data).measure(predictor(path), data.held(split))
    files.write_json(known, {"of": of, "metrics": found})
    return found
