"""What a page says of an experiment: its rows, its runs, and the facts above them.

Everything comes from result files and run folders, nothing from the clock: the same files give
the same page.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments import tables
from experiments.ground import files
from experiments.results import guard, records, where
from experiments.results.schema import Result
from experiments.tables.footnote import commit
from spa.errors import InputError, SpaError
from spa.pruning.plan import Plan


@dataclass(frozen=True)
class Run:
    """One seed of one setting.

    Attributes:
        state: done, failed, or unfinished (it runs still, or was killed).
        result: None where it is not done.
        status: what status.json says of a run that is not done; empty elsewhere.
        config: the text of config.yaml, or the record's own; None where neither is there.
        plan: None where there is no plan.json: the run broke before, or records are read.
    """

    run_id: str
    seed: int
    state: str
    result: Result | None
    status: Mapping[str, Any]
    config: str | None
    plan: Plan | None

    @property
    def model(self) -> str:
        """Name of the model."""
        return str((self.result or self.status)["model"])

    @property
    def framework(self) -> str:
        """Name of the framework that the model is from."""
        return str((self.result or self.status)["framework"])


@dataclass(frozen=True)
class Content:
    """All that is known of an experiment.

    Attributes:
        rows: one for each setting, as in its tables.
        runs: of each row, by its run id, in the order of their seeds.
    """

    experiment: str
    rows: list[tables.Row]
    runs: dict[str, list[Run]]

    def every(self) -> list[Run]:
        """All runs, in the order of the rows."""
        return [run for row in self.rows for run in self.runs[row.run_id]]

    def results(self) -> list[Result]:
        """The results of the runs that are done."""
        return [run.result for run in self.every() if run.result is not None]


def gather(
    source: Path, experiment: str, conditions: Mapping[str, Sequence[str]] | None = None
) -> Content:
    """Read an experiment below results/runs or results/records.

    Files that are damaged are named on stderr and passed over.

    Raises:
        SettingError: there are no runs, or they must not be compared.
    """
    read, unfinished = records.read_all(source, experiment)
    found, lost = where.select_all(list(read.values()), unfinished, conditions or {})
    guard.check(found)
    rows = tables.build(found, lost)
    runs: dict[str, list[Run]] = {row.run_id: [] for row in rows}
    for result in found:
        runs[result["run_id"]].append(_done(source / experiment, result))
    for status in lost:
        runs[status["run_id"]].append(_not_done(source / experiment, status))
    for mine in runs.values():
        mine.sort(key=lambda run: run.seed)
    return Content(experiment, rows, runs)


def facts(content: Content) -> list[tuple[str, str]]:
    """What was run, how far it came, with which code, when and on what: headings and texts."""
    every, results = content.every(), content.results()
    said = [run.result or run.status for run in every]
    counts = [f"{_count(every, 'done')} done", f"{_count(every, 'failed')} failed"]
    counts.append(f"{_count(every, 'unfinished')} unfinished")
    lines = [
        ("runs", ", ".join(counts)),
        ("models", _distinct(s["model"] for s in said)),
        ("frameworks", _distinct(s["framework"] for s in said)),
        ("data", _distinct(s["dataset"] for s in said)),
        ("methods", _distinct(row.names["method"] for row in content.rows)),
        ("times", _distinct(s["time"] for s in said)),
        ("asked", _distinct(row.names["asked"] for row in content.rows)),
        ("training", _distinct(s["trainer"] for s in said)),
        ("seeds", ", ".join(str(seed) for seed in sorted({run.seed for run in every}))),
    ]
    if results:
        days = sorted({r["finished"][:10] for r in results})
        lines += [
            ("code", _distinct(commit(r["code"]) for r in results)),
            ("finished", days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"),
            ("hardware", _distinct((hardware(r["hardware"]) for r in results), "; ")),
        ]
    return lines


def hardware(machine: Mapping[str, Any]) -> str:
    """Name the machine that a result was measured on."""
    gpu = f", {machine['gpu']}" if machine.get("gpu") else ""
    return f"{machine['cpu']}, {machine['cores']} cores{gpu}"


def natural(text: str) -> tuple[Any, ...]:
    """Order texts by the numbers in them, so that RF 10 comes after RF 2."""
    parts = re.split(r"(\d+(?:\.\d+)?)", text)
    return tuple(float(part) if i % 2 else part.lower() for i, part in enumerate(parts))


def _distinct(texts: Iterable[Any], between: str = ", ") -> str:
    return between.join(sorted({str(text) for text in texts}, key=natural))


def _count(runs: Sequence[Run], state: str) -> int:
    return sum(run.state == state for run in runs)


def _done(folder: Path, result: Result) -> Run:
    run_id, seed = result["run_id"], result["seed"]
    config = _text(folder / run_id / f"seed_{seed}" / "config.yaml")
    return Run(
        run_id=run_id,
        seed=seed,
        state="done",
        result=result,
        status={},
        config=config if config is not None else _recorded(result["config"]),
        plan=_plan(folder / run_id / f"seed_{seed}"),
    )


def _not_done(folder: Path, status: Mapping[str, Any]) -> Run:
    run_id, seed = status["run_id"], status["seed"]
    return Run(
        run_id=run_id,
        seed=seed,
        state="failed" if status["state"] == "failed" else "unfinished",
        result=None,
        status=status,
        config=_text(folder / run_id / f"seed_{seed}" / "config.yaml"),
        plan=_plan(folder / run_id / f"seed_{seed}"),
    )


def _plan(folder: Path) -> Plan | None:
    path = folder / "plan.json"
    if not os.path.lexists(path):
        return None
    try:
        return Plan.load(path) if _text(path) is not None else None
    except SpaError as error:
        records.pass_over(error)
        return None


def _recorded(config: Mapping[str, Any]) -> str | None:
    """Write a record's configuration as a run's folder would."""
    import yaml

    return yaml.safe_dump(dict(config), sort_keys=False) if config else None


def _text(path: Path) -> str | None:
    if not os.path.lexists(path):
        return None
    try:
        return files.read_text(path)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        records.pass_over(InputError(f"cannot read {path}: {why}"))
        return None
