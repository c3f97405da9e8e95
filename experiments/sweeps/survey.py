"""How the runs of an experiment stand."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments.ground import paths
from experiments.results.records import read_result
from experiments.runs import lease
from experiments.sweeps import manifest
from spa.errors import InputError, SettingError

STATES = ("done", "running", "failed", "interrupted", "torn", "waiting")


@dataclass(frozen=True)
class RunState:
    """One run, as it stands.

    Attributes:
        what: holder of a running one, error of a failed one, else empty.
        command: runs it alone; empty where nobody wrote down how it was launched.
    """

    experiment: str
    run_id: str
    seed: int
    state: str
    what: str
    command: str


def survey(results: Path, experiment: str, *, check: bool = True) -> list[RunState]:
    """Look at all runs of an experiment.

    Args:
        results: the results folder.
        experiment: its name.
        check: read the results of finished runs too, to find torn ones.

    Raises:
        InputError: the manifest is torn.
    """
    folder = paths.runs(results, experiment)
    launched = {(e.run_id, e.seed): e for e in manifest.read(folder / "manifest.jsonl")}
    begun = {}
    for path in sorted(folder.glob("*/seed_*")):
        run_id, seed = path.parent.name, path.name.removeprefix("seed_")
        if seed.lstrip("-").isdigit():
            begun[run_id, int(seed)] = path
    found = []
    for key in {**launched, **begun}:
        command = launched[key].command if key in launched else ""
        state, what = _state(begun[key], check) if key in begun else ("waiting", "")
        found.append(RunState(experiment, *key, state, what, command))
    return found


def _state(folder: Path, check: bool) -> tuple[str, str]:
    try:
        status = json.loads((folder / "status.json").read_text())
        state = status["state"]
    except FileNotFoundError:
        status, state = {}, "waiting"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return "torn", f"{folder / 'status.json'} is torn or was edited: {error}"
    if state == "done":
        try:
            if check:
                read_result(folder / "result.json")
        except InputError as error:
            return "torn", str(error)
        return "done", ""
    if holder := lease.holder(folder):
        return "running", holder
    if state == "failed":
        return "failed", str(status.get("error", ""))
    return ("waiting", "") if state == "waiting" else ("interrupted", "")


def counts(states: Sequence[RunState]) -> str:
    """How many runs are in each state that some are in."""
    number = Counter(state.state for state in states)
    return ", ".join(f"{number[state]} {state}" for state in STATES if number[state])


def text(states: Sequence[RunState]) -> str:
    """The table, and the commands that run again what failed."""
    order = sorted(states, key=lambda s: (s.experiment, STATES.index(s.state), s.run_id, s.seed))
    width = max((len(state.experiment) for state in order), default=0)
    lines = [counts(states) or "no runs"]
    for s in order:
        line = f"{s.state:<12} {s.experiment:<{width}} {s.run_id} seed {s.seed}"
        lines.append(f"{line}  {s.what}".rstrip())
    again = [s.command for s in order if s.state in ("failed", "torn") and s.command]
    if again:
        lines += ["", "run again what failed:", *(f"    {command}" for command in again)]
    return "\n".join(lines)


def document(states: Sequence[RunState]) -> dict[str, Any]:
    """The same as plain JSON values."""
    number = Counter(state.state for state in states)
    return {
        "counts": {state: number[state] for state in STATES},
        "runs": [asdict(state) for state in states],
    }


def names(results: Path, experiment: str | None) -> list[str]:
    """List the experiments that were launched, or the one that is asked for.

    Raises:
        SettingError: it was not launched.
    """
    folder = results / "runs"
    names = sorted(path.name for path in folder.glob("*") if path.is_dir())
    if experiment is None:
        return names
    if experiment not in names:
        known = f"it has {', '.join(names)}" if names else "nothing was launched yet"
        raise SettingError(f"there is no experiment {experiment!r} in {folder}; {known}")
    return [experiment]
