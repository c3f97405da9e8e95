"""Committed records put back as finished runs, so that a sweep goes on from them elsewhere.

A record is the whole result of a run, but not its files: the run counts as done and is tabulated,
and ``force=true`` is what makes its networks again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from experiments.config.settings import VERSION, digest
from experiments.ground import files, paths
from experiments.results.records import pass_over, read_result, result_files, whole, write_result
from experiments.results.schema import Result, Status
from spa.errors import InputError, SettingError


@dataclass(frozen=True)
class Restored:
    """What was put back.

    Attributes:
        made: the runs' folders.
        there: runs that were done already.
        old: runs of another version of the run id, which are not taken for those of today.
    """

    made: list[Path]
    there: int
    old: int

    def __str__(self) -> str:
        there = f"; {self.there} were there" if self.there else ""
        old = f"; {self.old} have ids of before version {VERSION}, so that a sweep makes them anew"
        return f"{len(self.made)} runs put back{there}{old if self.old else ''}"


def restore(results: Path, experiment: str) -> Restored:
    """Put the records of an experiment back below results/runs.

    Runs that are done already stay as they are. Records that are damaged, or are not of the run
    that they are named after, are named on stderr and passed over.

    Args:
        results: the results folder.
        experiment: its name.

    Raises:
        SettingError: there are no records, or none that is whole.
    """
    found = result_files(results / "records", experiment)
    if not found:
        raise SettingError(
            f"there are no records in {paths.records(results, experiment)}; write them with: "
            f"python -m experiments.records collect {experiment}"
        )
    mine = []
    for path, result in whole(read_result, found).items():
        try:
            _belongs(path, result, experiment)
        except InputError as error:
            pass_over(error)
        else:
            mine.append(result)
    if not mine:
        raise SettingError(
            f"none of the {len(found)} records in {paths.records(results, experiment)} can be taken"
        )
    made, there = [], 0
    for result in mine:
        folder = paths.run(results, experiment, result["run_id"], result["seed"])
        if _done(folder):
            there += 1
            continue
        write_result(folder / "result.json", result)
        status = {key: result.get(key) for key in Status.__annotations__} | {"state": "done"}
        times = {"pid": None, "started": result["started"], "updated": result["finished"]}
        files.write_json(folder / "status.json", {**status, "experiment": experiment, **times})
        made.append(folder)
    old = sum(result["config"]["version"] != VERSION for result in mine)
    return Restored(made, there, old)


def _belongs(path: Path, result: Result, experiment: str) -> None:
    """Checks that a record is of the run that its place and its configuration say."""
    name = f"{result['run_id']}_seed_{result['seed']}.json"
    if path.name != name or result["experiment"] != experiment:
        raise InputError(
            f"{path} holds the run {result['run_id']}, seed {result['seed']}, of the experiment "
            f"{result['experiment']}; it belongs in records/{result['experiment']}/{name}"
        )
    if "version" not in result["config"]:
        raise InputError(
            f"{path} does not say what its run_id is a hash of, so it cannot be checked; its runs "
            "must be made again"
        )
    made = digest(dict(result["config"]))
    if made != result["run_id"]:
        raise InputError(
            f"{path} says run_id {result['run_id']}, but its configuration gives {made}"
        )


def _done(folder: Path) -> bool:
    try:
        read_result(folder / "result.json")
    except InputError:
        return False
    return True
