"""Operators that draw random numbers in the shape of a tensor, or by its values.

1. Bernoulli and the operators that end in Like: an output as large as the input, entry by entry.
2. Multinomial draws class numbers: the classes are kept, the examples pass.
"""

from __future__ import annotations

from spa.coupling.rules.base import rule
from spa.coupling.tracker import Tracker
from spa.graph.nodes import Node


@rule("Bernoulli", "RandomNormalLike", "RandomUniformLike")
def drawn_alike(node: Node, tracker: Tracker) -> None:  # 1
    tracker.write(node, tracker.read(node, 0))


@rule("Multinomial")
def multinomial(node: Node, tracker: Tracker) -> None:
    """x: (N, classes)   y: (N, samples)."""  # 2
    reason = "its output numbers the entries of this axis"
    tracker.write(node, tracker.keep_axes(tracker.read(node, 0), [1], node, reason))
