"""Integer weights that a DequantizeLinear turns into real numbers, and what they stand for.

x: integers   scale, zero point: one number, one per index of an axis, or one per block of an axis
y = (x - zero point) * scale

What files spell by other operators is read in `spa.graph.spelled`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from spa.graph.nodes import Node

if TYPE_CHECKING:
    from spa.graph.model import Model

Array = npt.NDArray[Any]

DEQUANTIZE = ("DequantizeLinear", "com.microsoft::DequantizeLinear")
QUANTIZE = ("QuantizeLinear", "com.microsoft::QuantizeLinear")
SCALING = QUANTIZE + DEQUANTIZE


@dataclass(frozen=True)
class Quantised:
    """How a parameter is read as real numbers.

    Attributes:
        scale: of the parameter's rank, broadcasts to it.
        zero_point: likewise; the integer that stands for zero.
        outputs: where other operators have made real numbers of it.
        scaling: the parameters that hold the scale and the zero point.
    """

    scale: Array
    zero_point: Array
    outputs: tuple[str, ...] = ()
    scaling: tuple[str, ...] = ()


def quantised_parameters(model: Model) -> dict[str, Quantised]:
    """Parameters that a DequantizeLinear reads, where its scale and zero point are in the file.

    One that several of them read is taken as the first one reads it.
    """
    found: dict[str, Quantised] = {}
    for node in model.graph.nodes:
        if node.op not in DEQUANTIZE:
            continue
        root, *others = (model.root(name) for name in node.inputs if name)
        if root in found or not all(name in model.parameters for name in (root, *others)):
            continue
        shape = model.shapes[root]
        scale = spread(model.array(others[0]), node, shape)
        zero = spread(model.array(others[1]), node, shape) if node.has_input(2) else None
        zeros = np.zeros((1,) * len(shape), dtype=model.dtype(root))
        found[root] = Quantised(scale, zeros if zero is None else zero, scaling=tuple(others))
    return found


def spread(vector: Array, node: Node, shape: tuple[int, ...]) -> Array:
    """Puts a scale or zero point (or labels of it) on the axes of what it scales.

    Returns:
        An array of that rank, which broadcasts to ``shape``.
    """
    rank = len(shape)
    if vector.ndim == rank and rank > 0 and has_blocks(node):
        axis, size = scaled_axis(node, rank), int(node.attr("block_size"))
        if vector.shape[axis] == 1:
            return vector
        return vector.repeat(size, axis=axis).take(np.arange(shape[axis]), axis=axis)
    if vector.size == 1:
        return vector.reshape((1,) * rank)
    axis = scaled_axis(node, rank)
    return vector.reshape([-1 if k == axis else 1 for k in range(rank)])


def has_blocks(node: Node) -> bool:
    """Says whether each scale holds for a block of an axis (from opset 21 on)."""
    return bool(node.attr("block_size", 0))


def scaled_axis(node: Node, rank: int) -> int:
    """The axis that a vector of scales follows."""
    axis = int(node.attr("axis", 1))
    return axis + rank if axis < 0 else axis
