"""Random graphs, drawn from every operator that SPA has a rule for.

`graphs` is the hypothesis strategy; `BLOCKS` is what it draws from, one file per family.
"""

from tests.random_graphs import (
    attention,
    batching,
    chance,
    control,
    convolution,
    folding,
    fused,
    joining,
    logic,
    mlp,
    movement,
    norms,
    ordering,
    padding,
    picking,
    pointwise,
    quantised,
    recurrent,
    reductions,
    resampling,
    shapes,
    signal,
    spatial,
    vision,
)
from tests.random_graphs.registry import BLOCKS
from tests.random_graphs.strategy import Drawn, graphs

FAMILIES = (
    attention,
    batching,
    chance,
    control,
    convolution,
    folding,
    fused,
    joining,
    logic,
    mlp,
    movement,
    norms,
    ordering,
    padding,
    picking,
    pointwise,
    quantised,
    recurrent,
    reductions,
    resampling,
    shapes,
    signal,
    spatial,
    vision,
)

__all__ = ["BLOCKS", "FAMILIES", "Drawn", "graphs"]
