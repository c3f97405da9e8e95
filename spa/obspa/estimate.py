"""How much memory a walk will take, before it begins."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from math import prod

from spa.errors import SettingError
from spa.graph.model import Model
from spa.observe.layers import LinearLayer
from spa.observe.memory import GIB, activation_bytes, batch_size, free_bytes
from spa.obspa.calibration import Calibration
from spa.obspa.settings import Settings

# H, what it becomes with a ridge, its factor, and products of a block in single precision.
COPIES = 4
# Estimates above this are told on stderr.
WORTH_SAYING = GIB


def estimate(
    model: Model, layers: Iterable[LinearLayer], calibration: Calibration, settings: Settings
) -> int:
    """Bytes: of the largest layer's statistics, a batch, and the activations that are held.

    Raises:
        SettingError: the largest layer's statistics alone need more than there is.
    """
    sizes = [(_statistics(model, each, calibration.samples, settings), each) for each in layers]
    statistics, largest = max(sizes, key=lambda size: size[0], default=(0, None))
    free = free_bytes()
    if largest is not None and statistics > 0.9 * free:
        raise SettingError(
            f"The statistics of {largest.node}, which reads {_columns(model, largest)} inputs, "
            f"take about {statistics / GIB:.1f} GiB, and {free / GIB:.1f} GiB of memory is free; "
            f"take fewer rows than inputs (columns=, now {settings.columns}), or leave the layer "
            "dense (Limits.exclude, --exclude)."
        )
    at_node, all_activations = activation_bytes(model)
    batch = min(batch_size(model, calibration.budget), calibration.samples)
    held = min(calibration.budget // 2, 2 * all_activations * calibration.samples)
    total = statistics + 3 * at_node * batch + held
    if total > WORTH_SAYING:
        print(
            f"OBSPA takes up to {total / GIB:.1f} GiB beside the model: {held / GIB:.1f} for "
            f"activations of {calibration.samples} samples (more go to temporary files), "
            f"{statistics / GIB:.1f} for the largest layer.",
            file=sys.stderr, flush=True,
        )  # fmt: skip
    return total


def _columns(model: Model, layer: LinearLayer) -> int:
    shape = model.shapes[layer.weight_name]
    contracted = shape[layer.axis]
    if layer.node.op == "ConvTranspose":
        contracted //= layer.groups
    return contracted * prod(layer.kernel)


def _statistics(model: Model, layer: LinearLayer, samples: int, settings: Settings) -> int:
    columns = _columns(model, layer)
    output = model.shapes.get(layer.node.outputs[0], (1,))
    places = prod(output[2:]) if layer.kernel else prod(output[:-1]) // max(1, output[0])
    rows = min(settings.columns, samples * max(1, places))
    folds = 2 if settings.damping == "held-out" else 1
    if rows < columns:
        return layer.groups * rows * (8 * columns + 16 * rows) * folds
    return layer.groups * columns**2 * 8 * COPIES * folds
