"""Tables as CSV: full precision, fractions as fractions, empty where missing."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from experiments.results import literature
from experiments.results.rows import Row
from experiments.tables.layout import paper, sources

# These always have a column; other targets where one was asked for.
ASKED = ("rf", "rp", "ratio")


def comma_separated(rows: Sequence[Row]) -> str:
    """Write a CSV table."""
    out = io.StringIO()
    names = list(rows[0].names) if rows else []
    numbers = sources(rows)
    asked = dict.fromkeys((*ASKED, *(key for row in rows for key in row.asked)))
    heads = ["run_id", *names, *(f"asked_{key}" for key in asked), "runs", "done"]
    columns = rows[0].columns if rows else ()
    for column in columns:
        heads += [f"{column.key}_mean", f"{column.key}_std", f"{column.key}_n"]
    heads += ["literature", "literature_source"] if numbers else []
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*heads, "spa_paper"])
    for row in rows:
        line: list[Any] = [row.run_id, *row.names.values(), *map(row.asked.get, asked)]
        line += [row.runs, row.done]
        for column in columns:
            cell = row.cells[column.key]
            line += [cell.mean, cell.std, cell.n]
        if numbers:
            quoted = [literature.show(p, numbers[p.title, p.source]) for p in row.published]
            line.append("; ".join(quoted))
            line.append("; ".join(f"{p.title}: {p.source}" for p in row.published))
        writer.writerow([*line, paper(row)])
    return out.getvalue()
