"""Figures of an experiment's results: a file each, which registers what it draws.

    draw(results, Path("results/tables/demo"))   writes demo_widths.svg, demo_widths.png and so on

A figure is a function from results to a matplotlib Figure, or to None where the results hold
nothing that it shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.ground import files
from experiments.ground.registry import Registry
from experiments.results.schema import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES: Registry[Callable[[Sequence[Result]], Figure | None]] = Registry(
    "figure", package="experiments.figures"
)


def draw(results: Sequence[Result], stem: Path) -> dict[str, Path]:
    """Write <stem>_<name>.svg and .png of every figure that the results have data for.

    Figures of an earlier time that the results have no data for are removed.

    Returns:
        The SVG file of each figure, by its name.

    Raises:
        MissingExtra: matplotlib is not there.
        OutputError: a file cannot be written.
    """
    from experiments.figures.style import printed, rendered

    made = {}
    for name in FIGURES.names():
        svg, png = (stem.with_name(f"{stem.name}_{name}.{kind}") for kind in ("svg", "png"))
        with printed():
            figure = FIGURES.get(name)(results) if results else None
            if figure is None:
                svg.unlink(missing_ok=True)
                png.unlink(missing_ok=True)
                continue
            for path, content in zip((svg, png), rendered(figure), strict=True):
                files.write_bytes(path, content)
        made[name] = svg
    return made
