"""What a table says, cell by cell, before it is Markdown or LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from experiments.results import literature
from experiments.results.columns import MISSING, show
from experiments.results.rows import Row
from experiments.tables.best import best

NOT_AVAILABLE = "not available"


@dataclass(frozen=True)
class Text:
    """A cell's text, and whether it is the best of its block."""

    text: str
    bold: bool = False


@dataclass(frozen=True)
class Line:
    """One row's cells, and whether a rule goes before it: where another block begins."""

    cells: list[Text]
    rule: bool


@dataclass(frozen=True)
class Layout:
    """A table.

    Attributes:
        heads: of all columns; the last is the run id.
        right: which of them hold numbers and go to the right.
    """

    heads: list[str]
    right: list[bool]
    lines: list[Line]


def sources(rows: Sequence[Row]) -> dict[tuple[str, str], int]:
    """Number the sources of what is published, by title and source, as the rows come to them."""
    found = dict.fromkeys((p.title, p.source) for row in rows for p in row.published)
    return {source: i for i, source in enumerate(found, start=1)}


def lay_out(rows: Sequence[Row]) -> Layout:
    """Say what stands in every cell. The literature has a column where there is any."""
    names = list(rows[0].names) if rows else []
    numbers, bold = sources(rows), best(rows)
    columns = rows[0].columns if rows else ()
    heads = [*names, *(column.heading for column in columns)]
    right = [False] * len(names) + [True] * len(columns)
    heads += ["literature: acc. % at RF, source"] if numbers else []
    heads += ["SPA paper", "n", "run"]
    right += [False] * (len(heads) - len(right) - 2) + [True, False]
    blocks = [row.block for row in rows]
    ruled = len(set(blocks)) < len(rows)  # a rule between any two rows would part nothing
    lines = []
    for i, row in enumerate(rows):
        cells = [Text(name) for name in row.names.values()]
        cells += [Text(show(c, row.cells[c.key]), (i, c.key) in bold) for c in columns]
        if numbers:
            quoted = [literature.show(p, numbers[p.title, p.source]) for p in row.published]
            cells.append(Text("; ".join(quoted) or MISSING))
        cells += [Text(text) for text in (paper(row), count(row), row.run_id or MISSING)]
        lines.append(Line(cells, ruled and i > 0 and blocks[i] != blocks[i - 1]))
    return Layout(heads, right, lines)


def paper(row: Row) -> str:
    """Return what SPA's own paper says of a row: its tables could not be read."""
    return NOT_AVAILABLE if row.by_spa else ""


def count(row: Row) -> str:
    """Return how many seeds are done, of how many where some are not."""
    if not row.run_id:
        return MISSING
    return str(row.done) if row.done == row.runs else f"{row.done} of {row.runs}"
