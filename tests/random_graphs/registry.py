"""What every family of blocks shares: the two working tensors, the registry, and small helpers.

A block takes a map (N, C, H, W) or tokens (N, T, D) and gives either. It is registered with
`block`, which says what it takes and where it cannot stand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.graphs import Builder

# First opset in which ONNX Runtime no longer has an operator's kernel.
NO_KERNEL = {"GlobalLpPool": 22, "Swish": 25}

Draw = Callable[[st.SearchStrategy[Any]], Any]


@dataclass(frozen=True)
class Map:
    """A tensor (N, channels, height, width); sizes are None where they are dynamic."""

    name: str
    channels: int
    height: int | None
    width: int | None

    @property
    def sized(self) -> bool:
        return self.height is not None


@dataclass(frozen=True)
class Tokens:
    """A tensor (N, count, width); the count is None where it is dynamic."""

    name: str
    count: int | None
    width: int

    @property
    def sized(self) -> bool:
        return self.count is not None


Working = Map | Tokens
Make = Callable[[Builder, Draw, Any], Any]


@dataclass(frozen=True)
class Block:
    """One kind of random layer.

    Attributes:
        name: of the function that makes it.
        takes: `Map` or `Tokens`.
        make: adds it to a builder, and returns what it gives.
        sized: it needs to know the sizes that may be dynamic.
        since: first opset that has its operators.
        until: first opset at which ONNX Runtime no longer runs them.
        plain: whether the perturbation oracle can judge it: its weights are read directly, and what
            goes is not summed over without a weight that could be zeroed.
    """

    name: str
    takes: type
    make: Make
    sized: bool
    since: int
    until: int
    plain: bool

    @property
    def family(self) -> str:
        """Name of the file that it stands in."""
        return self.make.__module__.rpartition(".")[2]

    def fits(self, g: Builder, x: Working, plain: bool) -> bool:
        """Whether it may follow ``x``, if need be behind a bridge."""
        bridged = isinstance(x, Map) or x.sized or self.takes is Tokens
        sized = x.sized or not self.sized
        known = self.since <= g.opset < self.until
        return bridged and sized and known and (self.plain or not plain)


BLOCKS: dict[str, Block] = {}


def block(
    takes: type, *, sized: bool = False, since: int = 9, until: int = 99, plain: bool = True
) -> Callable[[Make], Make]:
    """Registers a block; see `Block`."""

    def register(function: Make) -> Make:
        name = function.__name__.strip("_")
        assert name not in BLOCKS, f"two blocks named {name}"
        BLOCKS[name] = Block(name, takes, function, sized, since, until, plain)
        return function

    return register


# --- drawing ------------------------------------------------------------------------------------


def one_of(draw: Draw, *values: Any) -> Any:
    return draw(st.sampled_from(values))


def flip(draw: Draw) -> bool:
    return draw(st.booleans())


def width(draw: Draw) -> int:
    return one_of(draw, 4, 6, 8, 12)


# --- weights and layers -------------------------------------------------------------------------


def vector(g: Builder, size: int, centre: float, stem: str = "v", positive: bool = False) -> str:
    value = g._vector(size, centre)
    return g.weight(np.abs(value) + np.float32(0.5) if positive else value, stem)


def scalar(g: Builder, value: float, stem: str = "c") -> str:
    return g.weight(np.float32(value), stem, "initializer")


def conv(g: Builder, draw: Draw, x: Map, cout: int, k: int | None = None) -> str:
    k = one_of(draw, 1, 3) if k is None else k
    return g.conv(x.name, x.channels, cout, k, bias=flip(draw))


def quad(g: Builder, draw: Draw, x: Map) -> Map:
    """The same map, its channels brought to a multiple of 4."""
    if x.channels % 4 == 0:
        return x
    return replace(x, name=conv(g, draw, x, 8, 1), channels=8)


def linear(g: Builder, draw: Draw, name: str, din: int, dout: int, bias: bool | None = None) -> str:
    """A linear layer over the last axis of (N, T, din), in one of the spellings of exporters."""
    bias = flip(draw) if bias is None else bias
    if one_of(draw, "matmul", "matmul", "gemm") == "gemm":
        rows = g.reshape(name, [-1, din])
        y = g.gemm(rows, din, dout, trans=draw(st.integers(0, 1)), bias=bias)
        shape = g.node("Shape", [name])
        lead = g.slice(shape, 0, 2, 0)
        return g.node("Reshape", [y, g.node("Concat", [lead, g.ints([dout])], axis=0)])
    y = g.node("MatMul", [name, g.normal(din, dout)])
    if bias:
        b = g.normal(dout, stem="b")
        y = g.node("Add", [y, b] if flip(draw) else [b, y])
    return y


def shape_part(g: Builder, name: str, axis: int) -> str:
    """One size as a list of one number, as exporters take it."""
    size = g.node("Gather", [g.node("Shape", [name]), g.ints(axis)], axis=0)
    return g.unsqueeze(size, [0])


def table(g: Builder, *shape: int, stem: str = "table", scale: float = 0.3) -> str:
    """A random constant that is no weight of a contraction."""
    return g.weight((scale * g.rng.standard_normal(shape)).astype(np.float32), stem)


def untied(g: Builder, x: Tokens) -> str:
    """Tokens of which no two are equal, so that rounding does not decide which is the largest."""
    return g.node("Add", [x.name, table(g, x.count, x.width, stem="slope")])


def last_axis(g: Builder, rank: int) -> int:
    """The last axis as old opsets want it: counted from the front."""
    return -1 if g.opset >= 11 else rank - 1


def permute(g: Builder, name: str, *perm: int) -> str:
    return g.node("Transpose", [name], perm=list(perm))


def concat(g: Builder, parts: Sequence[str], axis: int) -> str:
    return g.node("Concat", list(parts), axis=axis)
