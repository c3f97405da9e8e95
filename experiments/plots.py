"""Accuracy over RF: a panel for each model and time, a line for each method and setting.

Every line starts at the dense network (RF 1). Colours are Okabe and Ito's, which stay apart for
the colour-blind; markers and dashes differ too, so that a grey print can be read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.settings import TIMES

if TYPE_CHECKING:
    from experiments.tables import Row

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"
DASHES = ("-", "--", "-.", ":")


def accuracy_over_rf(rows: Sequence[Row], stem: Path) -> None:
    """Write <stem>.svg and <stem>.png."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    shown = [row for row in rows if row.cells["rf"].mean is not None]
    models = list(dict.fromkeys(row.names["model"] for row in shown))
    times = [time for time in TIMES if any(row.names["time"] == time for row in shown)]
    methods = sorted({_series(row) for row in shown})
    ends = [cell for row in shown for cell in (final(row), row.cells["acc_dense"])]
    least = min((100 * (c.mean - (c.std or 0)) for c in ends if c.mean is not None), default=0)
    lowest = max(0, 10 * math.floor(least / 10 - 0.2))
    # Fixed names inside the SVG and no date: the same records give the same file.
    with mpl.rc_context({"svg.hashsalt": "spa", "font.size": 9}):
        shape = (max(len(models), 1), max(len(times), 1))
        figure = Figure(figsize=(1.2 + 2.7 * shape[1], 1.1 + 2.2 * shape[0]), layout="constrained")
        panels = figure.subplots(*shape, squeeze=False, sharex=True, sharey=True)
        for axes, model in zip(panels, models, strict=False):
            for panel, time in zip(axes, times, strict=True):
                mine = [r for r in shown if r.names["model"] == model and r.names["time"] == time]
                _panel(panel, mine, methods)
                panel.set_ylim(lowest, 100 + (100 - lowest) * 0.03)
                panel.set_title(f"{model}, {time.replace('_', '-')}", fontsize=9)
        for panel in panels[-1]:
            panel.set_xlabel("RF (dense / pruned FLOPs)")
        for axes in panels:
            axes[0].set_ylabel("test accuracy, %")
        if methods:
            handles = [
                panels[0][0].plot([], [], label=name, **_look(i))[0]
                for i, name in enumerate(methods)
            ]
            figure.legend(
                handles=handles, loc="outside lower center", ncols=min(len(methods), 2 * shape[1])
            )
        stem.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(f"{stem}.svg", metadata={"Date": None})
        figure.savefig(f"{stem}.png", dpi=150, metadata={"Software": None})


def final(row: Row) -> Any:
    """Return the accuracy that a row ends with: fine-tuned, or pruned where nothing follows."""
    tuned = row.cells["acc_finetuned"]
    return tuned if tuned.exists else row.cells["acc_pruned"]


def _panel(panel: Any, rows: Sequence[Row], methods: Sequence[str]) -> None:
    for i, name in enumerate(methods):
        points = []
        for row in rows:
            end, start = final(row), row.cells["acc_dense"]
            if _series(row) == name and end.mean is not None:
                points.append((row.cells["rf"].mean, end.mean * 100, (end.std or 0) * 100))
                if start.mean is not None:
                    points.append((1.0, start.mean * 100, 0.0))
        points = sorted(set(points))
        if points:
            x, y, spread = zip(*points, strict=True)
            panel.errorbar(x, y, yerr=spread, capsize=2, **_look(i))
    panel.grid(color="0.9", linewidth=0.6)
    panel.set_axisbelow(True)


def _series(row: Row) -> str:
    """The method, and the settings that differ between the table's rows."""
    panel = ("model", "time", "method", "asked")
    return ", ".join([row.names["method"], *(v for k, v in row.names.items() if k not in panel)])


def _look(i: int) -> dict[str, Any]:
    return {
        "color": COLOURS[i % len(COLOURS)],
        "marker": MARKERS[i % len(MARKERS)],
        "linestyle": DASHES[i % len(DASHES)],
        "linewidth": 1.4,
        "markersize": 4.5,
    }
