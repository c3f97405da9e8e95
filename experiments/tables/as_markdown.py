"""Tables as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from experiments.results.rows import Row
from experiments.tables.layout import Text, lay_out


def markdown(
    rows: Sequence[Row],
    title: str,
    notes: Sequence[str] = (),
    links: Mapping[str, str] | None = None,
) -> str:
    """Write a Markdown table.

    Args:
        rows: of `build`.
        title: the heading.
        notes: said below the table, a point each.
        links: by run id, where its record lies, seen from the table.
    """
    layout = lay_out(rows)
    rule = ["---:" if right else "---" for right in layout.right]
    body = []
    for row, line in zip(rows, layout.lines, strict=True):
        *cells, run = map(_text, line.cells)
        link = (links or {}).get(row.run_id)
        body.append([*cells, f"[{run}]({link})" if link else run])
    lines = [f"# {title}", ""]
    lines += ["| " + " | ".join(line) + " |" for line in (layout.heads, rule, *body)]
    lines += ["", *(f"- {note}" for note in notes)]
    return "\n".join(lines) + "\n"


def _text(cell: Text) -> str:
    text = cell.text.replace("|", "\\|")
    return f"**{text}**" if cell.bold else text
