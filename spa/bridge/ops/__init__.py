"""Converters, one file per operator family; importing this package registers them all."""

from spa.bridge.ops import (
    activations,
    arithmetic,
    attention,
    casting,
    contrib,
    convolution,
    detection,
    indexing,
    linear,
    movement,
    normalization,
    padding,
    pooling,
    quantized,
    recurrent,
    reductions,
    resizing,
    sampling,
    shapes,
    signal,
)

__all__ = [
    "activations",
    "arithmetic",
    "attention",
    "casting",
    "contrib",
    "convolution",
    "detection",
    "indexing",
    "linear",
    "movement",
    "normalization",
    "padding",
    "pooling",
    "quantized",
    "recurrent",
    "reductions",
    "resizing",
    "sampling",
    "shapes",
    "signal",
]

# Operators with a coupling rule that have no converter, and why.
UNAVAILABLE = {
    "BitCast": "it reads a number's bits as another type, which has no gradient and no use in data",
    "CenterCropPad": "no exporter was seen to write it",
    "MaxRoiPool": "its regions are whole pixels, so they have no gradient; RoiAlign is known",
    "MelWeightMatrix": "it makes a table of constants; fold it (onnxsim does) into an initializer",
    "TensorScatter": "it writes to a cache that lives from call to call",
    "com.microsoft::GroupQueryAttention": "it writes to a cache that lives from call to call",
}
