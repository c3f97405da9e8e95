"""How the runs of an experiment stand."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from experiments.ground import paths
from experiments.results.records import folders, read_status
from experiments.results.schema import Status
from experiments.runs import lease
from experiments.runs.whole import damage
from experiments.sweeps import manifest
from spa.errors import InputError, SettingError
from spa.showing import printable

STATES = ("done", "running", "failed", "interrupted", "torn", "waiting")


@dataclass(frozen=True)
class RunState:
    """One run, as it stands.

    Attributes:
        what: holder of a running one, error of a failed one, else empty.
        command: runs it alone; empty where nobody wrote down how it was launched.
        model: its name; empty, as are the three after it, where nobody wrote it down.
        method: its name.
        criterion: its name; empty too where the method takes none.
        target: as in ``rf 2``.
        updated: when its state was last written; UTC, ISO 8601.
        seconds: what a finished run took, all of its tries together.
        left: seconds that a running one will take still, by what others took; None: unknown.
    """

    experiment: str
    run_id: str
    seed: int
    state: str
    what: str
    command: str
    model: str = ""
    method: str = ""
    criterion: str = ""
    target: str = ""
    updated: str = ""
    seconds: float | None = None
    left: float | None = None

    @property
    def key(self) -> tuple[str, int]:
        """What tells it from the other runs of its experiment."""
        return self.run_id, self.seed

    @property
    def name(self) -> str:
        """What people know it by; empty where nobody wrote it down."""
        how = [self.method, self.criterion] if self.criterion else [self.method]
        return ", ".join(filter(None, [self.model, " ".join(how), self.target]))


def survey(results: Path, experiment: str, *, check: bool = True) -> list[RunState]:
    """Look at all runs of an experiment; what is damaged is named on stderr.

    Args:
        results: the results folder.
        experiment: its name.
        check: read the files of finished runs too, to find damaged ones.
    """
    folder = paths.runs(results, experiment)
    launched = {(e.run_id, e.seed): e for e in manifest.read(folder / "manifest.jsonl")}
    begun = {}
    for path in sorted(folder.glob("*/seed_*")):
        run_id, seed = path.parent.name, path.name.removeprefix("seed_")
        if seed.removeprefix("-").isdecimal() and path.is_dir():
            begun[run_id, int(seed)] = path
    found = []
    for key in {**launched, **begun}:
        entry = launched.get(key)
        state = RunState(experiment, *key, "waiting", "", entry.command if entry else "")
        if entry:
            state = _about(state, entry.about)
        found.append(_looked_at(state, begun[key], check) if key in begun else state)
    return _with_time_left(found)


def _looked_at(state: RunState, folder: Path, check: bool) -> RunState:
    """What a run's folder says of it."""
    path = folder / "status.json"
    try:
        status = read_status(path)
    except InputError as error:
        try:
            path.lstat()
        except OSError:  # nothing is there: it began to be, and no more
            return state
        return replace(state, state="torn", what=str(error))
    state = _about(state, status)
    updated, seconds = status.get("updated"), status.get("seconds")
    state = replace(
        state,
        updated=updated if isinstance(updated, str) else "",
        seconds=float(seconds) if isinstance(seconds, (int, float)) else None,
    )
    return replace(state, **_standing(folder, status, check))


def _standing(folder: Path, status: Status, check: bool) -> dict[str, Any]:
    if status["state"] == "done":
        fault = damage(folder, status) if check else ""
        return {"state": "torn" if fault else "done", "what": fault}
    if holder := lease.holder(folder):
        return {"state": "running", "what": holder}
    if status["state"] == "failed":
        return {"state": "failed", "what": str(status.get("error", ""))}
    return {"state": "interrupted", "what": ""}


def _about(state: RunState, what: Mapping[str, Any]) -> RunState:
    asked = what.get("asked")
    target = ", ".join(f"{k} {v}" for k, v in asked.items()) if isinstance(asked, dict) else ""
    names = {key: str(what.get(key) or "") for key in ("model", "method", "criterion")}
    return replace(state, target=target, **names)


def _with_time_left(states: Sequence[RunState]) -> list[RunState]:
    """Say of running runs how long they go on still, where some like them have ended."""
    now = datetime.now(UTC)
    out = []
    for state in states:
        expected = _expected(state, states) if state.state == "running" else None
        since = _since(state.updated, now)
        if expected is not None and since is not None:
            state = replace(state, left=max(0.0, expected - since))
        out.append(state)
    return out


def time_left(states: Iterable[RunState]) -> float | None:
    """Seconds until all runs have ended, if as many as now go on at a time.

    What finished runs took is what the others are expected to take; that they are finished
    makes nothing faster.

    Returns:
        None where nothing runs, or nothing has ended yet.
    """
    found = list(states)
    running = [state.left for state in found if state.state == "running"]
    waiting = [_expected(state, found) for state in found if state.state == "waiting"]
    rest = [*running, *waiting]
    known = [seconds for seconds in rest if seconds is not None]
    if not running or len(known) < len(rest):
        return None
    return max(sum(known) / len(running), *(s or 0.0 for s in running))


def _expected(state: RunState, states: Iterable[RunState]) -> float | None:
    """What a run takes: the mean over those of its model that have ended, else over all."""
    took = [(s.model, s.seconds) for s in states if s.state == "done" and s.seconds is not None]
    alike = [seconds for model, seconds in took if model == state.model]
    found = alike or [seconds for _, seconds in took]
    return statistics.fmean(found) if found else None


def _since(text: str, now: datetime) -> float | None:
    try:
        return (now - datetime.fromisoformat(text)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None


def counts(states: Sequence[RunState]) -> str:
    """How many runs are in each state that some are in."""
    number = Counter(state.state for state in states)
    return ", ".join(f"{number[state]} {state}" for state in STATES if number[state])


def text(states: Sequence[RunState]) -> str:
    """The table, and the commands that run again what failed."""
    order = sorted(states, key=lambda s: (s.experiment, STATES.index(s.state), s.run_id, s.seed))
    left = time_left(order)
    lines = [(counts(order) or "no runs") + (f"; {in_words(left)} left" if left else "")]
    table = [(s.state, s.experiment, s.run_id, f"seed {s.seed}", s.name, _more(s)) for s in order]
    table = [tuple(map(printable, cells)) for cells in table]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        line = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        lines.append(line.rstrip())
    again = [s.command for s in order if s.state in ("failed", "torn") and s.command]
    if again:
        commands = (f"    {printable(command)}" for command in again)
        lines += ["", "run again what failed:", *commands]
    return "\n".join(lines)


def _more(state: RunState) -> str:
    left = "" if state.left is None else f"{in_words(state.left)} left"
    return ", ".join(filter(None, [left, state.what]))


def in_words(seconds: float) -> str:
    """About how long that is."""
    if seconds > 5400:
        return f"about {seconds / 3600:.1f} h"
    return f"about {seconds / 60:.0f} min" if seconds > 90 else f"about {seconds:.0f} s"


def document(states: Sequence[RunState]) -> dict[str, Any]:
    """The same as plain JSON values."""
    number = Counter(state.state for state in states)
    return {
        "counts": {state: number[state] for state in STATES},
        "left": time_left(states),
        "runs": [asdict(state) for state in states],
    }


def names(results: Path, experiment: str | None) -> list[str]:
    """List the experiments that were launched, or the one that is asked for.

    Raises:
        SettingError: it was not launched.
    """
    folder = results / "runs"
    found = folders(folder.glob("*"))
    if experiment is None:
        return found
    if experiment not in found:
        known = f"it has {', '.join(found)}" if found else "nothing was launched yet"
        raise SettingError(f"there is no experiment '{printable(experiment)}' in {folder}; {known}")
    return [experiment]
