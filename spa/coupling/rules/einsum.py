"""Einsum: a contraction whose axes have letters (`spa.coupling.contract`).

Letters that all operands and the output have are batch axes, letters that the output lacks are
summed. A letter that stands twice in one operand takes its diagonal; such an operand is kept.
"""

from __future__ import annotations

import numpy as np

from spa.coupling.contract import contract
from spa.coupling.labels import Layer
from spa.coupling.rules.base import rule
from spa.coupling.tracker import Tracker
from spa.graph.equation import read_equation
from spa.graph.nodes import Node


@rule("Einsum", weights=None)
def einsum(node: Node, tracker: Tracker) -> None:
    """Layers of every operand are put on the axes of all letters, and contracted there."""
    ranks = [len(tracker.shape(node, i)) for i in range(len(node.inputs))]
    terms, output = read_equation(node.attr("equation"), ranks)
    if any(len(set(term)) < len(term) for term in terms):
        tracker.keep_inputs(node, "Einsum takes a diagonal")
        tracker.write(node, [])
        return
    letters = list(dict.fromkeys("".join(terms)))
    operands = []
    for i, term in enumerate(terms):
        shape = _spread(np.zeros(tracker.shape(node, i), dtype=np.int64), term, letters).shape
        operands.append((shape, [_spread(layer, term, letters) for layer in tracker.read(node, i)]))
    layers = contract(
        tracker,
        node,
        operands,
        len(letters),
        summed=[k for k, letter in enumerate(letters) if letter not in output],
        batch=[
            k
            for k, letter in enumerate(letters)
            if letter in output and all(letter in term for term in terms)
        ],
    )
    # Summed axes have size 1 by now; the others are put in the output's order.
    order = [letters.index(letter) for letter in output]
    shape_of = [[layer.shape[k] for k in order] for layer in layers]
    tracker.write(
        node,
        [
            layer.transpose([*order, *(k for k in range(len(letters)) if k not in order)]).reshape(
                s
            )
            for layer, s in zip(layers, shape_of, strict=True)
        ],
    )


def _spread(layer: Layer, term: str, letters: list[str]) -> Layer:
    """Puts an operand's axes in the places of their letters, size 1 elsewhere."""
    present = [letter for letter in letters if letter in term]
    moved = layer.transpose([term.index(letter) for letter in present])
    sizes = iter(moved.shape)
    return moved.reshape([next(sizes) if letter in term else 1 for letter in letters])
