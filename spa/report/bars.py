"""Widths as SVG: for every group of coupled channels a bar of what it had, and of what is left.

Groups are named by their first member, the weight that makes their channels, and stand in their
own order, the first on top. The style sheet colours the bars.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from spa.pruning.plan import PlannedGroup
from spa.report.drawing import short
from spa.showing import shown

_ROW, _BAR, _KEPT = 20.0, 12.0, 7.0
_NAME, _LENGTH, _NUMBERS = 230.0, 480.0, 110.0


def draw_widths(groups: Sequence[PlannedGroup], title: str) -> str:
    """Draw the widths of groups; every text is escaped."""
    widest = max((group.channels for group in groups), default=1)
    width, height = _NAME + _LENGTH + _NUMBERS, _ROW * len(groups)
    rows = [_row(place, group, _LENGTH / max(1, widest)) for place, group in enumerate(groups)]
    return (
        f'<svg class="widths" role="img" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}"><title>{escape(title)}</title>{"".join(rows)}</svg>'
    )


def _row(place: int, group: PlannedGroup, unit: float) -> str:
    kept = group.channels - len(group.removed)
    first = shown(group.members[0][0]) if group.members else "no member"
    middle = _ROW * place + _ROW / 2
    bars = "".join(
        f'<rect class="{kind}" x="{_NAME:g}" y="{middle - high / 2:g}" '
        f'width="{unit * channels:.1f}" height="{high:g}"/>'
        for kind, channels, high in (("dense", group.channels, _BAR), ("bar", kept, _KEPT))
    )
    end = _NAME + unit * group.channels + 6
    return (
        f"<g><title>{escape(f'group {group.id}: {first}')}</title>"
        f'<text class="name" x="{_NAME - 8:g}" y="{middle + 4:g}">{escape(short(first))} '
        f'<tspan class="id">{group.id}</tspan></text>{bars}'
        f'<text x="{end:.1f}" y="{middle + 4:g}">{group.channels} → {kept}</text></g>'
    )
