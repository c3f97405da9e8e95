"""Which cells are the best of their block, and so are bold.

Compared are rows of one block that asked for the same target, in columns that have a better and a
worse (`Column.better`), by what is shown: what reads the same is best together. A value alone is
best of nothing. Three things are not compared: what a network answers that was pruned before it was
trained, which is chance; times of rows that were not timed alike on the same processor; and what
is published, which was measured elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence

from experiments.results.columns import Column
from experiments.results.rows import Row
from experiments.times import TIMES


def best(rows: Sequence[Row]) -> set[tuple[int, str]]:
    """Return the bold cells: a row's index and a column's key."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for i, row in enumerate(rows):
        if row.run_id:
            groups.setdefault((row.block, *row.asked.items()), []).append(i)
    return {
        (i, column.key)
        for members in groups.values()
        for column in rows[members[0]].columns
        for i in _best(rows, members, column)
    }


def _best(rows: Sequence[Row], members: Sequence[int], column: Column) -> list[int]:
    untrained = column.stage == "pruned" and _fresh(rows[members[0]].block[-1])
    if column.better is None or untrained:
        return []
    shown = {}
    for i in members:
        mean = rows[i].cells[column.key].mean
        if mean is not None:
            shown[i] = round(mean * column.scale, column.digits)
    machines = frozenset[tuple[object, ...]]().union(*(rows[i].machines for i in shown))
    if len(shown) < 2 or (column.timed and len(machines) > 1):
        return []
    first = (max if column.better == "more" else min)(shown.values())
    return [i for i in shown if shown[i] == first]


def _fresh(time: str) -> bool:
    return time in TIMES and TIMES[time].fresh
