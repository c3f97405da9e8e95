"""Resize and Upsample: axes that change their size are kept whole, the others pass."""

from __future__ import annotations

from spa.coupling.rules.base import Cutter, resize, rule
from spa.coupling.tracker import Tracker
from spa.graph.nodes import Node


@rule("Resize", "Upsample")
def resample(node: Node, tracker: Tracker) -> None:
    old, new = tracker.shape(node, 0), tracker.out_shape(node)
    axes = [k for k in range(len(old)) if old[k] != new[k] or k >= 2]
    layers = tracker.keep_axes(tracker.read(node, 0), axes, node, "a window reaches over this axis")
    if _sizes_are_computed(node, tracker):
        tracker.keep_layers(layers, node, "the target sizes are computed while the model runs")
        layers = []
    tracker.write(node, layers)


@resize("Resize")
def resize_resample(node: Node, cutter: Cutter) -> None:
    """The target sizes name the channels too; scales are 1 there and need nothing."""
    if not node.has_input(3) or node.attr("axes") is not None:
        return
    shape = cutter.old_shape(node.outputs[0])
    sizes = cutter.value(node, 3)
    if sizes is None or not any(cutter.is_cut(node.outputs[0], k) for k in range(len(shape))):
        return
    sizes = sizes.copy()
    for k, size in enumerate(cutter.new_shape(node.outputs[0])):
        if cutter.is_cut(node.outputs[0], k):
            sizes[k] = size
    cutter.set_input(node, 3, sizes)


def _sizes_are_computed(node: Node, tracker: Tracker) -> bool:
    """Sizes from arithmetic that starts at a dynamic size cannot be rewritten as a constant."""
    return (
        node.op == "Resize"
        and node.has_input(3)
        and node.attr("axes") is None
        and tracker.value(node, 3) is None
    )
