"""Text that came with a file, as it may be shown: on one line, without control, and not endless.

Names in a model are written by whoever made it. Shown as they are, they could clear the terminal,
or add a line "verified: ..." to a report.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

# What a name, a path or a sentence may take on a screen.
MOST = 1000
MOST_OF_A_MESSAGE = 1400
MOST_OF_A_CHECK = 4000
# Rows of a table, and what a cell of it may take.
MOST_ROWS = 40
MOST_OF_A_CELL = 60


def shown(text: str, most: int = MOST) -> str:
    r"""A text without characters that do more than be seen, and not too long.

    Example:
        >>> shown("conv\n1")
        'conv\\n1'
    """
    if len(text) > most:
        text = f"{text[: most // 2]} ... {text[-most // 4 :]}"
    return printable(text)


def printable(text: str) -> str:
    r"""A text, however long, whose line ends, escape codes and halves of characters are spelled.

    Example:
        >>> printable("a\x1b[31mb")
        'a\\x1b[31mb'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def all_shown(document: Any) -> Any:
    """A copy of JSON-ready values in which every text is one that can be shown."""
    if isinstance(document, str):
        return shown(document)
    if isinstance(document, dict):
        return {all_shown(key): all_shown(value) for key, value in document.items()}
    if isinstance(document, (list, tuple)):
        return [all_shown(value) for value in document]
    return document


Table = Sequence[Sequence[str]]


def as_text(rows: Table, most: int = MOST_ROWS) -> str:
    """A table as lines; the first row is its head, the first column stands left."""
    cut = _cut(rows, most)
    widths = [max(len(row[k]) for row in cut) for k in range(len(rows[0]))]
    lines = []
    for row in cut:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines + _rest(rows, most))


def as_html(title: str, rows: Table, most: int = MOST_ROWS) -> str:
    """The same for a notebook."""
    head, *body = _cut(rows, most)
    cells = [
        "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row) + "</tr>"
        for tag, row in (("th", head), *(("td", row) for row in body))
    ]
    rest = "".join(f"<p>{line}</p>" for line in _rest(rows, most))
    return f"<p>{html.escape(shown(title))}</p><table>{''.join(cells)}</table>{rest}"


def _cut(rows: Table, most: int) -> list[list[str]]:
    return [[shown(cell, MOST_OF_A_CELL) for cell in row] for row in rows[: most + 1]]


def _rest(rows: Table, most: int) -> list[str]:
    more = len(rows) - 1 - most
    return [f"... and {more:,} more"] if more > 0 else []
