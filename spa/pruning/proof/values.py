"""With which values two models are compared: such as reach both sides of what the inputs decide.

A switch that is always on, a length that is always 1 or a spectrogram below zero leave parts of a
network unseen. What an input may be is read off the operators that read it:

1. Integers that pick rows of a table take all of its rows; lengths of sequences go up to the whole
   length; what is compared with a number lies on both sides of it. Others are 0 or 1, as masks are.
2. Booleans are mixed, and in other runs all true, or all false.
3. Floats are normal; in other runs between 0 and 1, as probabilities and magnitudes are.

The example's own values count too: at other sizes they are repeated, or cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from spa.coupling.operators import operator
from spa.graph.example import draw, repeated
from spa.graph.model import Array, Model
from spa.graph.nodes import Node, Use
from spa.pruning.proof.sizes import Shapes

Example = Mapping[str, Array]
_COMPARING = frozenset({"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"})
_RECURRENT = frozenset({"GRU", "LSTM", "RNN"})
# Ways of drawing, in the order in which runs take turns.
WAYS = ("example", "mixed", "bounded", "true", "false", "positive")


@dataclass(frozen=True)
class Range:
    """What an integer input may be.

    Attributes:
        low: its least value.
        high: the largest one, as the example has its sizes.
        length: of what it counts the steps: the size that it must not pass; 0 for no such thing.
    """

    low: int
    high: int
    length: int = 0


def ranges(model: Model) -> dict[str, Range]:
    """What the integer inputs may be, by name."""
    return {
        name: _range(model, name)
        for name, value in model.example.items()
        if value.dtype.kind in "iu"
    }


def feed(
    model: Model, known: Mapping[str, Range], shapes: Shapes, way: str, seed: int
) -> dict[str, Array]:
    """Inputs of some shapes.

    Args:
        model: the dense model.
        known: what `ranges` gives for it.
        shapes: of all inputs.
        way: one of `WAYS`.
        seed: for what is drawn.
    """
    rng = np.random.default_rng((7, seed))
    result = {}
    for name, value in model.example.items():
        shape = tuple(shapes[name])
        if way == "example" or value.dtype.kind not in "fbiu":
            result[name] = repeated(value, shape)
        elif value.dtype.kind == "b":
            mixed = rng.integers(0, 2, shape).astype(bool)
            result[name] = np.full(shape, way == "true") if way in ("true", "false") else mixed
        elif value.dtype.kind == "f":
            result[name] = _floats(rng, shape, way).astype(value.dtype)
        else:
            result[name] = _integers(rng, known[name], model, shapes, shape, way).astype(
                value.dtype
            )
    return result


def ways(model: Model, number: int) -> Iterator[str]:
    """The ways to draw a run's inputs, the best first, where the model may not take all."""
    turn = ["example", "mixed", "bounded", "mixed"][number % 4]
    if any(value.dtype.kind == "b" for value in model.example.values()):
        turn = ["example", "mixed", "false", "bounded", "mixed"][number % 5]
    yield turn
    yield from (way for way in ("mixed", "bounded", "positive", "example", "true") if way != turn)


def _floats(rng: np.random.Generator, shape: tuple[int, ...], way: str) -> Array:
    if way == "bounded":
        return np.asarray(rng.random(shape))
    drawn = rng.standard_normal(shape)
    return np.abs(drawn) + 0.5 if way == "positive" else np.asarray(drawn)


def _integers(
    rng: np.random.Generator,
    known: Range,
    model: Model,
    shapes: Shapes,
    shape: tuple[int, ...],
    way: str,
) -> Array:
    high = known.high
    if known.length:
        high = _length(known.length, model, shapes)
    elif way in ("true", "positive"):
        return np.asarray(draw(rng, shape, np.dtype(np.int64)))
    result = rng.integers(known.low, max(known.low, high) + 1, shape)
    if known.length and result.size:
        result.reshape(-1)[0] = high  # one sequence is as long as they may be
    return result


def _length(example: int, model: Model, shapes: Shapes) -> int:
    """What a size of the example becomes at other sizes: as the input's axis that had it."""
    found = [
        shapes[name][axis]
        for name, value in model.example.items()
        for axis, size in enumerate(value.shape)
        if size == example and _dims(model, name)[axis] is None
    ]
    return min(found) if found else example


def _dims(model: Model, name: str) -> tuple[int | None, ...]:
    """The declared sizes of an input."""
    return next(d.dims for d in model.declared if d.name == name)


def _range(model: Model, name: str) -> Range:
    low, high, length = 0, 1, 0
    tables: list[int] = []
    for node, use in _readers(model, name):
        if node.op == "Gather" and use.position == 1:
            table = model.shapes.get(node.inputs[0])
            if table:
                tables.append(table[int(node.attr("axis", 0))])
        elif node.op in _RECURRENT and use.position == 4:
            length = model.shapes[node.inputs[0]][0]
            low, high = 1, length
        elif node.op in _COMPARING:
            other = model.static_value(node.inputs[1 - use.position])
            if other is not None and other.size and other.dtype.kind in "iuf":
                numbers = other[np.isfinite(other)] if other.dtype.kind == "f" else other
                if numbers.size and abs(numbers).max() < 2**31:
                    low = min(low, int(numbers.min()) - 1)
                    high = max(high, int(numbers.max()) + 1)
    if tables:
        low, high = 0, min(tables) - 1
    if model.example[name].dtype.kind == "u":
        low = max(low, 0)
    return Range(low, high, length)


def _readers(model: Model, name: str) -> Iterator[tuple[Node, Use]]:
    """What reads an input, through operators that hand it on."""
    pending, seen = [name], {name}
    while pending:
        for use in model.graph.uses.get(pending.pop(), ()):
            node = model.graph.nodes[use.node]
            yield node, use
            if operator(node.op).moves and (use.position == 0 or node.op == "Concat"):
                more = [output for output in node.outputs if output and output not in seen]
                seen.update(more)
                pending += more


def shaken(feed: Example) -> dict[str, Array]:
    """The same inputs with other last bits; whole numbers stay, as they may be counted by."""
    changed = {}
    for number, (name, value) in enumerate(feed.items()):
        changed[name] = value
        if value.dtype.kind == "f":
            signs = np.random.default_rng(number).choice((-1, 1), value.shape)
            towards = (signs * np.inf).astype(value.dtype)
            whole = ~np.isfinite(value) | (value == np.floor(value))
            changed[name] = np.where(whole, value, np.nextafter(value, towards))
    return changed
