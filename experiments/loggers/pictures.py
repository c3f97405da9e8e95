"""The figures of one run, for a logger that shows pictures."""

from __future__ import annotations

from pathlib import Path

from experiments.schema import Result

BLUE = "#0072B2"  # the first of the colours of all figures


def draw(result: Result, folder: Path) -> dict[str, Path]:
    """Draw all figures that a result has data for.

    Args:
        result: of one run.
        folder: where the pictures go.

    Returns:
        The PNG file of each figure by its name.
    """
    try:
        from experiments import figures
    except ImportError:
        drawn = {}
    else:
        drawn = figures.draw([result], folder / "figure")
    made = {name: path.with_suffix(".png") for name, path in drawn.items()}
    made["accuracy_by_stage"] = _accuracy(result, folder / "accuracy_by_stage.png")
    if result["widths"] and "widths" not in made:
        made["widths"] = _widths(result, folder / "widths.png")
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


def _widths(result: Result, path: Path) -> Path:
    from matplotlib.figure import Figure

    groups = result["widths"]
    figure = Figure(figsize=(5, 1 + 0.18 * len(groups)), layout="constrained")
    axes = figure.subplots()
    places = range(len(groups))
    dense, pruned = ([width[which] for width in groups] for which in ("dense", "pruned"))
    axes.barh(places, dense, height=0.8, color="0.85", label="dense")
    axes.barh(places, pruned, height=0.8, color=BLUE, label="pruned")
    axes.set_yticks(places, [width["name"] for width in groups], fontsize=7)
    axes.invert_yaxis()  # the plan's order from the top
    axes.set_xlabel("channels")
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    figure.savefig(path, dpi=150, metadata={"Software": None})
    return path
