"""Random graphs, drawn from every operator that SPA has a rule for.

`graphs` is the hypothesis strategy; `BLOCKS` is what it draws from, one file per family.
"""

from tests.random_graphs import (
    attention,
    convolution,
    joining,
    mlp,
    movement,
    norms,
    pointwise,
    reductions,
    shapes,
    spatial,
)
from tests.random_graphs.registry import BLOCKS
from tests.random_graphs.strategy import Drawn, graphs

FAMILIES = (
    attention,
    convolution,
    joining,
    mlp,
    movement,
    norms,
    pointwise,
    reductions,
    shapes,
    spatial,
)

__all__ = ["BLOCKS", "FAMILIES", "Drawn", "graphs"]
