"""A model and a plan in, one HTML page out: what went, by layer and by group of coupled channels.

The plan is checked against the model, and all that is drawn is read off the model's own groups, so
the page shows what `spa apply` does. Everything is in it and nothing runs in it: it opens from any
folder, offline. Names are text of others: each is escaped, and shown without what does more than be
seen.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spa.coupling.groups import Groups, find_groups
from spa.graph.cost import Cost
from spa.graph.model import Model
from spa.pruning.plan import Plan, build_plan, cut_of
from spa.pruning.widths import HEAD, widths
from spa.report.bars import draw_widths
from spa.report.drawing import LEGEND, draw
from spa.report.ranges import ranges
from spa.selection.costs import CostModel
from spa.showing import shown

STYLE = Path(__file__).parent / "page.css"
# No script at all, and nothing from elsewhere.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'"
# What a cell may take: lists of indices of wide layers are long.
_MOST = 20_000


def page(model: Model, plan: Plan, title: str, groups: Groups | None = None) -> str:
    """Writes the page of a pruning.

    Args:
        model: the dense model.
        plan: what goes.
        title: what the model is called.
        groups: the model's groups, where they are at hand already.

    Returns:
        The page, as HTML.

    Raises:
        PlanError: the plan does not fit the model.

    Example:
        >>> text = page(spa.load("model.onnx"), spa.Plan.load("plan.json"), "model.onnx")
        >>> pathlib.Path("page.html").write_text(text)
    """
    groups = find_groups(model, **plan.coupled) if groups is None else groups
    removed = _removed(plan, groups)
    held = build_plan(
        groups, removed, criterion=plan.criterion, target=plan.target, reached=plan.reached,
        settings=plan.settings, notes=plan.notes,
    )  # fmt: skip
    costs = CostModel(groups.coupling)
    dense, pruned = costs.cost(np.zeros_like(removed)), costs.cost(removed)
    notes = "".join(f'<p class="note">{_text(note)}</p>' for note in plan.notes)
    shrunk = [width.row for width in widths(held, model.proto)]
    sections = (
        ("widths", "Widths", _widths(held)),
        ("groups", "Groups of coupled channels", _graph(held)),
        ("weights", "Weights that shrank", _table("Weights", HEAD, shrunk, numbers=(1, 2, 3))),
        ("channels", "Channels that went", _channels(held)),
        ("kept", "What is kept dense, and why", _kept(groups)),
    )
    facts = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{_text(text)}</dd></div>"
        for name, text in _facts(held, dense, pruned)
    )
    links = "".join(f'<a href="#{name}">{heading}</a>\n' for name, heading, _ in sections)
    body = "".join(
        f'<section id="{name}" aria-labelledby="{name}-title">\n<h2 id="{name}-title">{heading}'
        f"</h2>\n{content}\n</section>\n"
        for name, heading, content in sections
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{_text(title)} · SPA</title>
<link rel="icon" href="data:,">
<style>
{STYLE.read_text("utf-8")}</style>
</head>
<body>
<header>
<p class="over">Structurally Prune Anything · pruning</p>
<h1>{_text(title)}</h1>
<dl class="facts">{facts}</dl>
{notes}
<nav aria-label="Sections">
{links}</nav>
</header>
<main>
{body}</main>
</body>
</html>
"""


def _removed(plan: Plan, groups: Groups) -> npt.NDArray[np.bool_]:
    """Whether a component goes, shape (components,), by a plan that fits."""
    components = groups.coupling.components
    removed = np.zeros(components.kept.size, dtype=bool)
    removed[components.of[cut_of(plan, groups.coupling).removed]] = True
    return removed


def _facts(plan: Plan, dense: Cost, pruned: Cost) -> Iterable[tuple[str, str]]:
    """What was asked, and what it came to: headings and texts."""
    channels = sum(group.channels for group in plan.groups)
    gone = sum(len(group.removed) for group in plan.groups)
    yield "asked", _values(plan.target)
    yield "reached", _values(plan.reached, digits=3)
    yield "parameters", f"{dense.params:,} → {pruned.params:,}"
    yield "MACs of the example", f"{dense.macs:,} → {pruned.macs:,}"
    yield "channels removed", f"{gone:,} of {channels:,} in {len(plan.groups)} groups"
    yield "criterion", plan.criterion
    yield "removal", "exact" if plan.exact else "approximate in some groups (dashed)"
    for name in ("method", "scope", "round_to", "max_ratio", "aggregate", "normalize"):
        if name in plan.settings:
            yield name.replace("_", " "), str(plan.settings[name])
    for name in ("include", "exclude", "floors", "caps", "ratios"):
        if plan.settings.get(name):
            yield name, json.dumps(plan.settings[name], default=str)
    yield "model, sha256", plan.model


def _values(values: Mapping[str, float], digits: int = 0) -> str:
    how = f".{digits}f" if digits else "g"
    return ", ".join(f"{name} {value:{how}}" for name, value in values.items())


def _widths(plan: Plan) -> str:
    if not plan.groups:
        return '<p class="note">No group of this model may shrink.</p>'
    svg = draw_widths(plan.groups, "Channels of each group, dense and pruned")
    legend = (
        "Channels of each group, dense → pruned, by the weight that makes them "
        '(<span class="swatch kept"></span> left).'
    )
    return f'<p class="legend">{legend}</p>\n<div class="scroll">{svg}</div>'


def _graph(plan: Plan) -> str:
    if not plan.groups:
        return '<p class="note">There are none.</p>'
    svg = draw(plan.groups, "Groups of coupled channels")
    return (
        f'<p class="legend">{LEGEND}</p>\n<article class="graph"><div class="scroll" role="region" '
        f'aria-label="Graph of groups" tabindex="0">{svg}</div></article>'
    )


def _channels(plan: Plan) -> str:
    rows = [
        (
            str(group.id),
            f"{group.channels} → {group.channels - len(group.removed)}",
            "yes" if group.exact else "approximate",
            ranges(group.removed) or "none",
            ", ".join(f"{shown(name)} axis {axis}" for name, axis in group.members),
        )
        for group in plan.groups
    ]
    heads = ("group", "channels", "exact", "channels gone", "members")
    return _table("Channels", heads, rows, wrapped=(3, 4))


def _kept(groups: Groups) -> str:
    rows = [
        (kept.tensor, str(kept.axis), f"{kept.kept} of {kept.size}", kept.reason)
        for kept in groups.kept
    ]
    table = _table("Kept axes", ("weight", "axis", "indices", "why"), rows, wrapped=(3,))
    return f"<details><summary>{len(rows)} axes of weights</summary>\n{table}</details>"


def _table(
    label: str,
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    numbers: Sequence[int] = (),
    wrapped: Sequence[int] = (),
) -> str:
    """A table; the first column heads the rows."""
    if not rows:
        return '<p class="note">None.</p>'
    kinds = {**dict.fromkeys(numbers, ' class="number"'), **dict.fromkeys(wrapped, ' class="wrap"')}
    head = "".join(
        f'<th scope="col"{kinds.get(k, "")}>{escape(text)}</th>' for k, text in enumerate(heads)
    )
    lines = []
    for row in rows:
        cells = [f"<td{kinds.get(k, '')}>{_text(text)}</td>" for k, text in enumerate(row)]
        lines.append(f'<tr><th scope="row">{_text(row[0])}</th>{"".join(cells[1:])}</tr>')
    return (
        f'<div class="scroll" role="region" aria-label="{escape(label)}" tabindex="0"><table>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(lines) + "\n</tbody></table></div>"
    )


def _text(text: Any) -> str:
    """A text of others, as HTML."""
    return escape(shown(str(text), _MOST))
