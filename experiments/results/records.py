"""Result files: written, read back, and copied to where they are committed.

A run's own folder is written by `experiments.runs.folder`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from experiments.ground import files, paths
from experiments.results import faults
from experiments.results.schema import Result, Status, checksum
from experiments.results.upgrade import READABLE, upgraded
from spa.errors import InputError, SettingError
from spa.showing import printable

if TYPE_CHECKING:
    import pandas as pd


Read = TypeVar("Read")


def read_result(path: Path) -> Result:
    """Read and check one result file.

    Raises:
        InputError: it is torn, has another schema version, or is not as the schema says; the file
            is named.
    """
    content = _read(path)
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
    except (KeyError, AttributeError, TypeError) as error:
        raise InputError(f"{path} is torn or was edited: {error!r}") from error
    if fault := faults.of_result(content):
        raise InputError(f"{path} is torn or was edited: {fault}")
    return cast(Result, content)


def read_status(path: Path) -> Status:
    """Read and check one status file.

    Raises:
        InputError: it cannot be read, or is not as the schema says; the file is named.
    """
    content = _read(path)
    if fault := faults.of_status(content):
        raise InputError(f"{path} is torn or was edited: {fault}")
    return cast(Status, content)


def _read(path: Path) -> Any:
    try:
        return files.read_json(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{path} is torn or was edited: it is not JSON ({error})") from error


def whole(read: Callable[[Path], Read], found: Iterable[Path]) -> dict[Path, Read]:
    """Read files, by their paths; those that are damaged are named on stderr and passed over."""
    out = {}
    for path in found:
        try:
            out[path] = read(path)
        except InputError as error:
            pass_over(error)
    return out


def pass_over(error: Exception) -> None:
    """Name what is damaged and not taken; what is whole goes on."""
    print(f"warning: passed over: {printable(str(error))}", file=sys.stderr)


def write_result(path: Path, result: Result) -> None:
    """Write a result file with its checksum."""
    files.write_json(path, {**result, "checksum": checksum(result)})


def result_files(source: Path, experiment: str) -> list[Path]:
    """List the result files of an experiment below results/runs or results/records.

    So are those of runs that say they are done and whose file is gone: to read one says so.
    """
    folder = paths.inside(source, experiment)
    runs = [path / "result.json" for path in folder.glob("*/seed_*")]
    there = (path for path in runs if os.path.lexists(path) or _says_done(path.parent))
    return sorted({*there, *folder.glob("*_seed_*.json")})


def _says_done(folder: Path) -> bool:
    try:
        return read_status(folder / "status.json")["state"] == "done"
    except InputError:  # that is said where statuses are read
        return False


def read_results(source: Path, experiment: str) -> list[Result]:
    """Read all results of an experiment; ``source`` is results/runs or results/records.

    Files that are damaged are named on stderr and passed over.
    """
    return list(whole(read_result, result_files(source, experiment)).values())


def read_unfinished(source: Path, experiment: str) -> list[Status]:
    """Read the status of the runs that are not done; what is damaged is named and passed over."""
    found = sorted(paths.inside(source, experiment).glob("*/seed_*/status.json"))
    # Of a run that is done the result says the rest.
    return [each for each in whole(read_status, found).values() if each["state"] != "done"]


def read_all(source: Path, experiment: str) -> tuple[dict[Path, Result], list[Status]]:
    """Read all results of an experiment by their files, and the status of the runs without one.

    Files that are damaged are named on stderr and passed over.

    Raises:
        SettingError: there are no runs, or none whose files are whole.
    """
    found = whole(read_result, result_files(source, experiment))
    unfinished = read_unfinished(source, experiment)
    if not found and not unfinished:
        raise SettingError(
            f"there are no runs in {source / experiment}; make them with: "
            f"python -m experiments.run experiment={experiment}"
        )
    return found, unfinished


def experiments(source: Path) -> list[str]:
    """List the experiments that have runs below results/runs or results/records.

    Folders that no experiment can be called like are named on stderr and passed over.
    """
    return folders(path for path in source.glob("*") if _any(path))


def folders(found: Iterable[Path]) -> list[str]:
    """List those that are folders of experiments, by name.

    What no experiment can be called like is named on stderr and passed over.
    """
    out = []
    for path in sorted(found):
        if path.is_dir():
            try:
                out.append(paths.inside(path.parent, path.name).name)
            except SettingError as error:
                pass_over(error)
    return out


def load(source: Path = Path("results/runs"), experiment: str | None = None) -> pd.DataFrame:
    """Read the results of all experiments, or of one, into one frame (`experiments.results.frame`).

    Files that are damaged are named on stderr and passed over.

    Raises:
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

    Records of runs that are gone are removed; those of runs whose files are damaged stay.

    Raises:
        SettingError: there are none.
    """
    target = paths.records(results, experiment)
    found = result_files(results / "runs", experiment)
    made = []
    for result in whole(read_result, found).values():
        made.append(target / _record(result["run_id"], result["seed"]))
        write_result(made[-1], result)
    if not made:
        raise SettingError(f"there is no finished run in {paths.runs(results, experiment)}")
    there = {target / _record(p.parts[-3], p.parts[-2].removeprefix("seed_")) for p in found}
    for stale in set(target.glob("*.json")) - set(made) - there:
        files.remove(stale)
    return made


def _record(run_id: str, seed: int | str) -> str:
    return f"{run_id}_seed_{seed}.json"


def _any(folder: Path) -> bool:
    patterns = ("*/seed_*/status.json", "*/seed_*/result.json", "*_seed_*.json")
    return any(True for pattern in patterns for _ in folder.glob(pattern))
