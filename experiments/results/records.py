"""Result files: written, read back, and copied to where they are committed.

A run's own folder is written by `experiments.runs.folder`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from experiments.ground import files, paths
from experiments.results.schema import REQUIRED, Result, checksum
from experiments.results.upgrade import READABLE, upgraded
from spa.errors import InputError, SettingError

if TYPE_CHECKING:
    import pandas as pd


def read_result(path: Path) -> Result:
    """Read and check one result file.

    Raises:
        InputError: it is torn, has another schema version, or lacks a key; the file is named.
    """
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{path} is torn or was edited: it is not JSON ({error})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is torn or was edited: it does not hold a JSON object")
    version = content.get("schema_version")
    if version not in READABLE:
        raise InputError(
            f"{path} has schema_version {version!r}, but this program reads "
            f"{' and '.join(map(str, READABLE))}"
        )
    if "checksum" in content and content["checksum"] != checksum(content):
        raise InputError(f"{path} was edited: its content does not give its checksum")
    try:
        content = upgraded(content)
        missing = [key for key in REQUIRED if key not in content]
    except KeyError as error:
        missing = [str(error.args[0])]
    if missing:
        raise InputError(f"{path} is torn or was edited: it lacks {', '.join(missing)}")
    return cast(Result, content)


def write_result(path: Path, result: Result) -> None:
    """Write a result file with its checksum."""
    files.write_json(path, {**result, "checksum": checksum(result)})


# What a status says of a run that has no result.
STATUS = (
    *("state", "run_id", "seed", "model", "framework", "dataset", "method", "criterion", "time"),
    *("trainer", "asked", "calibration"),
)


def result_files(source: Path, experiment: str) -> list[Path]:
    """List the result files of an experiment below results/runs or results/records."""
    folder = source / experiment
    return sorted({*folder.glob("*/seed_*/result.json"), *folder.glob("*_seed_*.json")})


def read_results(source: Path, experiment: str) -> list[Result]:
    """Read all results of an experiment; ``source`` is results/runs or results/records."""
    return [read_result(path) for path in result_files(source, experiment)]


def read_unfinished(source: Path, experiment: str) -> list[dict[str, Any]]:
    """Read the status of the runs that are not done."""
    out = []
    for path in sorted((source / experiment).glob("*/seed_*/status.json")):
        try:
            status = json.loads(path.read_text())
            missing = [key for key in STATUS if key not in status]
            done = "state" not in missing and status["state"] == "done"
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{path} is torn or was edited: {error}") from error
        if done:  # then the result says the rest
            continue
        if missing:
            raise InputError(f"{path} is torn or was edited: it lacks {', '.join(missing)}")
        out.append(status)
    return out


def read_all(source: Path, experiment: str) -> tuple[dict[Path, Result], list[dict[str, Any]]]:
    """Read all results of an experiment by their files, and the status of the runs without one.

    Raises:
        SettingError: there are no runs.
        InputError: a file is torn or of another schema version.
    """
    found = {path: read_result(path) for path in result_files(source, experiment)}
    unfinished = read_unfinished(source, experiment)
    if not found and not unfinished:
        raise SettingError(
            f"there are no runs in {source / experiment}; make them with: "
            f"python -m experiments.run experiment={experiment}"
        )
    return found, unfinished


def experiments(source: Path) -> list[str]:
    """List the experiments that have runs below results/runs or results/records."""
    names = sorted(path.name for path in source.glob("*") if path.is_dir())
    return [name for name in names if _any(source / name)]


def load(source: Path = Path("results/runs"), experiment: str | None = None) -> pd.DataFrame:
    """Read the results of all experiments, or of one, into one frame (`experiments.results.frame`).

    Raises:
        InputError: a file is torn or was edited; it is named.
        SettingError: there are none.
    """
    from experiments.results import frame

    names = experiments(source) if experiment is None else [experiment]
    results = [result for name in names for result in read_results(source, name)]
    if not results:
        where = source if experiment is None else source / experiment
        raise SettingError(
            f"there is no finished run in {where}; name another folder with --source "
            "(results/runs or results/records)"
        )
    return frame.frame(results)


def collect(results: Path, experiment: str) -> list[Path]:
    """Copy the result files of finished runs to where they are committed.

    Raises:
        SettingError: there are none.
    """
    made = []
    for result in read_results(results / "runs", experiment):
        name = f"{result['run_id']}_seed_{result['seed']}.json"
        made.append(paths.records(results, experiment) / name)
        write_result(made[-1], result)
    if not made:
        raise SettingError(f"there is no finished run in {paths.runs(results, experiment)}")
    for stale in set(paths.records(results, experiment).glob("*.json")) - set(made):
        stale.unlink()
    return made


def _any(folder: Path) -> bool:
    patterns = ("*/seed_*/status.json", "*/seed_*/result.json", "*_seed_*.json")
    return any(True for pattern in patterns for _ in folder.glob(pattern))
