"""Result files in, tables out: results/tables/<experiment>.{md,csv,tex} and a plot beside them.

    python -m experiments.tables --experiment demo --print

A row is one setting (a run id); a cell is the mean over its seeds, with the sample standard
deviation where there are at least two. Nothing is measured or guessed here: the same files give
the same tables.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments import files, paths, records
from experiments.settings import TIMES
from spa.errors import SettingError, SpaError

MISSING = "—"  # a run failed or is not there
NO_STAGE = "n/a"  # the stage does not exist at this time


@dataclass(frozen=True)
class Column:
    """One measured column: its heading, where the number comes from, how it is shown."""

    key: str
    heading: str
    get: Callable[[Mapping[str, Any]], float | None]
    scale: float = 1.0
    digits: int = 2


COLUMNS = (
    Column("acc_dense", "dense acc. %", lambda r: r["acc"]["dense"], 100, 1),
    Column("acc_pruned", "pruned acc. %", lambda r: r["acc"]["pruned"], 100, 1),
    Column("acc_finetuned", "fine-tuned acc. %", lambda r: r["acc"]["finetuned"], 100, 1),
    Column("rf", "RF", lambda r: r["reached"]["rf"]),
    Column("rp", "RP", lambda r: r["reached"]["rp"]),
    Column("prune_seconds", "prune s", lambda r: r["prune_seconds"]),
    Column("latency_dense_ms", "dense ms", lambda r: r["latency_ms"]["dense"]),
    Column("latency_pruned_ms", "pruned ms", lambda r: r["latency_ms"]["pruned"]),
)

# Settings that get a column when they differ between the rows of a table.
OPTIONAL = (*("framework", "dataset", "trainer", "scope", "aggregate", "normalize"),)


@dataclass(frozen=True)
class Cell:
    """The mean over the seeds that have a value.

    Attributes:
        mean: None when no seed has one.
        std: sample standard deviation; None with fewer than two values.
        n: how many values.
        exists: False when the stage does not exist, so that nothing is missing.
    """

    mean: float | None
    std: float | None
    n: int
    exists: bool = True


@dataclass(frozen=True)
class Row:
    """One setting of an experiment.

    Attributes:
        names: what it is: model, time, method, asked, and the optional settings.
        cells: one for each of `COLUMNS`, by key.
        done: seeds that are finished.
        runs: seeds that were started.
    """

    run_id: str
    names: dict[str, str]
    cells: dict[str, Cell]
    done: int
    runs: int


def summarise(values: Iterable[float | None], exists: bool = True) -> Cell:
    """Average what is there."""
    there = [value for value in values if value is not None and math.isfinite(value)]
    if not there:
        return Cell(None, None, 0, exists)
    std = statistics.stdev(there) if len(there) > 1 else None
    return Cell(statistics.fmean(there), std, len(there))


def build(
    results: Sequence[Mapping[str, Any]], unfinished: Sequence[Mapping[str, Any]] = ()
) -> list[Row]:
    """Group result files into rows, sorted by model, time, target and method.

    Args:
        results: contents of result.json files.
        unfinished: contents of status.json of runs that are not done; their cells are missing.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for result in results:
        groups.setdefault(result["run_id"], []).append(result)
    lost: dict[str, list[Mapping[str, Any]]] = {}
    for status in unfinished:
        lost.setdefault(status["run_id"], []).append(status)
    shown = [key for key in OPTIONAL if len({str(r.get(key)) for r in results}) > 1]
    rows = []
    for run_id in {**groups, **lost}:
        mine = groups.get(run_id, [])
        any_of_it = (mine or lost[run_id])[0]
        rows.append(
            Row(
                run_id=run_id,
                names=_names(any_of_it, shown),
                cells={
                    column.key: summarise(
                        [column.get(result) for result in mine],
                        exists=_exists(column, any_of_it["time"]),
                    )
                    for column in COLUMNS
                },
                done=len(mine),
                runs=len(mine) + len(lost.get(run_id, [])),
            )
        )
    rows.sort(key=lambda row: (_order(row.names), row.run_id))
    return _distinct(rows)


def markdown(rows: Sequence[Row], title: str, notes: Sequence[str] = ()) -> str:
    """Write a Markdown table."""
    heads, body = _texts(rows, "±")
    numeric = len(heads) - len(COLUMNS) - 1
    rule = ["---" if i < numeric else "---:" for i in range(len(heads))]
    lines = [f"# {title}", ""]
    lines += ["| " + " | ".join(line) + " |" for line in (heads, rule, *body)]
    lines += ["", *(f"- {note}" for note in notes)]
    return "\n".join(lines) + "\n"


def latex(rows: Sequence[Row], title: str, notes: Sequence[str] = ()) -> str:
    """Write a LaTeX table (booktabs)."""
    heads, body = _texts(rows, "$\\pm$")
    left = len(heads) - len(COLUMNS) - 1
    lines = [
        f"% {title}; needs \\usepackage{{booktabs}}",
        *(f"% {note}" for note in notes),
        f"\\begin{{tabular}}{{{'l' * left}{'r' * (len(heads) - left)}}}",
        "\\toprule",
        " & ".join(_escape(head) for head in heads) + " \\\\",
        "\\midrule",
        *(" & ".join(_escape(text) for text in line) + " \\\\" for line in body),
        "\\bottomrule",
        "\\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def comma_separated(rows: Sequence[Row]) -> str:
    """Write a CSV table: full precision, fractions as fractions, empty where missing."""
    out = io.StringIO()
    names = list(rows[0].names) if rows else []
    heads = ["run_id", *names, "runs", "done"]
    for column in COLUMNS:
        heads += [f"{column.key}_mean", f"{column.key}_std", f"{column.key}_n"]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(heads)
    for row in rows:
        line: list[Any] = [row.run_id, *row.names.values(), row.runs, row.done]
        for column in COLUMNS:
            cell = row.cells[column.key]
            line += [cell.mean, cell.std, cell.n]
        writer.writerow(line)
    return out.getvalue()


def notes(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say what the numbers are and where they come from."""
    if not results:
        return []
    lines = [
        "Mean ± sample standard deviation over n seeds, without a spread for one seed; "
        f"{MISSING}: missing (the run failed or is not there); {NO_STAGE}: no such stage.",
        "RF and RP are dense / pruned FLOPs and parameters. Accuracies are top-1 on the test "
        "split, measured with ONNX Runtime on each run's own files.",
    ]
    latency = sorted({(r["latency"]["batch"], r["latency"]["threads"]) for r in results})
    shapes = "; ".join(f"one batch of {batch}, {threads} thread(s)" for batch, threads in latency)
    lines.append(f"ms: median latency of ONNX Runtime on the CPU ({shapes}).")
    cpus = sorted({f"{r['hardware']['cpu']}, {r['hardware']['cores']} cores" for r in results})
    days = sorted({r["finished"][:10] for r in results})
    commits = sorted({_commit(r["code"]) for r in results})
    lines.append(
        f"{len(results)} runs, {days[0]} to {days[-1]}; code {', '.join(commits)}; "
        f"{'; '.join(cpus)}."
    )
    return lines


def write(results: Path, source: Path, experiment: str) -> str:
    """Write all tables and the plot of an experiment; returns the Markdown.

    Raises:
        SettingError: there is nothing to tabulate.
        InputError: a result file is torn or of another schema version.
    """
    found = records.read_results(source, experiment)
    unfinished = records.read_unfinished(source, experiment)
    if not found and not unfinished:
        raise SettingError(
            f"there are no runs in {source / experiment}; make them with: "
            f"python -m experiments.run experiment={experiment}"
        )
    rows, remarks = build(found, unfinished), notes(found)
    folder = paths.tables(results)
    text = markdown(rows, experiment, remarks)
    files.write_text(folder / f"{experiment}.md", text)
    files.write_text(folder / f"{experiment}.tex", latex(rows, experiment, remarks))
    files.write_text(folder / f"{experiment}.csv", comma_separated(rows))

    from experiments import plots

    plots.accuracy_over_rf(rows, folder / experiment)
    return text


def show(column: Column, cell: Cell, plus_minus: str = "±") -> str:
    """Format one cell."""
    if cell.mean is None:
        return MISSING if cell.exists else NO_STAGE
    text = f"{cell.mean * column.scale:.{column.digits}f}"
    if cell.std is not None:
        text += f" {plus_minus} {cell.std * column.scale:.{column.digits}f}"
    return text


def _texts(rows: Sequence[Row], plus_minus: str) -> tuple[list[str], list[list[str]]]:
    names = list(rows[0].names) if rows else []
    heads = [*names, *(column.heading for column in COLUMNS), "n"]
    body = []
    for row in rows:
        count = str(row.done) if row.done == row.runs else f"{row.done} of {row.runs}"
        cells = [show(column, row.cells[column.key], plus_minus) for column in COLUMNS]
        body.append([*row.names.values(), *cells, count])
    return heads, body


def _names(what: Mapping[str, Any], shown: Sequence[str]) -> dict[str, str]:
    how = what["criterion"] or what["method"]
    if what.get("criterion") and what["method"] != "spa":
        how = f"{what['method']} {how}"
    if what.get("calibration"):
        moved = {True: ", statistics refreshed", "relative": ", statistics moved"}
        how += f" ({what['calibration']}{moved.get(what.get('bn_refresh'), '')})"
    ((quantity, value),) = what["asked"].items()
    names = {
        "model": what["model"],
        "time": what["time"],
        "method": how,
        "asked": f"{quantity.upper() if quantity != 'ratio' else quantity} {value:g}",
    }
    return names | {key: str(what.get(key) or "default") for key in shown}


def _exists(column: Column, time: str) -> bool:
    return not (column.key == "acc_finetuned" and time == "train_prune")


def _order(names: Mapping[str, str]) -> tuple[Any, ...]:
    time = names["time"]
    place = TIMES.index(time) if time in TIMES else len(TIMES)
    return names["model"], place, names["asked"], names["method"], *names.values()


def _distinct(rows: list[Row]) -> list[Row]:
    """Add the run id where two rows would read alike."""
    seen = [tuple(row.names.values()) for row in rows]
    if len(set(seen)) == len(seen):
        return rows
    return [
        Row(row.run_id, row.names | {"run": row.run_id}, row.cells, row.done, row.runs)
        for row in rows
    ]


def _commit(code: Mapping[str, Any]) -> str:
    commit = code.get("commit")
    if commit is None:
        return str(code.get("version"))
    return f"{commit[:10]}{' with changes' if code.get('dirty') else ''}"


def _escape(text: str) -> str:
    for mark in "&%#_":
        text = text.replace(mark, f"\\{mark}")
    return text.replace(MISSING, "---")


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m experiments.tables", description=__doc__)
    parser.add_argument("--experiment", help="one experiment; all when not given")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--source", type=Path, help="default: <results>/runs")
    parser.add_argument("--print", action="store_true", help="print the Markdown table")
    args = parser.parse_args(argv)
    source = args.source or args.results / "runs"
    try:
        names = [args.experiment] if args.experiment else _experiments(source)
        for name in names:
            text = write(args.results, source, name)
            if args.print:
                print(text)
            print(f"wrote {paths.tables(args.results)}/{name}.*", file=sys.stderr)
    except SpaError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _experiments(source: Path) -> list[str]:
    names = sorted(path.name for path in source.glob("*") if path.is_dir())
    if not names:
        raise SettingError(f"there are no experiments in {source}")
    return names


if __name__ == "__main__":
    raise SystemExit(main())
