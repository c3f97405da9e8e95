"""Tables as Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from experiments.results.rows import Row
from experiments.tables.layout import Text, lay_out
from spa.showing import printable


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
        body.append([*cells, f"[{run}]({quote(link)})" if link else run])
    lines = [f"# {escaped(title)}", ""]
    heads = [escaped(head) for head in layout.heads]
    lines += ["| " + " | ".join(line) + " |" for line in (heads, rule, *body)]
    lines += ["", *(f"- {escaped(note)}" for note in notes)]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Write a text so that Markdown shows it as it is, on one line, in a cell of a table too.

    An underscore inside of a word, and brackets that no link could follow, mean nothing and stay.
    """
    return _MARKS.sub(r"\\\g<0>", printable(" ".join(text.split())).replace("\\", "\\\\"))


_MARKS = re.compile(r"[`*|<>~]|&(?=#?\w+;)|\](?=[(\[:])|(?<![^\W_])_|_(?![^\W_])|^(?:#|[-+](?= ))")


def _text(cell: Text) -> str:
    text = escaped(cell.text)
    return f"**{text}**" if cell.bold else text
