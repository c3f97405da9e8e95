"""What rules say of labels besides equalities: kept, not exact, mixed, so many at least."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from spa.coupling.labels import Labels, Layer


class Remark(NamedTuple):
    """Something said of labels: why they are kept, or why their removal is not exact."""

    labels: Labels
    node: int | None
    text: str


@dataclass(frozen=True)
class Mixing:
    """A layer whose entries a node mixes along some axes; see `spa.coupling.mixing`."""

    layer: Layer
    axes: tuple[int, ...]
    node: int
    text: str


@dataclass(frozen=True)
class Floor:
    """A line of labels along an axis of which so many must be left; see `spa.coupling.floors`."""

    line: Labels
    count: int
