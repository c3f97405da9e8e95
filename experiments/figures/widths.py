"""Pruned widths per layer: for every group of coupled channels, how many of how many are left.

A row of panels for each model; a panel for each setting, with the mean over its seeds. Groups are
named by their first parameter and stand in the plan's order, the first on top.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from experiments.figures import FIGURES, series
from experiments.figures.style import COLOURS, GREY, rule
from experiments.results.rows import Row
from experiments.results.schema import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 4
# More would be a poster. A model has its share of them, and of more settings as many as that,
# spread evenly over the table's rows.
PANELS = 24
NAMED = 36  # groups; the names of more would run into each other


@FIGURES.register("widths")
def widths(results: Sequence[Result]) -> Figure | None:
    """Draw it; None where no run has recorded widths."""
    runs: dict[str, list[Result]] = {}
    for result in results:
        if result["widths"]:
            runs.setdefault(result["run_id"], []).append(result)
    found = [row for row in series.rows(results) if row.run_id in runs]
    if not found:
        return None
    names = series.names(found)
    networks: dict[tuple[str, tuple[str, ...]], list[Row]] = {}
    for row in found:
        groups = tuple(width["name"] for width in runs[row.run_id][0]["widths"])
        networks.setdefault((series.subject(row, found), groups), []).append(row)
    lines = []
    most = min(max(PANELS // len(networks), COLUMNS), PANELS // 2)
    for (subject, groups), rows in networks.items():
        chosen = _spread(rows, most)
        columns = math.ceil(len(chosen) / math.ceil(len(chosen) / COLUMNS))
        for start in range(0, len(chosen), columns):
            lines.append((subject, groups, chosen[start : start + columns]))
    figure = _draw(lines, names, runs)
    if any(len(rows) > most for rows in networks.values()):
        figure.suptitle(f"{most} settings of a model are shown, of more", fontsize=7)
    return figure


def _spread(rows: Sequence[Row], most: int) -> list[Row]:
    if len(rows) <= most:
        return list(rows)
    return [rows[round(i * (len(rows) - 1) / (most - 1))] for i in range(most)]


def _draw(lines: Sequence[Any], names: dict[str, str], runs: dict[str, list[Result]]) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    columns = max(len(rows) for _, _, rows in lines)
    heights = [0.75 + min(max(0.13 * len(groups), 0.8), 3.6) for _, groups, _ in lines]
    figure = Figure(figsize=(1.6 + 1.9 * columns, sum(heights) + 0.3), layout="constrained")
    grid = figure.subplots(len(lines), columns, squeeze=False, height_ratios=heights)
    for axes, (subject, groups, rows) in zip(grid, lines, strict=True):
        for panel in axes[len(rows) :]:
            panel.set_axis_off()
        for panel, row in zip(axes, rows, strict=False):
            _bars(panel, runs[row.run_id], groups)
            time = row.block[-1].replace("_", "-")
            what = f"{names[row.run_id]}, {row.names['asked']}"
            panel.set_title(f"{subject}, {time}\n{what}", fontsize=7)
            panel.set_yticks([])
            panel.set_ylim(len(groups) - 0.4, -0.6)
            panel.tick_params(labelsize=6, length=2)
        if len(groups) <= NAMED:
            axes[0].set_yticks(range(len(groups)), [_short(name) for name in groups])
        else:
            axes[0].set_ylabel(f"{len(groups)} groups", fontsize=7)
        axes[0].set_xlabel("channels", fontsize=7)
    handles = [Patch(color=GREY, label="dense"), Patch(color=COLOURS[0], label="pruned")]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=7)
    return figure


def _bars(panel: Any, results: Sequence[Result], groups: Sequence[str]) -> None:
    # A seed whose groups are others (the network was changed between) has no part in the mean.
    alike = [r["widths"] for r in results if tuple(w["name"] for w in r["widths"]) == groups]
    dense = [width["dense"] for width in alike[0]]
    pruned = [statistics.fmean(w["pruned"] for w in seeds) for seeds in zip(*alike, strict=True)]
    _stairs(panel, dense, 0.8, GREY)
    _stairs(panel, pruned, 0.5, COLOURS[0])
    panel.set_xlim(0, 1.05 * max(dense))
    rule(panel)
    panel.grid(visible=False, axis="y")


def _stairs(panel: Any, values: Sequence[float], height: float, colour: str) -> None:
    """Draw bars as one shape, as a big network's would take seconds one by one."""
    edges = [i + side * height / 2 for i in range(len(values)) for side in (-1, 1)]
    steps = [step for value in values for step in (value, 0)][:-1]
    panel.stairs(steps, edges, orientation="horizontal", fill=True, color=colour, linewidth=0)


def _short(name: str, longest: int = 26) -> str:
    """Drop the end that all weights share, and the middle of what is still too long."""
    name = name.removesuffix(".weight")
    return name if len(name) <= longest else f"{name[:8]}…{name[9 - longest :]}"
