"""What shrank, weight by weight: the shapes before and after, as a reader wants them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx

from spa.errors import SpaError
from spa.graph.execute import run
from spa.graph.model import Model
from spa.pruning.plan import Plan

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Width:
    """A weight that shrank.

    Attributes:
        name: the weight's, in the dense file.
        dense: its shape there.
        pruned: its shape now.
    """

    name: str
    dense: Shape
    pruned: Shape

    @property
    def row(self) -> tuple[str, str, str, str]:
        """As a row of a table: name, shapes, share of its elements that is left."""
        left = np.prod(self.pruned, dtype=float) / max(1.0, np.prod(self.dense, dtype=float))
        return self.name, _text(self.dense), _text(self.pruned), f"{left:.0%}"


HEAD = ("weight", "dense", "pruned", "left")


def widths(plan: Plan, pruned: onnx.ModelProto) -> list[Width]:
    """Weights of two axes or more that shrank, in the file's order.

    Vectors (biases, scales of norms) shrink with the weights before them and are left out. A weight
    whose readers lose different parts of it has a row for each.
    """
    shapes = dict(_shapes(pruned.graph))
    found: dict[tuple[str, object], tuple[list[int], list[int]]] = {}
    for removal in plan.parameters:
        known = shapes.get(removal.name)
        if known is None or len(known) < 2:
            continue
        dense, left = found.setdefault((removal.name, removal.uses), (list(known), list(known)))
        dense[removal.axis] = removal.size
        left[removal.axis] = removal.size - len(removal.removed)
    rows = [Width(name, tuple(a), tuple(b)) for (name, _), (a, b) in found.items()]
    order = {name: place for place, name in enumerate(shapes)}
    return sorted(rows, key=lambda row: order[row.name])


def moved(dense: Model, pruned: onnx.ModelProto) -> float | None:
    """How far the outputs moved on the example: the difference's norm over the dense outputs'.

    None where that says nothing: outputs of whole numbers, or of other shapes; zeros; NaN.
    """
    try:
        before = run(dense.proto, dense.example)
        after = run(pruned, dense.example)
    except SpaError:
        return None
    worst: float | None = None
    for a, b in zip(before, after, strict=False):
        if not isinstance(a, np.ndarray) or a.dtype.kind != "f" or a.shape != b.shape:
            continue
        scale = float(np.linalg.norm(a.astype(np.float64)))
        gap = float(np.linalg.norm(a.astype(np.float64) - b))
        if scale > 0 and np.isfinite(gap / scale):
            worst = max(worst or 0.0, gap / scale)
    return worst


def moved_line(share: float, given: bool) -> str:
    """Says how far outputs moved, on inputs that the user gave or on random ones."""
    inputs = "the inputs given" if given else "random inputs"
    return f"outputs moved by {share:.2g} of their size on {inputs}"


def _shapes(graph: onnx.GraphProto) -> Iterator[tuple[str, Shape]]:
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                yield node.output[0], tuple(attribute.t.dims)
    for tensor in graph.initializer:
        yield tensor.name, tuple(tensor.dims)


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape))
