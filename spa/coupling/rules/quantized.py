"""QuantizeLinear and DequantizeLinear: elementwise, with scales along one axis or its blocks.

1. A vector of scales, or of zero points, goes with the axis that it follows; one number couples
   with nothing.
2. Blocks of an axis with a scale each go as a whole, so that the blocks that stay keep theirs. One
   block that takes in the whole axis may shrink.
3. Integers that are moved between the file and their DequantizeLinear are kept: it is then known no
   longer which of them stand for zero.

Zeros become zero points, and these become zeros again.
"""

from __future__ import annotations

import numpy as np

from spa.coupling.align import Operand, align
from spa.coupling.rules.base import rule
from spa.coupling.tracker import Tracker
from spa.graph.model import Array
from spa.graph.nodes import Node
from spa.graph.quantised import DEQUANTIZE, QUANTIZE, spread


@rule(*QUANTIZE, jumps=True)
@rule(*DEQUANTIZE)
def scaling(node: Node, tracker: Tracker) -> None:
    """Branches are numbered as in the module's text."""
    shape = tracker.shape(node, 0)
    operands: list[Operand] = [(shape, tracker.read(node, 0))]
    for i in (1, 2):
        if node.has_input(i):
            operands.append(_spread(node, tracker, i))  # 1, 2
    layers = align(tracker, node, operands, len(shape))
    if node.op in DEQUANTIZE and _is_moved(node, tracker):
        tracker.keep_layers(layers, node, "its integers are moved before they are dequantised")  # 3
        layers = []
    tracker.write(node, layers)
    if node.op in DEQUANTIZE and _restores_zero(node, tracker):
        tracker.zeros.add(node.outputs[0])


def _spread(node: Node, tracker: Tracker, i: int) -> Operand:
    """A scale or zero point as an operand of the rank of what it scales."""
    x = tracker.shape(node, 0)
    whole = spread(np.zeros(tracker.shape(node, i), dtype=np.int64), node, x)
    return whole.shape, [spread(layer, node, x) for layer in tracker.read(node, i)]


def _is_moved(node: Node, tracker: Tracker) -> bool:
    if not tracker.is_constant(node, 0):
        return False
    name = tracker.model.root(node.inputs[0])
    producer = tracker.model.graph.producers.get(name)
    made_here = producer is not None and producer.op in QUANTIZE
    return name not in tracker.model.parameters and not made_here


def _restores_zero(node: Node, tracker: Tracker) -> bool:
    """Whether what comes out is zero: integers in the file that are zeroed, or a way back."""
    if tracker.model.root(node.inputs[0]) in tracker.model.quantised:
        return node.inputs[0] in tracker.zeros
    before = tracker.model.graph.producers.get(node.inputs[0])
    if before is None or before.op not in QUANTIZE or before.inputs[0] not in tracker.zeros:
        return False
    there, here = _zero_point(before, tracker), _zero_point(node, tracker)
    return there is not None and here is not None and bool(np.equal(there, here).all())


def _zero_point(node: Node, tracker: Tracker) -> Array | None:
    """On the axes of what is scaled; None where it is computed while the model runs."""
    value = tracker.value(node, 2) if node.has_input(2) else np.zeros(())
    return None if value is None else spread(value, node, tracker.shape(node, 0))
