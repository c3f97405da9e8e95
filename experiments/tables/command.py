"""Result files in, tables and figures out, below results/tables.

A table is <experiment>.{md,csv,tex}; beside it lie its figures, <experiment>_<figure>.{svg,png}.

    python -m experiments.tables --experiment demo --print
    python -m experiments.tables --experiment adhoc --where trainer=cpu

Nothing is measured or guessed here: the same files give the same tables. Runs that must not be
compared are refused (experiments/results/guard.py); --where says which of them are meant.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from experiments import figures
from experiments.data.base import Held
from experiments.ground import files, paths
from experiments.results import guard, literature, records, splits, where, which
from experiments.results.rows import build
from experiments.tables.as_csv import comma_separated
from experiments.tables.as_latex import latex
from experiments.tables.as_markdown import markdown
from experiments.tables.footnote import notes
from spa.errors import SpaError


def write(
    results: Path,
    source: Path,
    experiment: str,
    conditions: Mapping[str, Sequence[str]] | None = None,
    split: Held | None = None,
) -> str:
    """Write all tables and figures of an experiment; returns the Markdown.

    Args:
        results: the folder to write in, and that of the literature.
        source: results/runs or results/records.
        experiment: its name.
        conditions: which runs are meant (`experiments.results.where`).
        split: on what they were measured (`experiments.results.splits`); the tables of another
            split than the runs' own are called ``<experiment>_<split>``.

    Raises:
        SettingError: there is nothing to tabulate, or the runs must not be compared.
    """
    conditions = conditions or {}
    read, unfinished = records.read_all(source, experiment)
    found, lost = where.select_all(list(read.values()), unfinished, conditions)
    name = experiment
    if split is not None and any(result["split"] != split for result in found):
        found, name = splits.on(found, split), f"{experiment}_{split}"
    guard.check(found)
    rows = build(found, lost, literature.read(paths.literature(results)))
    remarks = notes(found, rows, conditions)
    folder = paths.tables(results)
    text = markdown(rows, name, remarks, _links(read, results))
    files.write_text(folder / f"{name}.md", text)
    files.write_text(folder / f"{name}.tex", latex(rows, name, remarks))
    files.write_text(folder / f"{name}.csv", comma_separated(rows))
    figures.draw(found, folder / name)
    return text


def _links(read: Mapping[Path, Mapping[str, Any]], results: Path) -> dict[str, str]:
    """Return each run id's first record, as the tables see it; files elsewhere are not linked."""
    links = {}
    for path, result in sorted(read.items(), key=lambda item: -item[1]["seed"]):
        if path.resolve().is_relative_to(results.resolve()):
            links[result["run_id"]] = Path(os.path.relpath(path, paths.tables(results))).as_posix()
    return links


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    parser = which.parser("experiments.tables", __doc__)
    parser.add_argument("--print", action="store_true", help="print the Markdown table")
    parser.add_argument(
        "--split",
        choices=get_args(Held),
        help="what was measured on this one; settings are chosen on validation alone",
    )
    args = parser.parse_args(argv)
    try:
        for source, name, conditions in which.chosen(args):
            text = write(args.results, source, name, conditions, args.split)
            if args.print:
                print(text)
            print(f"wrote {paths.tables(args.results)}/{name}.*", file=sys.stderr)
    except SpaError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0
