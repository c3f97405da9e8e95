"""Where boxes and wires of a graph go: layers from top to bottom, in plain Python.

1. An order: a node comes after all that point at it; a cycle is opened at its first node.
2. Layers: the longest path along that order, whichever way the edges point.
3. Lanes: an edge over several layers bends in each. The edges of one node that point the same way
   share one lane, or dense blocks could not be read.
4. Orders within the layers: by the mean place of the neighbours, downwards and upwards in turn.
5. Places: each as near to its neighbours' mean as the room between two items allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

DOWN, UP, BOTH = "down", "up", "both"
_SWEEPS = 12


@dataclass(frozen=True)
class Sizes:
    """Pixels."""

    box: tuple[float, float] = (192, 68)
    lane: float = 14
    gap: float = 18
    between: float = 46
    margin: float = 24


@dataclass
class Item:
    """A box, or the bend of a lane.

    Attributes:
        node: place in the list of nodes; None for a bend.
        x: its middle, pixels.
    """

    layer: int
    width: float
    node: int | None = None
    x: float = 0.0
    above: list[Item] = field(default_factory=list)
    below: list[Item] = field(default_factory=list)


@dataclass(frozen=True)
class Wire:
    """A piece of a lane, from one layer to the next.

    Attributes:
        way: whether the edge points down, up or both ways.
        upper: the node that the lane starts from.
    """

    way: str
    upper: int
    top: Item
    bottom: Item


@dataclass(frozen=True)
class Layout:
    """A laid out graph, in pixels.

    Attributes:
        boxes: one for each node.
        bends: where lanes go through a layer, with the way and the node that they start from.
        loops: nodes with an edge to themselves.
    """

    width: float
    height: float
    boxes: list[Item]
    bends: list[tuple[Item, str, int]]
    wires: list[Wire]
    loops: list[int]
    sizes: Sizes

    def top(self, item: Item) -> float:
        """Upper edge of an item."""
        return self.sizes.margin + item.layer * (self.sizes.box[1] + self.sizes.between)

    def bottom(self, item: Item) -> float:
        """Lower edge of an item."""
        return self.top(item) + self.sizes.box[1]


def lay_out(n: int, edges: Iterable[tuple[int, int]], sizes: Sizes | None = None) -> Layout:
    """Lay out a graph of n nodes; edges may form cycles and loops."""
    sizes = sizes or Sizes()
    pairs = sorted(set(edges))
    ways = _ways(order(n, pairs), pairs)
    depth = layers(n, ways)
    boxes = [Item(depth[node], sizes.box[0], node) for node in range(n)]
    wires, bends = _lanes(boxes, ways, sizes)
    for wire in wires:
        wire.top.below.append(wire.bottom)
        wire.bottom.above.append(wire.top)
    levels: list[list[Item]] = [[] for _ in range(max(depth, default=-1) + 1)]
    for item in [*boxes, *(bend for bend, _, _ in bends)]:
        levels[item.layer].append(item)
    _sort(levels)
    _place(levels, sizes)
    left = min((item.x - item.width / 2 for level in levels for item in level), default=0.0)
    for level in levels:
        for item in level:
            item.x = round(item.x - left + sizes.margin, 1)
    right = max((item.x + item.width / 2 for level in levels for item in level), default=0.0)
    height = len(levels) * (sizes.box[1] + sizes.between) - sizes.between
    loops = [s for s, t in pairs if s == t]
    size = right + sizes.margin, max(height, 0) + 2 * sizes.margin
    return Layout(*size, boxes, bends, wires, loops, sizes)


def order(n: int, pairs: Sequence[tuple[int, int]]) -> list[int]:
    """Put every node after those that point at it; a cycle is opened at its smallest number."""
    waits: list[set[int]] = [set() for _ in range(n)]
    for s, t in pairs:
        waits[t] |= {s} - {t}
    left, out = list(range(n)), []
    while left:
        node = next((node for node in left if not waits[node]), left[0])
        left.remove(node)
        out.append(node)
        for others in waits:
            others.discard(node)
    return out


def layers(n: int, ways: dict[tuple[int, int], str]) -> list[int]:
    """Give every node the length of the longest path to it.

    Args:
        n: how many nodes there are.
        ways: by upper and lower node, sorted so that all that a node hangs from come before it.
    """
    depth = [0] * n
    for upper, lower in ways:
        depth[lower] = max(depth[lower], depth[upper] + 1)
    return depth


def _ways(ordered: Sequence[int], pairs: Sequence[tuple[int, int]]) -> dict[tuple[int, int], str]:
    """Turn edges so that the upper node is first, and remember which way they point."""
    place = {node: i for i, node in enumerate(ordered)}
    ways: dict[tuple[int, int], str] = {}
    for s, t in pairs:
        if s != t:
            upper, lower, way = (s, t, DOWN) if place[s] < place[t] else (t, s, UP)
            ways[upper, lower] = BOTH if ways.get((upper, lower), way) != way else way
    return dict(sorted(ways.items(), key=lambda entry: [place[node] for node in entry[0]]))


def _lanes(
    boxes: Sequence[Item], ways: dict[tuple[int, int], str], sizes: Sizes
) -> tuple[list[Wire], list[tuple[Item, str, int]]]:
    shared: dict[tuple[int, str], list[int]] = {}
    for (upper, lower), way in ways.items():
        shared.setdefault((upper, way), []).append(lower)
    wires, bends = [], []
    for (upper, way), lowers in shared.items():
        lane = [boxes[upper]]
        last = max(boxes[lower].layer for lower in lowers)
        for layer in range(boxes[upper].layer + 1, last):
            lane.append(Item(layer, sizes.lane))
            bends.append((lane[-1], way, upper))
        wires += [Wire(way, upper, top, bottom) for top, bottom in pairwise(lane)]
        for lower in lowers:
            above = lane[boxes[lower].layer - 1 - boxes[upper].layer]
            wires.append(Wire(way, upper, above, boxes[lower]))
    return wires, bends


def _sort(levels: Sequence[list[Item]]) -> None:
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for level in levels if down else reversed(levels):
            for place, item in enumerate(level):
                item.x = float(place)
            level.sort(key=lambda item: _mean(item.above if down else item.below, item.x))
            for place, item in enumerate(level):
                item.x = float(place)


def _place(levels: Sequence[list[Item]], sizes: Sizes) -> None:
    for level in levels:  # side by side, to start from
        x = 0.0
        for item in level:
            item.x = x + item.width / 2
            x += item.width + sizes.gap
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for level in levels if down else reversed(levels):
            wanted = [_mean(item.above if down else item.below, item.x) for item in level]
            _spread(level, wanted, sizes.gap)


def _spread(level: Sequence[Item], wanted: Sequence[float], gap: float) -> None:
    """Move items as near to where they want to be as their widths allow (least squares).

    Less the room that those before it need, an item's place must not be below the one before it:
    neighbours that want to pass each other meet at their mean (pool adjacent violators).
    """
    room, rooms = 0.0, []
    for i, item in enumerate(level):
        room += (level[i - 1].width + item.width) / 2 + gap if i else 0.0
        rooms.append(room)
    pools: list[tuple[float, int]] = []  # sum, count
    for want, before in zip(wanted, rooms, strict=True):
        pools.append((want - before, 1))
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] > pools[-1][0] / pools[-1][1]:
            (total, count), (less, fewer) = pools.pop(), pools.pop()
            pools.append((total + less, count + fewer))
    means = [total / count for total, count in pools for _ in range(count)]
    for item, mean, before in zip(level, means, rooms, strict=True):
        item.x = mean + before


def _mean(items: Sequence[Item], otherwise: float) -> float:
    return sum(item.x for item in items) / len(items) if items else otherwise
