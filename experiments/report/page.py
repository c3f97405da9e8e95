"""Content in, one HTML page out: everything is in it, so it opens from any folder, offline.

Whatever comes from a result file is text of others: the template escapes it, the script only ever
sets it as text, and the page's policy lets no script run but the one that lies beside this file.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from experiments import tables
from experiments.report import numbers
from experiments.report.content import Content, Run, facts, natural
from experiments.report.embedded import Embedded
from experiments.report.figures import figures
from spa.errors import MissingExtra
from spa.report.drawing import LEGEND, draw
from spa.report.page import STYLE

HERE = Path(__file__).resolve().parent
_FEW = 12  # a column with at most so many values gets a drop-down


@dataclass(frozen=True)
class Heading:
    """A column: its text, whether its cells are numbers, and what its drop-down offers."""

    text: str
    number: bool = False
    choices: tuple[str, ...] = ()


class Cell(NamedTuple):
    """A cell: its text, and the number that it is sorted by; None comes last."""

    text: str
    sort: float | None


@dataclass(frozen=True)
class Graph:
    """The groups of one network, drawn for the first of its runs.

    Attributes:
        runs: places of the runs that have these groups, and what each is called.
    """

    title: str
    svg: str
    groups: int
    runs: list[tuple[int, str]]


def render(content: Content) -> str:
    """Write the page.

    Raises:
        MissingExtra: Jinja2 or Matplotlib is not installed.
    """
    try:
        import jinja2
        from markupsafe import Markup
    except ImportError as error:
        raise MissingExtra("jinja2", "experiments", "writing a report") from error
    environment = jinja2.Environment(
        **{"autoescape": True, "trim_blocks": True, "lstrip_blocks": True},
        loader=jinja2.FileSystemLoader(HERE),
        undefined=jinja2.StrictUndefined,
    )
    environment.globals["anchor"] = anchor
    script = (HERE / "page.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    every = content.every()
    headings, rows = table(content.rows)
    data = Embedded().of(every)
    places = enumerate(every)
    return environment.get_template("page.html").render(
        experiment=content.experiment,
        facts=facts(content),
        **{"headings": headings, "rows": rows},
        notes=tables.notes(content.results(), compares=False),
        figures=[figure._replace(svg=Markup(figure.svg)) for figure in figures(content.results())],
        graphs=[(graph, Markup(graph.svg)) for graph in graphs(every, data)],
        settings=[(row, [next(places) for _ in content.runs[row.run_id]]) for row in content.rows],
        numbers=numbers,
        data=data,
        legend=Markup(LEGEND),
        style=Markup(STYLE.read_text("utf-8") + (HERE / "page.css").read_text("utf-8")),
        script=Markup(script),
        script_hash=digest,
    )


def table(rows: Sequence[tables.Row]) -> tuple[list[Heading], list[tuple[str, list[Cell]]]]:
    """Return the columns, and each row's run id and cells."""
    keys = [key for key in rows[0].names if key != "run"]  # the id is there anyhow
    headings, ranks = [], []
    for key in keys:
        values = sorted({row.names[key] for row in rows}, key=natural)
        choices = tuple(values) if 1 < len(values) <= _FEW else ()
        headings.append(Heading(key, choices=choices))
        ranks.append({value: float(rank) for rank, value in enumerate(values)})
    headings += [Heading(column.heading, number=True) for column in rows[0].columns]
    body = []
    for row in rows:
        cells = [
            Cell(row.names[key], rank[row.names[key]])
            for key, rank in zip(keys, ranks, strict=True)
        ]
        for column in row.columns:
            cell = row.cells[column.key]
            cells.append(Cell(tables.show(column, cell), cell.mean))
        count = str(row.done) if row.done == row.runs else f"{row.done} of {row.runs}"
        body.append((row.run_id, [*cells, Cell(count, float(row.done))]))
    return [*headings, Heading("n", number=True)], body


def graphs(every: Sequence[Run], data: dict[str, Any]) -> list[Graph]:
    """Draw the groups of every network once; runs of it differ in what went."""
    same: dict[tuple[str, str, int], list[int]] = {}
    for place, run in enumerate(every):
        structure = data["runs"][place]["structure"]
        if structure is not None and data["structures"][structure]:
            same.setdefault((run.model, run.framework, structure), []).append(place)
    several = len({framework for _, framework, _ in same}) > 1
    made = []
    for (model, framework, _), places in same.items():
        title = f"{model}, {framework}" if several else model
        plan = every[places[0]].plan
        if plan is not None:
            svg = draw(plan.groups, f"Groups of coupled channels of {title}")
            named = [(place, f"{every[place].run_id} seed {every[place].seed}") for place in places]
            made.append(Graph(title, svg, len(plan.groups), named))
    return made


def anchor(*parts: object) -> str:
    """Name a place in the page; different parts give different names."""
    return "-".join(
        re.sub(r"[^0-9A-Za-z]", lambda mark: f"_{ord(mark[0]):x}_", str(part)) for part in parts
    )
