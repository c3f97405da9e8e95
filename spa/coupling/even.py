"""Equal parts of a tensor: what ``chunk`` and ``split`` cut it into, whatever sizes they are given.

Pruned as they come, halves may keep unequal numbers of channels. A file says each part's size; a
torch module whose ``forward`` calls ``chunk`` cannot, so it loses its class. Where the class is to
be kept, the same indices go from all equal parts. Source: own.
"""

from __future__ import annotations

from collections.abc import Iterator

from spa.coupling.tracker import Tracker
from spa.graph.model import Model

# A tensor, one of its axes, and the parts that it is cut into along it.
Parts = tuple[str, int, tuple[str, ...]]


def equal_parts(model: Model) -> Iterator[Parts]:
    """Every tensor that is cut into two or more equal parts, by Split or by Slices."""
    parts: dict[str, list[str]] = {}
    for node in model.graph.nodes:
        if node.op in ("Slice", "Split") and node.inputs[0] in model.shapes:
            seen = [name for name in node.outputs if name in model.shapes]
            parts.setdefault(node.inputs[0], []).extend(seen)
    for whole, names in parts.items():
        for axis, size in enumerate(model.shapes[names[0]] if names else ()):
            equal = tuple(name for name in names if model.shapes[name][axis : axis + 1] == (size,))
            if len(equal) > 1 and len(equal) * size == model.shapes[whole][axis]:
                yield whole, axis, equal


def tie_equal_parts(tracker: Tracker) -> None:
    """States that the same indices go from equal parts; once all nodes were visited."""
    graph = tracker.model.graph
    for _, axis, names in equal_parts(tracker.model):
        first, *others = (tracker.layers.get(name, []) for name in names)
        for name, layers in zip(names[1:], others, strict=True):
            for a, b in zip(first, layers, strict=False):
                if a.shape == b.shape and a.shape[axis] > 1:
                    tracker.equal(a, b, graph.producers[name])
