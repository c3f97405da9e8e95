"""The figures of one run, for a logger that shows pictures."""

from __future__ import annotations

from pathlib import Path

from experiments.results.schema import Result, by_stage
from experiments.tasks import TASKS, Metric

BLUE = "#0072B2"  # the first of the colours of all figures


def draw(result: Result, folder: Path) -> dict[str, Path]:
    """Draw all figures that a result has data for.

    Args:
        result: of one run.
        folder: where the pictures go.

    Returns:
        The PNG file of each figure by its name.
    """
    from experiments import figures

    drawn = figures.draw([result], folder / "figure")
    made = {name: path.with_suffix(".png") for name, path in drawn.items()}
    metric = TASKS.get(result["task"])().metrics[0]
    name = f"{metric.name}_by_stage"
    made[name] = _by_stage(result, metric, folder / f"{name}.png")
    return made


def _by_stage(result: Result, metric: Metric, path: Path) -> Path:
    from matplotlib.figure import Figure

    found = by_stage(result)
    stages = {stage: metric.scale * values[metric.key] for stage, values in found.items()}
    figure = Figure(figsize=(3.4, 2.6), layout="constrained")
    axes = figure.subplots()
    bars = axes.bar(list(stages), list(stages.values()), width=0.6, color=BLUE)
    axes.bar_label(bars, fmt=f"%.{metric.digits}f", fontsize=8)
    if metric.unit == "%":
        axes.set_ylim(0, 108)  # room for the number over a full bar
    axes.set_ylabel(f"{result['split']} {metric.name}{f', {metric.unit}' if metric.unit else ''}")
    figure.savefig(path, dpi=150, metadata={"Software": None})
    return path
