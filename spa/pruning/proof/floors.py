"""Where a tensor's smallest values are rounding alone, whatever their size.

A sigmoid comes out of a sum with one half or of a quotient with one more than a power: next to 0 it
is off by a last bit of 1, not of itself. A detector's scores of 1e-8 on an example without any
object are such. What moves, averages or adds the entries hands that on, and so does a product with
what is known to be bounded: a constant, or another such function (the gates of a recurrent layer
that is written out).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from spa.coupling.operators import operator
from spa.graph.model import Model

ADDING = frozenset({"Add", "Sub", "Sum"})
# Units of 1 that a bounded function may be off by.
UNITS = 4


def floors(model: Model) -> Mapping[str, float]:
    """By tensor, a difference that says nothing; others have none."""
    found: dict[str, float] = {}
    largest: dict[str, float] = {}

    def size(name: str) -> float:
        """How large a tensor's entries are at most; infinite where nothing is known."""
        if name not in largest:
            value = model.static_value(name) if name in model.constants else None
            if value is None or value.dtype.kind not in "fiub" or not value.size:
                largest[name] = np.inf
            else:
                largest[name] = float(np.max(np.abs(value)))
        return largest[name]

    for node in model.graph.nodes:
        kind = model.observed.dtypes.get(node.outputs[0]) if node.outputs else None
        if kind is None or kind.kind != "f":
            continue
        read = [name for name in node.inputs if name]
        mine = [found.get(name, 0.0) for name in read]
        floor, most = 0.0, np.inf
        facts = operator(node.op)
        if facts.bounded:
            floor, most = UNITS * float(np.finfo(kind).eps), 1.0
        elif any(mine) and (facts.moves or facts.steady):
            floor = max(mine)
            most = max(size(n) for n, each in zip(read, mine, strict=True) if each or n in found)
        elif any(mine) and node.op in ADDING:
            floor, most = max(mine), sum(map(size, read))
        elif any(mine) and node.op == "Mul":
            first, second = map(size, read)
            terms = (mine[0] * second, mine[1] * first)
            floor = sum(term for term in terms if np.isfinite(term))
            most = first * second
        if floor:
            names = list(filter(None, node.outputs))
            found.update(dict.fromkeys(names, floor))
            largest.update(dict.fromkeys(names, most))
    return found
