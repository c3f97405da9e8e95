"""Shape arithmetic: numbers that are computed from sizes, entry by entry.

Sums, products and exact quotients are worked out. Of everything else (a remainder, a minimum, a
rounded quotient) it is known that it is the same number for the same operands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx

from spa.graph.nodes import Node
from spa.graph.sizes.algebra import Algebra, Size, is_whole
from spa.graph.sizes.families.selection import FAR, bounds_of
from spa.graph.sizes.registry import Numbers, Reasoner, numbers_of


def _vector(values: Any) -> Numbers:
    """An object array that does not try to look into its entries."""
    values = list(values)
    result = np.empty(len(values), dtype=object)
    result[:] = values
    return result


def _scalar(value: Size) -> Numbers:
    result = np.empty((), dtype=object)
    result[()] = value
    return result


def _is_whole(node: Node, reason: Reasoner) -> bool:
    kind = reason.dtype(node.outputs[0])
    return kind is not None and kind.kind in "iu"


@numbers_of("Shape")
def shape(node: Node, reason: Reasoner) -> Numbers:
    axes = list(reason.axes(node.inputs[0]))
    return _vector(axes[slice(node.attr("start"), node.attr("end"))])


@numbers_of("Size")
def size(node: Node, reason: Reasoner) -> Numbers:
    return _scalar(reason.algebra.product(reason.axes(node.inputs[0])))


# --- entry by entry -------------------------------------------------------------------------------

Binary = Callable[[Algebra, Size, Size], Size]
EXACT: dict[str, Binary] = {
    "Add": Algebra.plus, "Sub": Algebra.minus, "Mul": Algebra.times, "Sum": Algebra.plus,
}  # fmt: skip
PLAIN: dict[str, Callable[..., Any]] = {
    "Abs": abs, "And": lambda a, b: int(bool(a) and bool(b)), "Ceil": math.ceil,
    "Equal": lambda a, b: int(a == b), "Exp": math.exp, "Floor": math.floor,
    "Greater": lambda a, b: int(a > b), "GreaterOrEqual": lambda a, b: int(a >= b),
    "Less": lambda a, b: int(a < b), "LessOrEqual": lambda a, b: int(a <= b), "Log": math.log,
    "Max": max, "Min": min, "Not": lambda a: int(not a),
    "Or": lambda a, b: int(bool(a) or bool(b)), "Reciprocal": lambda a: 1 / a, "Round": round,
    "Sign": lambda a: (a > 0) - (a < 0), "Sqrt": math.sqrt,
    "Xor": lambda a, b: int(bool(a) != bool(b)),
}  # fmt: skip
# These give back a whole number as it is.
ROUNDING = ("Ceil", "Floor", "Round")


@numbers_of(
    "Abs", "Add", "And", "Ceil", "Div", "Equal", "Exp", "Floor", "Greater", "GreaterOrEqual",
    "Less", "LessOrEqual", "Log", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pow",
    "Reciprocal", "Round", "Sign", "Sqrt", "Sub", "Sum", "Where", "Xor",
)  # fmt: skip
def elementwise(node: Node, reason: Reasoner) -> Numbers | None:
    read = [reason.numbers(name) for name in node.inputs]
    if any(numbers is None for numbers in read):
        return None
    known = [numbers for numbers in read if numbers is not None]
    wide = np.broadcast_arrays(*known)
    result = np.empty(wide[0].shape, dtype=object)
    whole = _is_whole(node, reason)
    for place in np.ndindex(*result.shape):
        result[place] = _of_one(node, reason.algebra, [numbers[place] for numbers in wide], whole)
    return result


def _of_one(node: Node, algebra: Algebra, read: list[Size], whole: bool) -> Size:
    op = node.op
    if op == "Where":
        condition, yes, no = read
        if isinstance(condition, (int, float)):
            return yes if condition else no
        return yes if algebra.same(yes, no) else algebra.call("where", *read)
    if op in EXACT:
        total = read[0]
        for other in read[1:]:
            total = EXACT[op](algebra, total, other)
        return total
    if op == "Neg":
        return algebra.times(read[0], -1)
    if op == "Div":
        return algebra.divided(*read) if whole else algebra.over(*read)
    if all(isinstance(number, (int, float)) for number in read):
        return _of_plain(op, algebra, read, node.attrs)
    if op in ROUNDING and is_whole(read[0]):
        return read[0]
    if op in ("Min", "Max"):
        return _larger_or_smaller(op, algebra, read)
    if op in COMPARED and (sign := algebra.sign(*read)) is not None:
        return int(COMPARED[op](sign))
    return algebra.call(op, *read, *map(str, node.attrs.values()))


COMPARED: dict[str, Callable[[int], bool]] = {
    "Equal": lambda sign: sign == 0, "Greater": lambda sign: sign > 0,
    "GreaterOrEqual": lambda sign: sign >= 0, "Less": lambda sign: sign < 0,
    "LessOrEqual": lambda sign: sign <= 0,
}  # fmt: skip


def _larger_or_smaller(op: str, algebra: Algebra, read: list[Size]) -> Size:
    """The largest or smallest of some numbers, those left out of which that is known."""
    left = list(dict.fromkeys(read))
    wanted = 1 if op == "Max" else -1
    for number in list(left):
        if any(algebra.sign(other, number) == wanted for other in left if other is not number):
            left.remove(number)
    return left[0] if len(left) == 1 else algebra.call(op.lower(), *left)


def _of_plain(op: str, algebra: Algebra, read: list[Any], settings: Mapping[str, Any]) -> Size:
    try:
        if op in PLAIN:
            return PLAIN[op](*read)
        if op == "Mod" and read[1]:
            return math.fmod(*read) if settings.get("fmod", 0) else read[0] % read[1]
        if op == "Pow" and read[0] >= 0 and abs(read[1]) <= 16:
            return read[0] ** read[1]
    except (OverflowError, ValueError, ZeroDivisionError):
        pass
    return algebra.call(op, *read)


@numbers_of("Cast", "CastLike")
def cast(node: Node, reason: Reasoner) -> Numbers | None:
    """A quotient that becomes an integer is cut off; sizes are whole numbers in any type."""
    numbers = reason.numbers(node.inputs[0])
    kind = reason.dtype(node.outputs[0])
    if numbers is None or kind is None:
        return None
    if kind.kind in "iu":
        return _each(numbers, lambda x: _cut_off(reason.algebra, x))
    if kind.kind == "b":
        return _each(numbers, lambda x: _truth(reason.algebra, x))
    return numbers


def _truth(algebra: Algebra, number: Size) -> Size:
    sign = algebra.sign(number, 0)
    return algebra.call("true", number) if sign is None else int(sign != 0)


def _cut_off(algebra: Algebra, number: Size) -> Size:
    if isinstance(number, float):
        return int(number) if math.isfinite(number) else algebra.call("cut", number)
    return number if is_whole(number) else algebra.call("cut", number)


def _each(numbers: Numbers, function: Callable[[Size], Size]) -> Numbers:
    result = np.empty(numbers.shape, dtype=object)
    for place in np.ndindex(*numbers.shape):
        result[place] = function(numbers[place])
    return result


# --- movement -------------------------------------------------------------------------------------


@numbers_of("Identity")
def identity(node: Node, reason: Reasoner) -> Numbers | None:
    return reason.numbers(node.inputs[0])


@numbers_of("Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose")
def rearranged(node: Node, reason: Reasoner) -> Numbers | None:
    numbers = _whole(node.inputs[0], reason)
    if numbers is None or not _keeps_shape(node, reason):
        return None
    if node.op == "Transpose":
        return numbers.transpose(node.attr("perm", range(numbers.ndim)[::-1]))
    return numbers.reshape(reason.seen(node.outputs[0]))


def _whole(name: str, reason: Reasoner) -> Numbers | None:
    """All entries, of a tensor whose shape is fixed; of another, where they are all alike."""
    numbers = reason.numbers(name)
    if numbers is None:
        return None
    if not all(isinstance(size, int) for size in reason.axes(name)):
        return None
    return np.broadcast_to(numbers, reason.seen(name))


def _keeps_shape(node: Node, reason: Reasoner) -> bool:
    """Whether the output's shape is fixed, too: a list's length may be read from a shape."""
    return all(not name or reason.fixed(name) is not None for name in node.inputs[1:])


@numbers_of("Concat")
def concat(node: Node, reason: Reasoner) -> Numbers | None:
    parts: list[Numbers] = []
    for name in node.inputs:
        numbers = _whole(name, reason)
        if numbers is None:
            rank, shape = len(reason.seen(name)), reason.seen(name)
            if rank != 1 or not all(isinstance(size, int) for size in reason.axes(name)):
                return None
            # Of a part that nothing is known of, nothing is known; the others stay what they are.
            numbers = _vector(reason.algebra.call("entry", name, k) for k in range(shape[0]))
        parts.append(numbers)
    return np.concatenate(parts, axis=int(node.attr("axis", 0)))


@numbers_of("Gather")
def gather(node: Node, reason: Reasoner) -> Numbers | None:
    numbers, indices = _whole(node.inputs[0], reason), reason.fixed(node.inputs[1])
    if numbers is None or indices is None:
        return None
    taken = np.take(numbers, indices.astype(np.int64), axis=int(node.attr("axis", 0)))
    return taken if isinstance(taken, np.ndarray) else _scalar(taken)


@numbers_of("Slice")
def slice_(node: Node, reason: Reasoner) -> Numbers | None:
    numbers = _whole(node.inputs[0], reason)
    if numbers is None:
        return None
    bounds = bounds_of(node, reason, numbers.ndim)
    if bounds is None:
        return None
    picks = [slice(None)] * numbers.ndim
    for axis, bound in bounds.items():
        if not all(isinstance(number, int) for number in bound):
            return None
        start, end, step = bound
        far = step < 0 and end < -FAR
        picks[axis] = slice(start, None if far else end, step)
    return numbers[tuple(picks)]


@numbers_of("Split")
def split(node: Node, reason: Reasoner) -> Any:
    numbers = _whole(node.inputs[0], reason)
    if numbers is None or not _keeps_shape(node, reason):
        return None
    axis = int(node.attr("axis", 0))
    lengths = [reason.seen(name)[axis] if name else 0 for name in node.outputs]
    if not all(node.outputs):
        return None
    return np.split(numbers, np.cumsum(lengths)[:-1], axis=axis)


@numbers_of("ConstantOfShape")
def filled(node: Node, reason: Reasoner) -> Numbers | None:
    """One number, however many there are of it."""
    fill = node.attr("value")
    number = 0.0 if fill is None else onnx.numpy_helper.to_array(fill).reshape(-1)[0].item()
    rank = len(reason.seen(node.outputs[0]))
    result = np.empty((1,) * rank, dtype=object)
    result.fill(number if isinstance(number, float) else int(number))
    return result


@numbers_of("Expand", "Tile")
def repeated(node: Node, reason: Reasoner) -> Numbers | None:
    """One number, repeated however often."""
    numbers = reason.numbers(node.inputs[0])
    if numbers is None or numbers.size != 1:
        return None
    return numbers.reshape((1,) * len(reason.seen(node.outputs[0])))


@numbers_of("ReduceProd", "ReduceSum", "ReduceMax", "ReduceMin")
def folded(node: Node, reason: Reasoner) -> Numbers | None:
    """Over all entries of a list."""
    numbers = _whole(node.inputs[0], reason)
    if numbers is None or numbers.ndim != 1 or not _keeps_shape(node, reason) or not numbers.size:
        return None
    total: Size = numbers[0]
    for number in numbers[1:]:
        if node.op in ("ReduceProd", "ReduceSum"):
            step = Algebra.times if node.op == "ReduceProd" else Algebra.plus
            total = step(reason.algebra, total, number)
        else:
            total = reason.algebra.call(node.op[6:].lower(), total, number)
    return np.broadcast_to(_scalar(total), reason.seen(node.outputs[0]))


@numbers_of("ScatterElements", "ScatterND")
def scattered(node: Node, reason: Reasoner) -> Numbers | None:
    """Entries of a list that are put in known places."""
    numbers, places = _whole(node.inputs[0], reason), reason.fixed(node.inputs[1])
    updates = _whole(node.inputs[2], reason)
    if numbers is None or places is None or updates is None or numbers.ndim != 1:
        return None
    if node.attr("reduction", "none") != "none":
        return None
    result = np.array(numbers)
    for place, number in zip(places.reshape(-1), updates.reshape(-1), strict=True):
        result[int(place)] = number
    return result
