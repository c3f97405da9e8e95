"""Latency over MACs: a panel for each model, framework and data set, a mark for each setting.

The dense network is a black ring. On the dotted line, time shrinks as the MACs do.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from experiments.figures import FIGURES, series
from experiments.figures.style import legend, look, panels, rule
from experiments.results.columns import summarise
from experiments.results.rows import Row
from experiments.results.schema import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 4


@FIGURES.register("latency_over_macs")
def latency_over_macs(results: Sequence[Result]) -> Figure | None:
    """Draw it."""
    from matplotlib.lines import Line2D

    found = series.rows(results)
    names = series.names(found, (*series.ELSEWHERE, "framework"))
    lines = sorted(set(names.values()))
    by_run: dict[str, list[Result]] = {}
    for result in results:
        by_run.setdefault(result["run_id"], []).append(result)
    subjects: dict[str, list[Row]] = {}
    for row in found:
        subjects.setdefault(series.subject(row, found, framework=True), []).append(row)
    columns = min(COLUMNS, len(subjects))
    figure, grid = panels(-(-len(subjects) // columns), columns, 2.4, 2.0)
    for panel in grid.flat[len(subjects) :]:
        panel.set_axis_off()
    for panel, (subject, rows) in zip(grid.flat, subjects.items(), strict=False):
        unit, scale = _unit([result for row in rows for result in by_run[row.run_id]])
        _dense(panel, [result for row in rows for result in by_run[row.run_id]], scale)
        for i, name in enumerate(lines):
            _marks(panel, [by_run[r.run_id] for r in rows if names[r.run_id] == name], i, scale)
        panel.set_xlim(left=0)
        panel.set_ylim(bottom=0)
        panel.set_title(subject, fontsize=9)
        panel.set_xlabel(f"{unit} of a sample")
        rule(panel)
    for axes in grid:
        axes[0].set_ylabel("latency of a batch, ms")
    dense = Line2D([], [], color="black", marker="o", fillstyle="none", linestyle=":")
    dense.set_label("dense, and as its MACs shrink")
    legend(figure, grid[0][0], lines, [dense], dashed=False)
    return figure


def _marks(panel: Any, runs: Sequence[Sequence[Result]], i: int, scale: float) -> None:
    if runs:
        x = [statistics.fmean(r["macs"]["pruned"] for r in seeds) / scale for seeds in runs]
        cells = [summarise(r["latency_ms"]["pruned"] for r in seeds) for seeds in runs]
        y, spread = [cell.mean for cell in cells], [cell.std or 0 for cell in cells]
        style = look(i) | {"linestyle": "none"}
        panel.errorbar(x, y, yerr=spread, capsize=2, elinewidth=1, **style)


def _unit(results: Sequence[Result]) -> tuple[str, float]:
    largest = max(result["macs"]["dense"] for result in results)
    return ("GMACs", 1e9) if largest >= 1e9 else ("MMACs", 1e6)


def _dense(panel: Any, results: Sequence[Result], scale: float) -> None:
    """Draw the dense network; its latency was measured again for each run, so it is the median."""
    sizes = sorted({result["macs"]["dense"] for result in results})
    for size in sizes:
        times = [r["latency_ms"]["dense"] for r in results if r["macs"]["dense"] == size]
        x, y = size / scale, statistics.median(times)
        panel.plot([0, x], [0, y], color="black", linestyle=":", linewidth=0.8)
        panel.plot([x], [y], color="black", marker="o", fillstyle="none", markersize=7)
