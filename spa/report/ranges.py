"""Indices as people write them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby


def ranges(indices: Sequence[int]) -> str:
    """Write sorted indices as ranges: 0-3, 7."""
    parts = []
    for _, run in groupby(enumerate(indices), key=lambda pair: pair[1] - pair[0]):
        block = [index for _, index in run]
        parts.append(f"{block[0]}-{block[-1]}" if len(block) > 1 else str(block[0]))
    return ", ".join(parts)
