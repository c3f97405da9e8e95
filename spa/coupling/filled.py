"""Tensors of zeros alone, at whatever size a run gives them.

Exporters make the initial states of a recurrent layer by filling a shape that is computed from the
batch size, and cut one such tensor up among stacked layers.
"""

from __future__ import annotations

import numpy as np
import onnx

from spa.coupling.operators import operator
from spa.graph.model import Model

# Larger parameters are weights; they are not looked through for zeros.
MOST_ENTRIES = 65536


def is_zero_fill(name: str, model: Model) -> bool:
    """Says whether a tensor that is no constant (its size follows an input) holds zeros alone."""
    return name not in model.constants and _is_zero(name, model)


def _is_zero(name: str, model: Model) -> bool:
    if name in model.parameters:
        small = np.prod(model.shapes[name], dtype=np.int64) <= MOST_ENTRIES
        return bool(small and not model.array(name).any())
    node = model.graph.producers.get(name)
    if node is None:
        return False
    if node.op == "ConstantOfShape":
        fill = node.attr("value")
        return fill is None or not onnx.numpy_helper.to_array(fill).any()
    if node.op == "Concat":
        return all(_is_zero(part, model) for part in node.inputs)
    return operator(node.op).moves and _is_zero(node.inputs[0], model)
