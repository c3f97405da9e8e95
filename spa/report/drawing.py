"""The group graph as SVG, to be written into a page.

A box is a group: its number, the channels it had and keeps, its first member, and a bar whose
filled part is what went. The page's script writes another run's numbers into the same boxes, by
the classes of their parts; the style sheet colours them.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from spa.pruning.plan import PlannedGroup
from spa.report.graph import Edge, edges
from spa.report.layout import BOTH, DOWN, UP, Item, Layout, lay_out
from spa.showing import shown

# What the drawing means, as HTML.
LEGEND = (
    "A box is a group, whose channels go together or not at all: its number, the channels it had "
    "→ has, the weight that makes them, and how much went "
    '(<span class="swatch kept"></span> kept <span class="swatch gone"></span> gone; '
    "dashed: removed only approximately). An arrow goes "
    "from the channels that a weight reads to those it makes, as far as a plan tells. Pointing at "
    "a box or an arrow names its members."
)

_PORT = {DOWN: 0.0, BOTH: -12.0, UP: 12.0}  # lanes of different ways leave a box apart
_HEAD = 5.0
_PAD = 10.0
_LETTERS = 27


def draw(groups: Sequence[PlannedGroup], title: str) -> str:
    """Draw the groups of a plan; every text is escaped."""
    found = edges(groups)
    layout = lay_out(len(groups), [(edge.source, edge.target) for edge in found])
    names = {(edge.source, edge.target): edge for edge in found}
    bends = {id(item): way for item, way, _ in layout.bends}
    parts = [
        f'<svg class="groups" role="img" viewBox="0 0 {layout.width:g} {layout.height:g}" '
        f'width="{layout.width:g}" height="{layout.height:g}">',
        f"<title>{escape(title)}</title>",
        '<g class="wires">',
    ]
    for item, way, _ in layout.bends:
        parts.append(_path(f"M{item.x:g} {layout.top(item):g}V{layout.bottom(item):g}", way))
    for wire in layout.wires:
        parts.append(_wire(layout, wire.top, wire.bottom, wire.way, bends))
        if wire.bottom.node is not None:
            label = _said(groups, names, wire.upper, wire.bottom.node)
            parts[-1] = f"<g><title>{escape(label)}</title>{parts[-1]}</g>"
    for node in layout.loops:
        label = _said(groups, names, node, node)
        parts.append(f"<g><title>{escape(label)}</title>{_loop(layout, node)}</g>")
    parts.append("</g>")
    parts += [_box(layout, place, group) for place, group in enumerate(groups)]
    return "".join([*parts, "</svg>"])


def _wire(layout: Layout, top: Item, bottom: Item, way: str, bends: dict[int, str]) -> str:
    start = top.x + (0 if id(top) in bends else _PORT[way]), layout.bottom(top)
    end = bottom.x + (0 if id(bottom) in bends else _PORT[way]), layout.top(bottom)
    middle = (start[1] + end[1]) / 2
    line = f"M{_at(*start)}C{_at(start[0], middle)} {_at(end[0], middle)} {_at(*end)}"
    heads = ""
    if way in (DOWN, BOTH) and bottom.node is not None:
        heads += _head(*end, -_HEAD)
    if way in (UP, BOTH) and top.node is not None:
        heads += _head(*start, _HEAD)
    return _path(line, way) + heads


def _path(line: str, way: str) -> str:
    return f'<path class="wire {way}" d="{line}"/>'


def _head(x: float, y: float, back: float) -> str:
    """Draw an arrow's head whose tip is at (x, y)."""
    half = _HEAD * 0.7
    return (
        f'<path class="head" d="M{_at(x, y)}L{_at(x - half, y + 1.4 * back)}'
        f'L{_at(x + half, y + 1.4 * back)}Z"/>'
    )


def _loop(layout: Layout, node: int) -> str:
    item = layout.boxes[node]
    right = item.x + item.width / 2
    y = layout.top(item) + layout.sizes.box[1] / 2
    out = right + 14
    line = f"M{_at(right, y - 9)}C{_at(out, y - 12)} {_at(out, y + 12)} {_at(right, y + 9)}"
    tip = f'<path class="head" d="M{_at(right, y + 9)}L{_at(right + 7, y + 3)}'
    return _path(line, "loop") + tip + f'L{_at(right + 6.5, y + 11)}Z"/>'


def _box(layout: Layout, place: int, group: PlannedGroup) -> str:
    item = layout.boxes[place]
    width, height = layout.sizes.box
    kept, inner = group.channels - len(group.removed), width - 2 * _PAD
    share = len(group.removed) / group.channels if group.channels else 0.0
    first = shown(group.members[0][0]) if group.members else "no member"
    members = f"{len(group.members)} member{'' if len(group.members) == 1 else 's'}"
    exact = "" if group.exact else ", approx."
    listed = "\n".join(f"{shown(name)}, axis {axis}" for name, axis in group.members)
    corner = _at(round(item.x - width / 2, 1), layout.top(item), ",")
    return (
        f'<g class="group{"" if group.exact else " inexact"}" transform="translate({corner})" '
        f'data-place="{place}" data-channels="{group.channels}" data-inner="{inner:g}">'
        f"<title>{escape(f'group {group.id}: {members}{exact}')}\n{escape(listed)}</title>"
        f'<rect class="box" width="{width:g}" height="{height:g}" rx="6"/>'
        f'<text class="id" x="{_PAD:g}" y="18">{group.id}</text>'
        f'<text class="channels" x="{width - _PAD:g}" y="18">{group.channels} → {kept}</text>'
        f'<text class="name" x="{_PAD:g}" y="34">{escape(short(first))}</text>'
        f'<text class="members" x="{_PAD:g}" y="49">{members}{exact}</text>'
        f'<text class="share" x="{width - _PAD:g}" y="49">{_share(share)}</text>'
        f'<rect class="bar" x="{_PAD:g}" y="56" width="{inner:g}" height="6"/>'
        f'<rect class="gone" x="{_PAD:g}" y="56" width="{inner * share:.1f}" height="6"/></g>'
    )


def _share(share: float) -> str:
    """Write the removed share; the page's script writes it alike."""
    return f"−{100 * share:.0f} %" if share else "0 %"


def _said(
    groups: Sequence[PlannedGroup], names: dict[tuple[int, int], Edge], one: int, other: int
) -> str:
    lines = []
    for pair in dict.fromkeys([(one, other), (other, one)]):
        if pair in names:
            source, target = (groups[place].id for place in pair)
            lines.append(f"{source} → {target}: {', '.join(map(shown, names[pair].names))}")
    return "\n".join(lines)


def short(name: str) -> str:
    """Cuts what is before the end of a long name: where names begin, they are alike."""
    return name if len(name) <= _LETTERS else f"…{name[1 - _LETTERS :]}"


def _at(x: float, y: float, between: str = " ") -> str:
    return f"{round(x, 1):g}{between}{round(y, 1):g}"
