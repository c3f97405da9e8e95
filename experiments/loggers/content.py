"""What the Weights & Biases mirror holds of a run, as plain values that come from its files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args

from experiments.config.settings import Settings
from experiments.data.base import Held
from experiments.ground import provenance
from experiments.results.columns import STAGES
from experiments.results.schema import Result, by_stage
from experiments.tasks import TASKS

# Which stage a measured number belongs to; a row of training belongs to its own.
_MEASURED = {"dense": "dense", "pruned": "prune", "finetuned": "finetune"}


class Table(NamedTuple):
    """Columns, and rows of as many values."""

    columns: list[str]
    rows: list[list[Any]]


class File(NamedTuple):
    """A file of the run's folder, and as what it is kept."""

    path: Path
    name: str  # of the artifact: letters, digits, "-" only
    type: str
    about: dict[str, Any]


def key(settings: Settings) -> str:
    """Name a run: its id and its seed, in letters, digits and single hyphens."""
    sign = "minus-" if settings.seed < 0 else ""
    return f"{settings.run_id}-{sign}{abs(settings.seed)}"


def config(settings: Settings) -> dict[str, Any]:
    """Return what the run is, and what it runs on."""
    return {
        **settings.semantic(),
        **{"run_id": settings.run_id, "seed": settings.seed, "experiment": settings.experiment},
        **{key: getattr(settings.place, key) for key in ("device", "threads", "workers")},
        **{"hardware": provenance.hardware(), "code": provenance.code()},
    }


def numbers(row: Mapping[str, Any]) -> tuple[str, dict[str, float]]:
    """Split a line of metrics into the stage that it belongs to and its named numbers.

    A metric is ``test/<name>``, or ``validation/<name>``, in every stage, so that stages can be
    drawn together.
    """
    name = str(row.get("stage", "run"))
    split, _, of = name.partition(" ")
    held = split in get_args(Held) and of in _MEASURED
    stage, prefix = (_MEASURED[of], split) if held else (name, name)
    found = {k: v for k, v in row.items() if isinstance(v, (int, float))}
    return stage, {f"{prefix}/{k}": v for k, v in found.items()}


def tables(result: Result) -> dict[str, Table]:
    """Make the tables of one result; metrics as measured, costs of one sample."""
    asked, reached = result["asked"], result["reached"]
    macs, params = result["macs"], result["params"]
    costs: list[list[Any]] = [
        ["MACs", macs["dense"], macs["pruned"], reached["rf"], None],
        ["FLOPs", 2 * macs["dense"], 2 * macs["pruned"], reached["rf"], asked.get("rf")],
        ["parameters", params["dense"], params["pruned"], reached["rp"], asked.get("rp")],
    ]
    if "ratio" in asked:  # it has no dense and pruned of its own
        costs.append(["removed share of channels", None, None, None, asked["ratio"]])
    widths = [[width["name"], width["dense"], width["pruned"]] for width in result["widths"]]
    return {
        **{
            metric.name: Table(
                ["stage", metric.name],
                [[stage, _measured(result, stage).get(metric.name)] for stage in STAGES],
            )
            for metric in TASKS.get(result["task"])().metrics
        },
        "flops": Table(["quantity", "dense", "pruned", "dense / pruned", "asked"], costs),
        "widths": Table(["group", "dense", "pruned"], widths),
    }


def artifacts(settings: Settings, folder: Path, result: Result) -> dict[str, list[File]]:
    """List the files that are kept, by stage; those that the run has not are left out."""
    name = key(settings)
    what = {"run_id": result["run_id"], "seed": result["seed"]}
    cost = {"macs": result["macs"]["pruned"], "params": result["params"]["pruned"]}
    plan = {"reached": result["reached"], "plan_input": result["plan_input"]}
    pruned = {**cost, **_measured(result, "pruned")}
    tuned = {**cost, **_measured(result, "finetuned")}
    every = {
        "prune": [
            File(folder / "plan.json", f"plan-{name}", "plan", {**what, **plan}),
            File(folder / "pruned.onnx", f"pruned-{name}", "model", {**what, **pruned}),
        ],
        "finetune": [
            File(folder / "finetuned.onnx", f"finetuned-{name}", "model", {**what, **tuned})
        ],
    }
    return {stage: [f for f in files if f.path.is_file()] for stage, files in every.items()}


def _measured(result: Result, stage: str) -> dict[str, float]:
    """What was measured of a stage, by the metrics' names."""
    found = by_stage(result).get(stage, {})
    metrics = TASKS.get(result["task"])().metrics
    return {metric.name: found[metric.key] for metric in metrics if metric.key in found}
