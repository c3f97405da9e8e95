"""Result files: written, read back, and copied to where they are committed.

    python -m experiments.records collect demo        copies result.json of finished runs from
                                                      results/runs into results/records/demo

A run's own folder is written by `experiments.folder`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from experiments import files, paths
from experiments.schema import REQUIRED, SCHEMA_VERSION, Result, checksum
from spa.errors import InputError, MissingExtra, SettingError, SpaError

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
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{path} has schema_version {version!r}, but this program reads {SCHEMA_VERSION}"
        )
    missing = [key for key in REQUIRED if key not in content]
    if missing:
        raise InputError(f"{path} is torn or was edited: it lacks {', '.join(missing)}")
    if content["checksum"] != checksum(content):
        raise InputError(f"{path} was edited: its content does not give its checksum")
    return cast(Result, content)


def write_result(path: Path, result: Result) -> None:
    """Write a result file with its checksum."""
    files.write_json(path, {**result, "checksum": checksum(result)})


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
        except (OSError, ValueError) as error:
            raise InputError(f"{path} is torn or was edited: {error}") from error
        if status.get("state") != "done":
            out.append(status)
    return out


def load(source: Path, experiment: str) -> pd.DataFrame:
    """Read all results of an experiment into one frame, nested keys with dots."""
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingExtra("pandas", "experiments", "reading records into a frame") from error
    return pd.json_normalize(cast(Any, read_results(source, experiment)))


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


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m experiments.records", description=__doc__)
    parser.add_argument("action", choices=["collect"])
    parser.add_argument("experiment")
    parser.add_argument("--results", type=Path, default=Path("results"))
    args = parser.parse_args(argv)
    try:
        made = collect(args.results, args.experiment)
    except SpaError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{len(made)} records in {paths.records(args.results, args.experiment)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
