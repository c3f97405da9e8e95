"""Sizes that a cut changes, by the module in which they change.

Both of torch's exporters leave a node's module in its name (`spa.bridge.exporting`).
"""

from __future__ import annotations

from spa.coupling.couple import Cut
from spa.coupling.even import equal_parts
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
    for whole, axis, parts in equal_parts(cut.coupling.model):
        size = cut.coupling.model.shapes[parts[0]][axis]
        masks = [cut.of_tensor(name)[axis] for name in parts]
        left = [size if mask is None else int(mask.sum()) for mask in masks]
        if len(set(left)) > 1:
            return (
                f' "{whole}" is split into {len(left)} equal parts (chunk), which keep unequal '
                f"numbers of channels: {', '.join(map(str, left))} of {size}. keep_class=True "
                "takes the same of each."
            )
    return ""
