"""Draws a whole graph: a first layer, a few blocks, a last layer whose channels may go, a head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import onnx
from hypothesis import strategies as st

from tests.feeds import Input
from tests.graphs import STORAGES, Builder
from tests.random_graphs.bridges import PLAIN_SOURCES, SINCE, SOURCES, bridged, start
from tests.random_graphs.heads import head
from tests.random_graphs.registry import BLOCKS, Draw, Map, Working, one_of

# Up to the newest that ONNX Runtime takes; some often, as they alone have certain operators.
OPSETS = (9, 9, 10, 11, 12, 13, 15, 17, 18, 20, 21, 22, 23, 24, 24, 24, 26, 26, 26)
IR_VERSIONS = (4, 7, 8, 10, 13)
LEAST_CHANNELS, MOST_CHANNELS = 3, 32
MOST_PIXELS = 16 * 16
# Families of arithmetic on sizes are drawn twice as often as others.
OFTEN = ("batching", "padding")
# One plan, as new graphs find more than new plans.
SCOPES = ("local", "global")
# Sizes of the examples that SPA is given.
EXAMPLES = {"N": (2, 4), "H": (6, 8, 7), "W": (4, 6, 5), "T": (5, 8, 16), "S": (5, 8, 3)}


@dataclass(frozen=True)
class Choice:
    """How one plan is made."""

    scope: str
    criterion: str
    seed: int
    round_to: int
    target: str
    value: float


@dataclass(frozen=True)
class Drawn:
    """A random model, what was drawn for it, and how it is to be pruned."""

    proto: onnx.ModelProto
    opset: int
    batch: int | str
    storage: str
    source: str
    inputs: tuple[Input, ...]
    naming: str
    sizes: tuple[tuple[str, int], ...]
    blocks: tuple[str, ...]
    plain: bool
    attention: str
    plans: tuple[Choice, ...]

    def __repr__(self) -> str:
        return (
            f"Drawn(opset={self.opset}, batch={self.batch}, {self.storage}, {self.source}, "
            f"{self.naming}, {dict(self.sizes)}, "
            f"{self.blocks}, {self.attention}, {self.plans})"
        )

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the example where more than the batch is free, small ones."""
        if not self.source.startswith("any"):
            return {}
        return {each.name: each.shape(dict(self.sizes)) for each in self.inputs}


def _trimmed(g: Builder, x: Working) -> Working:
    """Keeps a graph small enough that thousands can be run, and wide enough to be cut."""
    if isinstance(x, Map):
        if not LEAST_CHANNELS <= x.channels <= MOST_CHANNELS:
            x = replace(x, name=g.conv(x.name, x.channels, 8, 1), channels=8)
        if x.sized and x.height * x.width > MOST_PIXELS:
            y = g.node("AveragePool", [x.name], kernel_shape=[4, 4], strides=[4, 4])
            x = Map(y, x.channels, x.height // 4, x.width // 4)
    elif not LEAST_CHANNELS <= x.width <= MOST_CHANNELS:
        x = replace(x, name=g.node("MatMul", [x.name, g.normal(x.width, 8)]), width=8)
    return x


def _last(g: Builder, draw: Draw, x: Working) -> Working:
    """A layer whose channels feed nothing but the head: one group at least may shrink."""
    if isinstance(x, Map):
        return replace(x, name=g.node("Relu", [g.conv(x.name, x.channels, 8, 1)]), channels=8)
    y = g.node("MatMul", [x.name, g.normal(x.width, 8)])
    y = g.node("Add", [y, g.normal(8, stem="b")])
    return replace(x, name=g.node("Relu", [y]), width=8)


def _block(draw: Draw, fitting: list[str]) -> str | None:
    """A family, then one of its blocks: small families come as often as large ones."""
    if not fitting:
        return None
    families = sorted({BLOCKS[name].family for name in fitting})
    family = one_of(draw, *families, *(name for name in families if name in OFTEN))
    return one_of(draw, *(name for name in fitting if BLOCKS[name].family == family))


def _named(draw: Draw, proto: onnx.ModelProto, inputs: Sequence[Input]) -> str:
    """Renames the free sizes: every file says less of them than is true, or nothing."""
    naming = one_of(draw, "named", "named", "unnamed", "apart")
    for value in proto.graph.input:
        dims = next((each.dims for each in inputs if each.name == value.name), ())
        for axis, dim in enumerate(dims):
            if isinstance(dim, str) and naming != "named":
                free = value.type.tensor_type.shape.dim[axis]
                free.Clear()
                if naming == "apart":
                    free.dim_param = f"{value.name}_{axis}"
    return naming


def _dressed(draw: Draw, proto: onnx.ModelProto) -> onnx.ModelProto:
    """What files have beside their nodes: declared shapes everywhere, or nodes without names."""
    dress = one_of(draw, "plain", "plain", "declared", "nameless")
    if dress == "declared":
        return onnx.shape_inference.infer_shapes(proto)
    for node in proto.graph.node if dress == "nameless" else ():
        node.name = ""
    return proto


def _plan(draw: Draw, scope: str) -> Choice:
    target = one_of(draw, "ratio", "ratio", "rf", "rp")
    share = one_of(draw, 0.25, 0.5, 0.8)
    return Choice(
        scope=scope,
        criterion=one_of(draw, "l1", "l2", "random"),
        seed=draw(st.integers(0, 99)),
        round_to=one_of(draw, 1, 1, 2, 4),
        target=target,
        value=share if target == "ratio" else 1 + share,
    )


@st.composite
def graphs(
    draw: Draw,
    *,
    plain: bool = False,
    max_blocks: int = 5,
    sources: tuple[str, ...] = (),
    names: tuple[str, ...] = (),
) -> Any:
    """Draws a model.

    Args:
        draw: hypothesis's.
        plain: fit for the perturbation oracle: every weight in an initializer that is read
            directly, and attention loses heads.
        max_blocks: blocks at most.
        sources: kinds of input, of which one is drawn; none means all.
        names: blocks that may be drawn; none means all.
    """
    opset = one_of(draw, *OPSETS)
    batch = one_of(draw, "N", "N", 2)
    storage = "initializer" if plain else one_of(draw, *STORAGES)
    sources = sources or (PLAIN_SOURCES if plain else SOURCES)
    source = one_of(draw, *(each for each in sources if SINCE.get(each, 0) <= opset))
    g = Builder(opset, batch, draw(st.integers(0, 2**16)), storage)
    begun = start(g, draw, source)
    x = begun.x
    early = x
    chosen = []
    for _ in range(draw(st.integers(1, max_blocks))):
        name = _block(draw, [n for n in sorted(names or BLOCKS) if BLOCKS[n].fits(g, x, plain)])
        if name is None:
            break
        chosen.append(name)
        x = bridged(g, draw, x, BLOCKS[name].takes)
        x = _trimmed(g, BLOCKS[name].make(g, draw, x))
    outputs = [head(g, draw, _last(g, draw, x), None if plain else begun.words, plain)]
    if draw(st.integers(0, 5)) == 0:
        outputs.append(early.name)  # the first layer's channels are an output, so they are kept
    attention = "heads" if plain else one_of(draw, "heads", "heads", "head_dim", "none")
    plans = (_plan(draw, one_of(draw, *SCOPES)),)
    proto = g.model(*outputs)
    proto.ir_version = one_of(draw, *IR_VERSIONS)
    naming = _named(draw, proto, begun.inputs)
    proto = _dressed(draw, proto)
    sizes = tuple((name, one_of(draw, *values)) for name, values in EXAMPLES.items())
    return Drawn(
        proto, opset, batch, storage, source, begun.inputs, naming, sizes, tuple(chosen), plain,
        attention, plans,
    )  # fmt: skip
