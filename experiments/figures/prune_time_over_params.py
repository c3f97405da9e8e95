"""Prune time over model size: a line for each method and setting, a point for each dense network.

An axis is logarithmic where its values span more than a factor of ten. A point is the median over
all runs of the method on the network, whatever their target, and a bar goes from the least to the
most: one slow run would drag a mean along, and a spread around it below zero.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from experiments.figures import FIGURES, series
from experiments.figures.style import legend, look, panels, rule
from experiments.results.schema import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SPAN = 10


@FIGURES.register("prune_time_over_params")
def prune_time_over_params(results: Sequence[Result]) -> Figure | None:
    """Draw it."""
    from matplotlib.ticker import EngFormatter

    found = series.rows(results)
    names = series.names(found)
    seconds: dict[str, dict[float, list[float]]] = {}
    for result in results:
        points = seconds.setdefault(names[result["run_id"]], {})
        points.setdefault(result["params"]["dense"], []).append(result["prune_seconds"])
    figure, grid = panels(1, 1, 4.2, 2.7)
    panel = grid[0][0]
    for i, name in enumerate(sorted(seconds)):
        sizes = sorted(seconds[name])
        times = [seconds[name][size] for size in sizes]
        middle = [statistics.median(each) for each in times]
        down = [m - min(each) for m, each in zip(middle, times, strict=True)]
        up = [max(each) - m for m, each in zip(middle, times, strict=True)]
        panel.errorbar(sizes, middle, yerr=[down, up], capsize=2, elinewidth=1, **look(i))
    every = [time for points in seconds.values() for times in points.values() for time in times]
    _scale(panel, "x", [x for points in seconds.values() for x in points])
    _scale(panel, "y", every)
    panel.xaxis.set_major_formatter(EngFormatter(sep=""))
    panel.yaxis.set_major_formatter("{x:g}")
    panel.set_xlabel("parameters of the dense network")
    panel.set_ylabel("pruning, s")
    rule(panel)
    legend(figure, panel, sorted(seconds))
    return figure


def _scale(panel: Any, which: str, values: Sequence[float]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    axis, limits = getattr(panel, f"{which}axis"), getattr(panel, f"set_{which}lim")
    low, high = min(values), max(values)
    if not (low > 0 and high > SPAN * low):
        limits(0, 1.08 * high or 1)
        return
    getattr(panel, f"set_{which}scale")("log")
    limits(low / 1.5, high * 1.5)
    if high < SPAN**2 * low:  # else it may have one power of ten, and so one number
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_minor_formatter(NullFormatter())
