"""Result files: copied to where they are committed, back again, and exported.

    python -m experiments.records collect demo        copies result.json of finished runs from
                                                      results/runs into results/records/demo
    python -m experiments.records restore demo        puts those records back as finished runs, so
                                                      that a sweep goes on from them elsewhere
    python -m experiments.records export [demo]       writes all results, or an experiment's, as
        --source results/records --to DIR             one table: runs.parquet and runs.csv

A run is known by its experiment, its id and its seed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from experiments.ground import paths
from experiments.results import frame
from experiments.results.records import collect, load
from experiments.results.restore import restore
from spa.errors import SettingError, SpaError


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.records",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=["collect", "restore", "export"])
    parser.add_argument("experiment", nargs="?", help="export: all when not given")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--source", type=Path, help="export: default <results>/runs")
    parser.add_argument("--to", type=Path, help="export: default <results>/export")
    args = parser.parse_args(argv)
    try:
        print(_done(args), file=sys.stderr)
    except SpaError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _done(args: argparse.Namespace) -> str:
    if args.action == "export":
        runs = load(args.source or args.results / "runs", args.experiment)
        written = frame.write(runs, args.to or args.results / "export")
        return f"{len(runs)} runs in {' and '.join(map(str, written))}"
    if args.experiment is None:
        raise SettingError(
            f"{args.action} needs an experiment: python -m experiments.records {args.action} NAME"
        )
    if args.action == "collect":
        made = collect(args.results, args.experiment)
        return f"{len(made)} records in {paths.records(args.results, args.experiment)}"
    return str(restore(args.results, args.experiment))


if __name__ == "__main__":
    raise SystemExit(main())
