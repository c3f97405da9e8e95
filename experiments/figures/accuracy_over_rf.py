"""The task's first metric over RF: a panel for each model and time, a line for each setting.

Every line starts at the dense network (RF 1). The band is the mean ± the sample standard deviation
over seeds; a row with one seed has none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from experiments.figures import FIGURES, series
from experiments.figures.style import legend, look, panels, rule
from experiments.results.columns import Cell
from experiments.results.rows import Row
from experiments.results.schema import Result
from experiments.tasks import Metric
from experiments.times import TIMES

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@FIGURES.register("accuracy_over_rf")
def accuracy_over_rf(results: Sequence[Result]) -> Figure | None:
    """Draw it; None where no run was measured."""
    found = [row for row in series.rows(results) if row.final.mean is not None]
    if not found:
        return None
    names = series.names(found)
    split = " or ".join(sorted({result["split"] for result in results}))
    lines = sorted(set(names.values()))
    subjects = list(dict.fromkeys(series.subject(row, found) for row in found))
    times = [time for time in TIMES if any(row.block[-1] == time for row in found)]
    figure, grid = panels(len(subjects), len(times), 2.7, 2.1, sharex=True, sharey="row")
    for axes, subject in zip(grid, subjects, strict=True):
        mine = [row for row in found if series.subject(row, found) == subject]
        for panel, time in zip(axes, times, strict=True):
            here = [row for row in mine if row.block[-1] == time]
            for i, name in enumerate(lines):
                _line(panel, [row for row in here if names[row.run_id] == name], i)
            panel.set_title(f"{subject}, {time.replace('_', '-')}", fontsize=9)
            rule(panel)
        _limits(axes[0], mine)
        metric = _metric(mine[0])
        unit = f", {metric.unit}" if metric.unit else ""
        axes[0].set_ylabel(f"{split} {metric.name}{unit}")
    for panel in grid[-1]:
        panel.set_xlabel("RF (dense / pruned FLOPs)")
    legend(figure, grid[0][0], lines)
    return figure


def _line(panel: Any, rows: Sequence[Row], i: int) -> None:
    points = []
    for row in rows:
        points.append((row.cells["rf"].mean, *_shown(row, row.final)))
    # One dense network, whatever the rows: but a row may have other seeds than the next.
    starts = [row for row in rows if row.first("dense").mean is not None]
    if starts:
        best = max(starts, key=lambda row: row.first("dense").n)
        points.append((1.0, *_shown(best, best.first("dense"))))
    if not points:
        return
    x, y, spread = zip(*sorted(points), strict=True)
    style = look(i)
    panel.plot(x, y, **style)
    low = [value - each for value, each in zip(y, spread, strict=True)]
    high = [value + each for value, each in zip(y, spread, strict=True)]
    if any(spread):
        panel.fill_between(x, low, high, color=style["color"], alpha=0.15, linewidth=0)


def _metric(row: Row) -> Metric:
    return next(column.metric for column in row.columns if column.metric is not None)


def _shown(row: Row, cell: Cell) -> tuple[float, float]:
    assert cell.mean is not None
    scale = _metric(row).scale
    return scale * cell.mean, scale * (cell.std or 0)


def _limits(panel: Any, rows: Sequence[Row]) -> None:
    """Have the axis of a percentage start at a ten below all lines and bands, and end at 100."""
    if _metric(rows[0]).unit != "%":
        return
    cells = [(row, cell) for row in rows for cell in (row.final, row.first("dense"))]
    least = min(sum((m, -s)) for m, s in (_shown(*c) for c in cells if c[1].mean is not None))
    lowest = max(0, 10 * math.floor(least / 10 - 0.2))
    panel.set_ylim(lowest, 100 + (100 - lowest) * 0.03)
