"""Converters, one file per operator family; importing this package registers them all."""

from spa.bridge.ops import (
    activations,
    arithmetic,
    casting,
    convolution,
    detection,
    indexing,
    linear,
    movement,
    normalization,
    padding,
    pooling,
    recurrent,
    reductions,
    resizing,
    shapes,
    signal,
)

__all__ = [
    "activations",
    "arithmetic",
    "casting",
    "convolution",
    "detection",
    "indexing",
    "linear",
    "movement",
    "normalization",
    "padding",
    "pooling",
    "recurrent",
    "reductions",
    "resizing",
    "shapes",
    "signal",
]
