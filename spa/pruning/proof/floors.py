"""Where a tensor's smallest values are rounding alone, whatever their size.

A sigmoid comes out of a sum with one half or of a quotient with one more than a power: next to 0 it
is off by a last bit of 1, not of itself. A detector's scores of 1e-8 on an example without any
object are such. What moves or adds the entries, or scales them by a constant, hands that on.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from spa.graph.model import Model

# Recurrent layers compute with such gates.
BOUNDED = frozenset({"GRU", "HardSigmoid", "LSTM", "RNN", "Sigmoid", "Softsign", "Tanh"})
MOVING = frozenset({
    "Add", "Cast", "Clip", "Concat", "Expand", "Flatten", "Gather", "Identity", "Max", "Min", "Pad",
    "Reshape", "Slice", "Split", "Squeeze", "Sub", "Tile", "Transpose", "Unsqueeze", "Where",
})  # fmt: skip
# Units of 1 that a bounded function may be off by.
UNITS = 4


def floors(model: Model) -> Mapping[str, float]:
    """By tensor, a difference that says nothing; others have none."""
    found: dict[str, float] = {}
    for node in model.graph.nodes:
        kind = model.observed.dtypes.get(node.outputs[0]) if node.outputs else None
        if kind is None or kind.kind != "f":
            continue
        floor = 0.0
        if node.op in BOUNDED:
            floor = UNITS * float(np.finfo(kind).eps)
        elif node.op in MOVING or node.op == "Mul":
            floor = max((found.get(name, 0.0) for name in node.inputs), default=0.0)
            if floor and node.op == "Mul":
                constants = [model.static_value(name) for name in node.inputs]
                scales = [float(np.max(np.abs(c))) for c in constants if c is not None and c.size]
                floor = floor * scales[0] if scales else 0.0
        if floor:
            found.update(dict.fromkeys(filter(None, node.outputs), floor))
    return found
