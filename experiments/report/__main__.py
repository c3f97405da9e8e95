"""Result files in, pages out: results/reports/<experiment>.html, one for each experiment.

    python -m experiments.report --experiment demo
    python -m experiments.report --source results/records

A page is self-contained: open it from the file system, send it by mail, print it. Plans and the
graph of groups need the runs' folders; committed records do without.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.ground import files, paths
from experiments.report.content import gather
from experiments.report.page import render
from experiments.results import which
from spa.errors import SpaError


def write(
    results: Path,
    source: Path,
    experiment: str,
    conditions: Mapping[str, Sequence[str]] | None = None,
) -> Path:
    """Write the page of an experiment; returns where it is.

    Args:
        results: the folder to write in.
        source: results/runs or results/records.
        experiment: its name.
        conditions: which runs are meant (`experiments.results.where`).

    Raises:
        SettingError: there are no runs, or they must not be compared.
        OutputError: the page cannot be written.
    """
    page = paths.reports(results) / f"{experiment}.html"
    files.write_text(page, render(gather(source, experiment, conditions or {})))
    return page


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    args = which.parser("experiments.report", __doc__).parse_args(argv)
    try:
        for source, name, conditions in which.chosen(args):
            print(f"wrote {write(args.results, source, name, conditions)}", file=sys.stderr)
    except SpaError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
