"""Which runs an experiment has, also those that did not begin yet.

    results/runs/<experiment>/manifest.jsonl    one line a run: run_id, seed, overrides
    results/runs/<experiment>/tasks-<n>.jsonl   the runs of one job array (hydra/launcher=manifest)

    python -m experiments.sweeps.manifest run results/runs/demo/tasks-3fa2.jsonl 7

runs line 7 (from 0) of such a file: what slurm/cpu.sbatch and gpu.sbatch do.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from experiments.ground import files, paths
from experiments.ground.checked import checked
from experiments.results.records import pass_over
from spa.errors import InputError, SettingError


@dataclass(frozen=True)
class Entry:
    """One run.

    Attributes:
        overrides: what gives this run alone when it is given to ``experiments.run``.
        about: what people know it by: its model, method, criterion and target, as its status
            will have them.
    """

    run_id: str
    seed: int
    overrides: tuple[str, ...]
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def arguments(self) -> list[str]:
        """What ``experiments.run`` takes; an experiment file would make a sweep of it."""
        return ["hydra.mode=RUN", *self.overrides]

    @property
    def command(self) -> str:
        """A line for a shell that runs it."""
        return shlex.join(["python", "-m", "experiments.run", *self.arguments])


def read(path: Path) -> list[Entry]:
    """Read a manifest; empty where there is none.

    Lines that are torn or were edited are named on stderr and passed over.
    """
    found = []
    for number, text in enumerate(_lines(path), start=1):
        try:
            found.append(_entry(text))
        except ValueError as error:
            pass_over(InputError(f"line {number} of {path} is torn or was edited: {error}"))
    return found


def _lines(path: Path) -> list[str]:
    try:
        return files.read_text(path).splitlines()
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        pass_over(InputError(f"cannot read {path}: {error}"))
        return []


def _entry(text: str) -> Entry:
    """Parse a line.

    Raises:
        ValueError: it holds no run.
    """
    found = files.parse_json(text)
    try:
        return checked(Entry, {"overrides": (), **found})
    except (SettingError, TypeError) as error:
        raise ValueError(str(error)) from None


def add(results: Path, experiment: str, entries: Iterable[Entry]) -> Path:
    """Add runs to an experiment's manifest, those that are there already aside.

    Raises:
        OutputError: the results folder cannot be written.
    """
    folder = paths.runs(results, experiment)
    path = folder / "manifest.jsonl"
    with files.errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".manifest").open("w") as guard:  # two launches at once
            fcntl.flock(guard, fcntl.LOCK_EX)
            known = {(entry.run_id, entry.seed): entry for entry in read(path)}
            known |= {(entry.run_id, entry.seed): entry for entry in entries}
            _write(path, list(known.values()))
    return path


def write_tasks(results: Path, experiment: str, entries: Sequence[Entry]) -> Path:
    """Write the file of a job array; the same runs give the same file."""
    text = json.dumps([asdict(entry) for entry in entries])
    name = f"tasks-{hashlib.sha256(text.encode()).hexdigest()[:8]}.jsonl"
    _write(paths.runs(results, experiment) / name, entries)
    return paths.runs(results, experiment) / name


def _write(path: Path, entries: Sequence[Entry]) -> None:
    files.write_text(path, "".join(json.dumps(asdict(entry)) + "\n" for entry in entries))


def main(argv: list[str] | None = None) -> int:
    """Run one line of a manifest, in this process."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.sweeps.manifest", description=__doc__
    )
    parser.add_argument("action", choices=["run"])
    parser.add_argument("file", type=Path)
    parser.add_argument("line", type=int)
    args = parser.parse_args(argv)
    lines = _lines(args.file)
    try:
        if not 0 <= args.line < len(lines):
            raise InputError(f"{args.file} has {len(lines)} lines; there is no line {args.line}")
        arguments = _entry(lines[args.line]).arguments
    except (InputError, ValueError) as error:
        print(f"error: {args.file}, line {args.line}: {error}", file=sys.stderr)
        return 1
    # In this very process, which a batch system sends its signals to.
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", "experiments.run", *arguments])


if __name__ == "__main__":
    raise SystemExit(main())
