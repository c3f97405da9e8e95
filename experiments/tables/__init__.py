"""Tables of an experiment's results: python -m experiments.tables.

result files -> rows -> layout -> Markdown, LaTeX, CSV.
"""

from experiments.results.columns import MISSING, NO_STAGE, Cell, Column, columns, show, summarise
from experiments.results.rows import Row, build
from experiments.tables.as_csv import comma_separated
from experiments.tables.as_latex import latex
from experiments.tables.as_markdown import markdown
from experiments.tables.best import best
from experiments.tables.command import main, write
from experiments.tables.footnote import notes

__all__ = [
    "MISSING",
    "NO_STAGE",
    "Cell",
    "Column",
    "Row",
    "best",
    "build",
    "columns",
    "comma_separated",
    "latex",
    "main",
    "markdown",
    "notes",
    "show",
    "summarise",
    "write",
]
