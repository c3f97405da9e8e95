"""Sizes that are not known until the model runs, and what can be said of them.

A size is an ``int``, a `Symbol`, or an expression of SymPy. Two sizes are equal only where the
algebra says so; what it cannot bring to one form counts as different. What an operator makes of
sizes that is no sum, product or quotient (a minimum, a remainder, the output of a strided window)
is a symbol of its own, the same one for the same operator on the same sizes.

SymPy is asked for where there is something to compute, and imported then: most networks of
convolutions only pass their batch on.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

# A longer expression becomes a symbol, so that no file makes the algebra slow.
MOST_TERMS = 60
# Calls that stand for the size of an axis. As those of the inputs, it is taken to be 1 or more.
AXES = frozenset({
    "bins", "broadcast", "frames", "min", "one side", "part", "range", "rest", "scaled", "size",
    "slice", "transposed", "unpool", "windows",
})  # fmt: skip
# What SymPy calls a number that is not below 0, or 1.
SIGNS = ("nonnegative", "positive")
# Calls that stand for a count, which may be 0.
COUNTS = frozenset({"share", "true"})
# Further calls that give whole numbers.
WHOLE = frozenset({"Ceil", "Floor", "Round", "cut", "div", "max"})


@dataclass(frozen=True, eq=False)
class Symbol:
    """A size, or a number computed from sizes, that the file leaves open.

    Attributes:
        name: for people; two symbols may share one.
        lowest: a bound from below: 1 or 0; None where it may be anything.
        whole: whether it is a whole number.
    """

    name: str
    lowest: int | None = 1
    whole: bool = True

    def __str__(self) -> str:
        return self.name


# int (or another plain number, of values), Symbol, or sympy.Expr, which is not imported here.
Size: TypeAlias = Any


class Algebra:
    """Computes with sizes; symbols of one model belong to one algebra."""

    def __init__(self) -> None:
        self._calls: dict[tuple[Any, ...], Symbol] = {}
        self._arguments: dict[Symbol, tuple[Any, ...]] = {}
        self._known: dict[Symbol, Size] = {}
        self._results: dict[tuple[str, Size, Size], Size] = {}
        self._there: dict[Symbol, Any] = {}
        self._back: dict[Any, Symbol] = {}

    # --- symbols ------------------------------------------------------------------------------

    def call(self, what: str, *sizes: Size) -> Symbol:
        """The symbol of an operator's result for some sizes (or settings)."""
        key = (what, *map(self.resolved, sizes))
        symbol = self._calls.get(key)
        if symbol is None:
            text = ", ".join(map(str, key[1:]))
            name = f"{what}({text})" if len(text) < 80 else f"{what}_{len(self._calls)}"
            lowest = 1 if what in AXES else 0 if what in COUNTS else None
            symbol = Symbol(name, lowest, whole=lowest is not None or what in WHOLE)
            self._calls[key] = symbol
            self._arguments[symbol] = key
        return symbol

    def called(self, size: Size) -> tuple[Any, ...]:
        """The operator and the sizes behind a symbol; empty for any other size."""
        return self._arguments.get(size, ()) if isinstance(size, Symbol) else ()

    def learn(self, size: Size, known: Size) -> None:
        """Takes in that a symbol equals another size wherever the model runs at all."""
        size, known = self.resolved(size), self.resolved(known)
        if isinstance(size, Symbol) and _is_int(known):
            self._known[size] = known

    def resolved(self, size: Size) -> Size:
        """A size with all in place that was learnt."""
        if not self._known or _is_plain(size):
            return size
        if isinstance(size, Symbol):
            return self._known.get(size, size)
        if not hasattr(size, "free_symbols"):
            return size  # a setting of a call
        known = {self._there[s]: v for s, v in self._known.items() if s in self._there}
        if known.keys().isdisjoint(size.free_symbols):
            return size
        return self._taken(size.subs(known))

    # --- arithmetic ---------------------------------------------------------------------------

    def plus(self, a: Size, b: Size) -> Size:
        """Their sum."""
        if _is_plain(a) and _is_plain(b):
            return a + b
        if _is_zero(b):
            return a
        if _is_zero(a):
            return b
        return self._computed("+", a, b)

    def minus(self, a: Size, b: Size) -> Size:
        """Their difference."""
        if _is_plain(a) and _is_plain(b):
            return a - b
        if _is_zero(b):
            return a
        return 0 if a is b else self._computed("-", a, b)

    def times(self, a: Size, b: Size) -> Size:
        """Their product."""
        if _is_plain(a) and _is_plain(b):
            return a * b
        for one, other in ((a, b), (b, a)):
            if _is_int(one) and one in (0, 1):
                return other if one else 0
        return self._computed("*", a, b)

    def product(self, sizes: Sequence[Size]) -> Size:
        """The product of some sizes."""
        whole = math.prod(filter(_is_plain, sizes))
        return functools.reduce(self.times, (s for s in sizes if not _is_plain(s)), whole)

    def over(self, a: Size, b: Size) -> Size:
        """Their quotient as real numbers; a call where it is no polynomial."""
        if _is_plain(a) and _is_plain(b) and b:
            return a // b if _is_int(a) and _is_int(b) and a % b == 0 else a / b
        if a is b:
            return 1
        if _is_zero(b):
            return self.call("/", a, b)
        return a if _is_int(b) and b == 1 else self._computed("/", a, b)

    def divided(self, a: Size, b: Size) -> Size:
        """Their quotient as ONNX divides integers (towards zero)."""
        if _is_int(a) and _is_int(b) and b:
            return int(abs(a) // abs(b)) * (1 if (a < 0) == (b < 0) else -1)
        exact = self.over(a, b)
        if is_whole(exact):
            return exact
        counted = self.sign(a, -1) == 1 and self.sign(b, 0) == 1
        return self.call("share" if counted else "div", a, b)

    def quotient(self, dividend: Sequence[Size], divisor: Sequence[Size]) -> Size:
        """What is left of a product that another one divides: the -1 of a Reshape."""
        above, below = _apart(dividend, divisor)
        return self.divided(self.product(above), self.product(below))

    def same_product(self, a: Sequence[Size], b: Sequence[Size]) -> bool:
        """Whether two products are equal at all sizes of the inputs."""
        left, right = _apart([*map(self.resolved, a)], [*map(self.resolved, b)])
        return self.same(self.product(left), self.product(right))

    def sign(self, a: Size, b: Size) -> int | None:
        """Of a - b: 1, 0 or -1 where it is the same for all inputs, else None."""
        gap = self.minus(self.resolved(a), self.resolved(b))
        if _is_plain(gap):
            return int(gap > 0) - int(gap < 0)
        if isinstance(gap, Symbol):
            return 1 if gap.lowest == 1 else None
        return 1 if gap.is_positive else -1 if gap.is_negative else None

    def same(self, a: Size, b: Size) -> bool:
        """Whether two sizes are equal at all sizes of the inputs."""
        a, b = self.resolved(a), self.resolved(b)
        return a is b or _same(a, b)

    def broadcast(self, a: Size, b: Size) -> Size:
        """The size of an axis of an elementwise operator's output.

        A size above 1 that the file fixes is the output's. Where both are open, one is only where
        it cannot be 1 while the other is not.
        """
        a, b = self.resolved(a), self.resolved(b)
        if a is b or _same(a, b):
            return a
        for one, other in ((a, b), (b, a)):
            if _is_int(one):
                return other if one == 1 else one
        for one, other in ((a, b), (b, a)):
            if self.called(other)[:1] in (("min",), ("broadcast",)) and one in self.called(other):
                return one if self.called(other)[0] == "min" else other
        return self.call("broadcast", a, b)

    # --- SymPy --------------------------------------------------------------------------------

    def _computed(self, operator: str, a: Size, b: Size) -> Size:
        a, b = _exact(self.resolved(a)), _exact(self.resolved(b))
        key = (operator, a, b)
        if key not in self._results:
            self._results[key] = self._worked_out(operator, a, b)
        return self._results[key]

    def _worked_out(self, operator: str, a: Size, b: Size) -> Size:
        key = (operator, a, b)
        if any(isinstance(x, float) for x in (a, b)):
            return self.call(*key)  # rounding may make two of what is one in theory
        x, y = self._given(a), self._given(b)
        if operator == "/":
            result = x / y
            halved = _is_int(b) and b > 0 and b & (b - 1) == 0
            if not result.is_polynomial() or not (result.is_integer or halved):
                return self.call(*key)
        else:
            result = x + y if operator == "+" else x - y if operator == "-" else x * y
        if len(result.args) > MOST_TERMS or result.count_ops() > MOST_TERMS:
            return self.call(*key)
        return self._taken(result)

    def _given(self, size: Size) -> Any:
        import sympy

        if not isinstance(size, Symbol):
            return sympy.Integer(size) if _is_int(size) else size
        if size not in self._there:
            # Dummies: symbols are told by what they are, not by name.
            kind = {"integer": True} if size.whole else {"real": True}
            facts = kind if size.lowest is None else {**kind, SIGNS[size.lowest]: True}
            self._there[size] = sympy.Dummy(size.name, **facts)
            self._back[self._there[size]] = size
        return self._there[size]

    def _taken(self, result: Any) -> Size:
        if result.is_Integer:
            return int(result)
        return self._back.get(result, result)


def _apart(a: Sequence[Size], b: Sequence[Size]) -> tuple[list[Size], list[Size]]:
    """Factors of two products without those that both have, which is most of them."""
    left, right = list(a), []
    for size in b:
        place = next((i for i, other in enumerate(left) if _same(other, size)), None)
        if place is None:
            right.append(size)
        else:
            del left[place]
    return left, right


def _exact(size: Size) -> Size:
    """A whole number as an ``int``, in whatever type it was read."""
    return int(size) if isinstance(size, float) and size.is_integer() else size


def _is_plain(size: Size) -> bool:
    return isinstance(size, (int, float))


def _is_int(size: Size) -> bool:
    return isinstance(size, int)


def _is_zero(size: Size) -> bool:
    return _is_plain(size) and size == 0


def is_whole(size: Size) -> bool:
    """Whether a number is a whole one, whatever its symbols stand for."""
    if _is_plain(size):
        return float(size).is_integer()
    return size.whole if isinstance(size, Symbol) else bool(size.is_integer)


def _same(a: Size, b: Size) -> bool:
    if isinstance(a, Symbol) or isinstance(b, Symbol):
        return a is b
    return bool(a == b)
