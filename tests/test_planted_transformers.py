"""A narrow transformer block hidden in a wide one comes back exactly: its heads and its MLP."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import spa
from tests.graphs import Builder, attribute, initializer
from tests.oracles import AxisSpec, plant, random_feeds, run

WIDTH, TOKENS, DIM = 8, 5, 4
Specs = dict[str, list[AxisSpec]]
Attention = Callable[[Builder, str, Specs], str]
FORMS: dict[str, Attention] = {}
# Attributes that count heads: the wide network has twice as many.
COUNTS = ("num_heads", "q_num_heads", "kv_num_heads")


def form(function: Attention) -> Attention:
    FORMS[function.__name__] = function
    return function


def one(symbol: str, inner: int = 1, outer: int = 1) -> list[tuple[str, int, int]]:
    return [(symbol, inner, outer)]


def linear(g: Builder, x: str, stem: str, width: int, out: int, specs: Specs, axes) -> str:
    """x W + b; ``axes`` says what W's two axes hold."""
    w, b = g.normal(width, out, stem=stem), g.normal(out, stem=f"{stem}b")
    specs[w], specs[b] = list(axes), [axes[1]]
    return g.node("Add", [g.node("MatMul", [x, w]), b])


def norm(g: Builder, x: str, stem: str) -> str:
    vectors = [g.normal(WIDTH, stem=f"{stem}scale"), g.normal(WIDTH, stem=f"{stem}shift")]
    return g.node("LayerNormalization", [x, *vectors], axis=-1)


def projected(g: Builder, x: str, specs: Specs, group: int = 1) -> list[str]:
    """q, k and v of two heads (of k and v), each shared by ``group`` of q."""
    return [
        linear(g, x, stem, WIDTH, 2 * times * DIM, specs, [WIDTH, one("h", inner=times * DIM)])
        for stem, times in (("q", group), ("key", 1), ("v", 1))
    ]


def split(g: Builder, x: str) -> str:
    return g.node("Transpose", [g.reshape(x, [0, TOKENS, -1, DIM])], perm=[0, 2, 1, 3])


def chain(g: Builder, q: str, k: str, v: str) -> str:
    """q, k, v: (B, h, T, d); gives (B, T, h*d)."""
    scores = g.node("MatMul", [q, g.node("Transpose", [k], perm=[0, 1, 3, 2])])
    scores = g.node("Mul", [scores, g.weight(np.float32(DIM**-0.5), "scale")])
    y = g.node("MatMul", [g.node("Softmax", [scores], axis=-1), v])
    return g.reshape(g.node("Transpose", [y], perm=[0, 2, 1, 3]), [0, TOKENS, -1])


def project(g: Builder, y: str, specs: Specs, group: int = 1) -> str:
    heads = one("h", inner=group * DIM)
    return linear(g, y, "out", 2 * group * DIM, WIDTH, specs, [heads, WIDTH])


@form
def plain(g, x, specs):
    q, k, v = (split(g, y) for y in projected(g, x, specs))
    return project(g, chain(g, q, k, v), specs)


@form
def packed(g, x, specs):
    qkv = linear(g, x, "qkv", WIDTH, 6 * DIM, specs, [WIDTH, one("h", inner=DIM, outer=3)])
    stacked = g.reshape(qkv, [0, TOKENS, 3, -1, DIM])
    stacked = g.node("Transpose", [stacked], perm=[2, 0, 3, 1, 4])
    q, k, v = (g.node("Gather", [stacked, g.ints(i)], axis=0) for i in range(3))
    return project(g, chain(g, q, k, v), specs)


@form
def grouped(g, x, specs):
    """Every head of k and v is shared by two of q."""
    q, k, v = (split(g, y) for y in projected(g, x, specs, group=2))
    k, v = (g.node("Tile", [g.unsqueeze(y, [2]), g.ints([1, 1, 2, 1, 1])]) for y in (k, v))
    k, v = (g.reshape(y, [0, -1, TOKENS, DIM]) for y in (k, v))
    return project(g, chain(g, q, k, v), specs, group=2)


@form
def fused(g, x, specs):
    q, k, v = projected(g, x, specs)
    y = g.node("Attention", [q, k, v], q_num_heads=2, kv_num_heads=2)
    return project(g, y, specs)


@form
def fused_and_grouped(g, x, specs):
    q, k, v = projected(g, x, specs, group=2)
    y = g.node("Attention", [q, k, v], q_num_heads=4, kv_num_heads=2)
    return project(g, y, specs, group=2)


@form
def fused_with_its_projection(g, x, specs):
    w, b = g.normal(WIDTH, 6 * DIM, stem="qkv"), g.normal(6 * DIM, stem="qkvb")
    heads = one("h", inner=DIM, outer=3)
    specs[w], specs[b] = [WIDTH, heads], [heads]
    y = g.node("Attention", [x, w, b], domain="com.microsoft", num_heads=2)
    return project(g, y, specs)


def block(attention: Attention) -> tuple[onnx.ModelProto, Specs]:
    """Pre-norm attention and MLP, each with its residual."""
    g = Builder(opset=23)
    specs: Specs = {}
    x = g.input(TOKENS, WIDTH)
    x = g.node("Add", [x, attention(g, norm(g, x, "first"), specs)])
    y = linear(g, norm(g, x, "second"), "up", WIDTH, 6, specs, [WIDTH, one("m")])
    y = linear(g, g.node("Gelu", [y]), "down", 6, WIDTH, specs, [one("m"), WIDTH])
    return g.model(g.node("Add", [x, y])), specs


@pytest.mark.parametrize("criterion", ["l1", "l2"])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", sorted(FORMS))
def test_the_narrow_block_comes_back(name, seed, criterion):
    narrow, specs = block(FORMS[name])
    wide = plant(narrow, specs, {"h": 2, "m": 6}, seed=seed)
    for node in wide.graph.node:
        for entry in node.attribute:
            if entry.name in COUNTS:
                entry.i *= 2
    result = spa.prune(wide, criterion=criterion, ratio=0.5, limits=spa.Limits(scope="local"))
    assert result.proof.equal
    for tensor in narrow.graph.initializer:
        if tensor.name in specs:
            got = initializer(result.model, tensor.name)
            assert np.array_equal(got, numpy_helper.to_array(tensor)), tensor.name
    for node, other in zip(narrow.graph.node, result.model.graph.node, strict=True):
        assert [attribute(node, name) for name in COUNTS] == [
            attribute(other, name) for name in COUNTS
        ]
    feeds = random_feeds(narrow, seed, batch=2)
    (want,), (have,) = (list(run(proto, feeds).values()) for proto in (narrow, result.model))
    np.testing.assert_allclose(have, want, rtol=1e-5, atol=1e-5)
