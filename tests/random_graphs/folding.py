"""Channels become blocks of pixels, and back, by operators and written out."""

from __future__ import annotations

from tests.graphs import Builder
from tests.random_graphs.registry import Draw, Map, block, conv, one_of, permute


@block(Map, sized=True)
def fold_spatial(g: Builder, draw: Draw, x: Map) -> Map:
    """Space to depth by Reshape and Transpose."""
    if x.height % 2 or x.width % 2 or x.height < 4:
        return x
    c, h, w = x.channels, x.height // 2, x.width // 2
    y = permute(g, g.reshape(x.name, [-1, c, h, 2, w, 2]), 0, 1, 3, 5, 2, 4)
    y = g.conv(g.reshape(y, [-1, 4 * c, h, w]), 4 * c, 8, 1)
    return Map(y, 8, h, w)


@block(Map, sized=True)
def pixel_shuffle(g: Builder, draw: Draw, x: Map) -> Map:
    if x.height > 8:
        return x
    c, h, w = 4, x.height, x.width
    y = g.reshape(conv(g, draw, x, 4 * c), [-1, c, 2, 2, h, w])
    y = permute(g, y, 0, 1, 4, 2, 5, 3)
    return Map(g.reshape(y, [-1, c, 2 * h, 2 * w]), c, 2 * h, 2 * w)


@block(Map, sized=True)
def depth_to_space(g: Builder, draw: Draw, x: Map) -> Map:
    if x.channels % 4 or x.height > 8:
        return x
    mode = one_of(draw, "DCR", "CRD") if g.opset >= 11 else None
    y = g.node("DepthToSpace", [x.name], blocksize=2, mode=mode)
    return Map(y, x.channels // 4, 2 * x.height, 2 * x.width)


@block(Map, sized=True)
def space_to_depth(g: Builder, draw: Draw, x: Map) -> Map:
    if x.channels > 8 or x.height % 2 or x.width % 2 or x.height < 4:
        return x
    y = g.node("SpaceToDepth", [x.name], blocksize=2)
    return Map(y, 4 * x.channels, x.height // 2, x.width // 2)
