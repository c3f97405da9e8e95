"""Sizes that a cut changes, by the module in which they change.

Both of torch's exporters leave a node's module in its name (`spa.bridge.exporting`).
"""

from __future__ import annotations

from spa.coupling.couple import Cut
from spa.graph.model import Model

# The path of a module, and a size that changes inside it: the old one and the new one.
Change = tuple[str, tuple[int, int]]


def changes_of(model: Model, cut: Cut) -> list[Change]:
    """By module path, sizes of tensors made in it that change."""
    found = []
    for node in model.graph.nodes:
        path = _path(node.name)
        for name in (*node.outputs, *node.inputs):
            masks = cut.of_tensor(name) if name in model.shapes else ()
            found += [(path, (len(m), int(m.sum()))) for m in masks if m is not None]
    return list(dict.fromkeys(found))


def _path(name: str) -> str:
    """The module that a node was traced in: ``/layer1/layer1.0/conv/Conv`` gives layer1.0.conv."""
    parts: list[str] = []
    for part in name.strip("/").split("/")[:-1]:
        if parts and part.startswith(f"{parts[-1]}."):
            parts.pop()
        parts.append(part)
    return ".".join(parts)


def uneven_parts(cut: Cut) -> str:
    """Says where equal parts of a tensor lose unequally much; empty where none do.

    ``chunk`` and ``split`` cut in equal parts, whatever they are given.
    """
    model = cut.coupling.model
    parts: dict[str, list[str]] = {}
    for node in model.graph.nodes:
        if node.op in ("Slice", "Split") and node.inputs[0] in model.shapes:
            seen = [name for name in node.outputs if name in model.shapes]
            parts.setdefault(node.inputs[0], []).extend(seen)
    for whole, names in parts.items():
        for axis, size in enumerate(model.shapes[names[0]] if names else ()):
            equal = [n for n in names if model.shapes[n][axis] == size]
            masks = [cut.of_tensor(name)[axis] for name in equal]
            left = [size if mask is None else int(mask.sum()) for mask in masks]
            if len(set(left)) > 1 and len(equal) * size == model.shapes[whole][axis]:
                return (
                    f' "{whole}" is split into {len(left)} equal parts (chunk), which keep unequal '
                    f"numbers of channels: {', '.join(map(str, left))} of {size}. "
                    'limits=spa.Limits(scope="local") takes as many of each.'
                )
    return ""
