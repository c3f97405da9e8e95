"""Recurrent layers, traced step by step.

Left to itself Keras makes loops over lists of tensors, which the exporter does not know. The steps
of an unrolled layer are plain nodes, whose weights are the same in all of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
from common import Refusal

# A step is some ten nodes.
MOST_STEPS = 512


@contextlib.contextmanager
def unrolled(model: Any) -> Iterator[None]:
    """Lets a model's recurrent layers unroll for a while."""
    layers = [each for each in model._flatten_layers() if isinstance(each, keras.layers.RNN)]
    steps = [step for layer in layers for step in [_steps_of(layer)] if step != 1]
    if any(step is None or step > MOST_STEPS for step in steps):
        raise Refusal(
            f"recurrent layers are exported step by step, as with unroll=True, for which their "
            f"length must be known, and {MOST_STEPS} at most; give Input its length, as in "
            "Input((16, 8))"
        )
    old = [layer.unroll for layer in layers]
    for layer in layers:
        layer.unroll = True
    try:
        yield
    finally:
        for layer, value in zip(layers, old, strict=True):
            layer.unroll = value


def _steps_of(layer: Any) -> int | None:
    """x: (N, T, ...); 1 for a layer inside of another one (Bidirectional), which Keras tells."""
    try:
        x = layer.input
    except AttributeError:
        return 1
    return (x[0] if isinstance(x, (list, tuple)) else x).shape[1]
