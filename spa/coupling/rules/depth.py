"""DepthToSpace and SpaceToDepth: channels become blocks of pixels, and back.

DepthToSpace (DCR)   x: (N, b, b, C, H, W), CRD: (N, C, b, b, H, W)   y: (N, C, H*b, W*b)
SpaceToDepth         x: (N, C, H*b, W*b)                              y: (N, b*b*C, H, W)

The block stays square, so the b*b input channels of one output channel go together.
"""

from __future__ import annotations

import numpy as np

from spa.coupling.labels import along, reshape_layer
from spa.coupling.rules.base import rule
from spa.coupling.tracker import Tracker
from spa.graph.nodes import Node

REASON = "its pixels are moved between channels and space"


@rule("DepthToSpace", zero="each")
def depth_to_space(node: Node, tracker: Tracker) -> None:
    n, c, h, w = tracker.shape(node, 0)
    b = int(node.attr("blocksize"))
    column_first = node.attr("mode", "DCR") == "CRD"
    split = (n, c // b**2, b, b, h, w) if column_first else (n, b, b, c // b**2, h, w)
    block = (2, 3) if column_first else (1, 2)
    layers = tracker.keep_axes(tracker.read(node, 0), (2, 3), node, REASON)
    result = []
    for layer in layers:
        divided = reshape_layer(layer, (n, c, h, w), split)
        for kept in tracker.keep_axes([divided], block, node, REASON):
            result.append(kept.squeeze(block))
    tracker.write(node, result)


@rule("SpaceToDepth", zero="each")
def space_to_depth(node: Node, tracker: Tracker) -> None:
    c = tracker.shape(node, 0)[1]
    b = int(node.attr("blocksize"))
    layers = tracker.keep_axes(tracker.read(node, 0), (2, 3), node, REASON)
    channels = tracker.vector(layers, 1, c, node)
    result = [layer for layer in layers if layer.shape[1] == 1]
    result.append(along(np.tile(channels, b * b), 1, 4))
    tracker.write(node, result)
