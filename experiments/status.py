"""How the runs stand: ``python -m experiments.status [EXPERIMENT] [--json]``.

state        what it means
done         finished; its result is whole
running      a process works on it, and showed so lately
failed       it ended with an error; launching again runs it again
interrupted  it was ended from outside, or its process is gone; the next try goes on with it
torn         it says done, but its result is torn or was edited; it is run again
waiting      launched, and not begun yet

Below the table are the commands that run again what failed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments import lease, manifest
from experiments.ground import paths
from experiments.results.records import read_result
from spa.errors import InputError, SettingError, SpaError

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


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.status",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("experiment", nargs="?", help="one experiment; all when not given")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--json", action="store_true", help="a JSON object on stdout")
    args = parser.parse_args(argv)
    try:
        states = [s for name in _names(args.results, args.experiment)
                  for s in survey(args.results, name)]  # fmt: skip
    except SpaError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(_document(states), indent=2) if args.json else text(states))
    return 0


def _document(states: Sequence[RunState]) -> dict[str, Any]:
    number = Counter(state.state for state in states)
    return {
        "counts": {state: number[state] for state in STATES},
        "runs": [asdict(state) for state in states],
    }


def _names(results: Path, experiment: str | None) -> list[str]:
    folder = results / "runs"
    names = sorted(path.name for path in folder.glob("*") if path.is_dir())
    if experiment is None:
        return names
    if experiment not in names:
        known = f"it has {', '.join(names)}" if names else "nothing was launched yet"
        raise SettingError(f"there is no experiment {experiment!r} in {folder}; {known}")
    return [experiment]


if __name__ == "__main__":
    raise SystemExit(main())
