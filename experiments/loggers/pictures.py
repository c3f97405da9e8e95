"""The figures of one run, for a logger that shows pictures."""

from __future__ import annotations

from pathlib import Path

from experiments.results.schema import Result

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
    made["accuracy_by_stage"] = _accuracy(result, folder / "accuracy_by_stage.png")
    return made


def _accuracy(result: Result, path: Path) -> Path:
    from matplotlib.figure import Figure

    stages = {stage: 100 * value for stage, value in result["acc"].items() if value is not None}
    figure = Figure(figsize=(3.4, 2.6), layout="constrained")
    axes = figure.subplots()
    bars = axes.bar(list(stages), list(stages.values()), width=0.6, color=BLUE)
    axes.bar_label(bars, fmt="%.1f", fontsize=8)
    axes.set_ylim(0, 108)  # room for the number over a full bar
    axes.set_ylabel("test accuracy, %")
    figure.savefig(path, dpi=150, metadata={"Software": None})
    return path
