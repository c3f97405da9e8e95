"""Tables as LaTeX, in the manner of booktabs: a rule between blocks, none between columns."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.results.columns import MISSING
from experiments.results.rows import Row
from experiments.tables.layout import Text, lay_out
from spa.showing import printable

_MARKS = {
    **{mark: f"\\{mark}" for mark in "&%#_${}"},
    **{"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}"},
    **{"±": "$\\pm$", MISSING: "---"},
}


def latex(rows: Sequence[Row], title: str, notes: Sequence[str] = ()) -> str:
    """Write a LaTeX table (booktabs); the notes are comments before it."""
    layout = lay_out(rows)
    lines = [
        f"% {_line(title)}; needs \\usepackage{{booktabs}}",
        *(f"% {_line(note)}" for note in notes),
        f"\\begin{{tabular}}{{{''.join('r' if right else 'l' for right in layout.right)}}}",
        "\\toprule",
        " & ".join(map(_escape, layout.heads)) + " \\\\",
        "\\midrule",
    ]
    for line in layout.lines:
        lines += ["\\midrule"] if line.rule else []
        lines.append(" & ".join(map(_text, line.cells)) + " \\\\")
    lines += ["\\bottomrule", "\\end{tabular}"]
    return "\n".join(lines) + "\n"


def _text(cell: Text) -> str:
    return f"\\textbf{{{_escape(cell.text)}}}" if cell.bold else _escape(cell.text)


def _escape(text: str) -> str:
    return "".join(_MARKS.get(mark, mark) for mark in _line(text))


def _line(text: str) -> str:
    """A comment ends where its line does."""
    return printable(" ".join(text.split()))
