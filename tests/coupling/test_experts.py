"""Mixtures of experts, their weights stacked in one tensor (experts, width, hidden) or apart.

The hidden width shrinks in all experts at once, as the stacked tensor has one axis for it. Experts
themselves may go where a softmax weighs them all, which is not exact, as it is taken over fewer
then; where the router picks the best few (TopK), they are kept.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from tests.coupling.modules import Modules, linear
from tests.graphs import Builder

MODULES = Modules()
module = MODULES.expect
EXPERTS, WIDTH, HIDDEN, TOKENS = 3, 4, 6, 5


def _tokens(g: Builder) -> str:
    """(N, tokens, width), of a width that may shrink."""
    return linear(g, g.input(TOKENS, 7), 7, WIDTH, stem="in")


def _router(g: Builder, x: str) -> str:
    """The weight of every expert for every token: (N, tokens, experts)."""
    scores = g.node("MatMul", [x, g.normal(WIDTH, EXPERTS, stem="router")])
    return g.node("Softmax", [scores], axis=-1)


@module(
    "4: b0.0 db0.2 down0.2 head0.0 in0.1 router0.0 up0.1",
    "6: down0.1 ub0.2 up0.2",
    "~3: db0.0 down0.0 router0.1 ub0.0 up0.0",
)
def moe_dense_matmul() -> onnx.ModelProto:
    """(N, 1, tokens, width) times (experts, width, hidden)."""
    g = Builder()
    x = _tokens(g)
    gates = _router(g, x)
    h = g.node("MatMul", [g.unsqueeze(x, [1]), g.normal(EXPERTS, WIDTH, HIDDEN, stem="up")])
    h = g.node("Relu", [g.node("Add", [h, g.normal(EXPERTS, 1, HIDDEN, stem="ub")])])
    y = g.node("MatMul", [h, g.normal(EXPERTS, HIDDEN, WIDTH, stem="down")])
    y = g.node("Add", [y, g.normal(EXPERTS, 1, WIDTH, stem="db")])
    gates = g.unsqueeze(g.node("Transpose", [gates], perm=[0, 2, 1]), [-1])
    y = g.reduce("ReduceSum", g.node("Mul", [y, gates]), [1], keepdims=0)
    return g.model(linear(g, g.node("Add", [x, y]), WIDTH, 5, stem="head"))


@module(
    "4: b0.0 down0.2 head0.0 in0.1 router0.0 up0.1",
    "6: down0.1 up0.2",
    "~3: down0.0 router0.1 up0.0",
)
def moe_dense_einsum() -> onnx.ModelProto:
    """Every expert sees every token; letters for axes."""
    g = Builder()
    x = _tokens(g)
    gates = _router(g, x)
    h = g.node("Einsum", [x, g.normal(EXPERTS, WIDTH, HIDDEN, stem="up")], equation="ntd,edh->nteh")
    h = g.node("Relu", [h])
    y = g.node(
        "Einsum", [h, g.normal(EXPERTS, HIDDEN, WIDTH, stem="down")], equation="nteh,ehd->nted"
    )
    y = g.node("Einsum", [y, gates], equation="nted,nte->ntd")
    return g.model(linear(g, g.node("Add", [x, y]), WIDTH, 5, stem="head"))


@module(
    "4: b0.0 down0.2 head0.0 in0.1 router0.0 up0.1",
    "6: down0.1 up0.2",
    "~3: down0.0 router0.1 up0.0",
)
def moe_einsum_dispatch() -> onnx.ModelProto:
    """Switch and GShard: tokens are sent to the experts, and back, by the router's map."""
    g = Builder()
    x = _tokens(g)
    gates = _router(g, x)
    d = g.node("Einsum", [gates, x], equation="nte,ntd->end")
    h = g.node(
        "Relu",
        [
            g.node(
                "Einsum", [d, g.normal(EXPERTS, WIDTH, HIDDEN, stem="up")], equation="end,edh->enh"
            )
        ],
    )
    y = g.node(
        "Einsum", [h, g.normal(EXPERTS, HIDDEN, WIDTH, stem="down")], equation="enh,ehd->end"
    )
    y = g.node("Einsum", [gates, y], equation="nte,end->ntd")
    return g.model(linear(g, g.node("Add", [x, y]), WIDTH, 5, stem="head"))


@module(
    "4: b0.0 down0.2 gateup0.1 head0.0 in0.1 router0.0",
    "6: down0.1 gateup0.2*2",
    "~3: down0.0 gateup0.0 router0.1",
)
def moe_swiglu_packed() -> onnx.ModelProto:
    """Gate and value packed in one stacked weight (experts, width, 2 x hidden)."""
    g = Builder()
    x = _tokens(g)
    gates = _router(g, x)
    h = g.node("MatMul", [g.unsqueeze(x, [1]), g.normal(EXPERTS, WIDTH, 2 * HIDDEN, stem="gateup")])
    a, b = g.split(h, [HIDDEN, HIDDEN], axis=3)
    h = g.node("Mul", [g.node("Mul", [a, g.node("Sigmoid", [a])]), b])
    y = g.node("MatMul", [h, g.normal(EXPERTS, HIDDEN, WIDTH, stem="down")])
    gates = g.unsqueeze(g.node("Transpose", [gates], perm=[0, 2, 1]), [-1])
    y = g.reduce("ReduceSum", g.node("Mul", [y, gates]), [1], keepdims=0)
    return g.model(linear(g, g.node("Add", [x, y]), WIDTH, 5, stem="head"))


@module("4: b0.0 down0.2 head0.0 in0.1 router0.0 up0.1", "6: down0.1 up0.2", plain=False)
def moe_topk_gather_weights() -> onnx.ModelProto:
    """Each token gathers the weights of its best two experts: (tokens, 2, width, hidden)."""
    g = Builder(batch=1)
    x = g.reshape(_tokens(g), [TOKENS, WIDTH])
    logits = g.node("MatMul", [x, g.normal(WIDTH, EXPERTS, stem="router")])
    val, idx = g.node("TopK", [logits, g.ints([2])], 2, axis=-1)
    gates = g.node("Softmax", [val], axis=-1)
    up = g.node("Gather", [g.normal(EXPERTS, WIDTH, HIDDEN, stem="up"), idx], axis=0)
    down = g.node("Gather", [g.normal(EXPERTS, HIDDEN, WIDTH, stem="down"), idx], axis=0)
    h = g.node("MatMul", [g.unsqueeze(x, [1, 2]), up])
    y = g.node("MatMul", [g.node("Relu", [h]), down])
    y = g.node("Mul", [g.squeeze(y, [2]), g.unsqueeze(gates, [-1])])
    y = g.reduce("ReduceSum", y, [1], keepdims=0)
    return g.model(linear(g, g.node("Add", [x, y]), WIDTH, 5, stem="head"))


@module("4: b0.0 down0.2 head0.0 in0.1 router0.0 up0.1", "6: down0.1 up0.2")
def moe_topk_scatter_gates() -> onnx.ModelProto:
    """All experts run; the gates of the best two are scattered among zeros."""
    g = Builder(batch=2)
    x = _tokens(g)
    logits = g.node("MatMul", [x, g.normal(WIDTH, EXPERTS, stem="router")])
    val, idx = g.node("TopK", [logits, g.ints([2])], 2, axis=-1)
    val = g.node("Softmax", [val], axis=-1)
    zeros = g.node("Mul", [logits, g.weight(np.float32(0), "zero")])
    gates = g.node("ScatterElements", [zeros, idx, val], axis=-1)
    h = g.node("MatMul", [g.unsqueeze(x, [1]), g.normal(EXPERTS, WIDTH, HIDDEN, stem="up")])
    y = g.node("MatMul", [g.node("Relu", [h]), g.normal(EXPERTS, HIDDEN, WIDTH, stem="down")])
    gates = g.unsqueeze(g.node("Transpose", [gates], perm=[0, 2, 1]), [-1])
    y = g.reduce("ReduceSum", g.node("Mul", [y, gates]), [1], keepdims=0)
    return g.model(linear(g, g.node("Add", [x, y]), WIDTH, 5, stem="head"))


@module("4: b0.0 down0.2 head0.0 in0.1 router0.0 up0.1", "6: down0.1 up0.2", plain=False)
def moe_topk_gather_nd_weights() -> onnx.ModelProto:
    """The same, of several texts, as torch.export writes it."""
    g = Builder()
    x = _tokens(g)
    scores = g.node("MatMul", [x, g.normal(WIDTH, EXPERTS, stem="router")])
    gates, idx = g.node("TopK", [g.node("Softmax", [scores], axis=-1), g.ints([2])], 2, axis=-1)
    idx = g.unsqueeze(idx, [3])
    up = g.node("GatherND", [g.normal(EXPERTS, WIDTH, HIDDEN, stem="up"), idx])
    down = g.node("GatherND", [g.normal(EXPERTS, HIDDEN, WIDTH, stem="down"), idx])
    h = g.node("Relu", [g.node("MatMul", [g.unsqueeze(x, [2, 3]), up])])
    y = g.node("MatMul", [h, down])  # (N, tokens, 2, 1, width)
    y = g.reduce("ReduceSum", g.node("Mul", [y, g.unsqueeze(gates, [3, 4])]), [2, 3], keepdims=0)
    return g.model(linear(g, g.node("Add", [x, y]), WIDTH, 5, stem="head"))


@module(
    "4: b0.0 b2.0 b4.0 b6.0 down0_0.1 down1_0.1 down2_0.1 head0.0 in0.1 router0.0 "
    "up0_0.0 up1_0.0 up2_0.0",
    "6: b1.0 down0_0.0 up0_0.1",
    "6: b3.0 down1_0.0 up1_0.1",
    "6: b5.0 down2_0.0 up2_0.1",
)
def moe_separate_experts() -> onnx.ModelProto:
    """Experts with weights of their own have hidden widths of their own."""
    g = Builder()
    x = _tokens(g)
    gates = _router(g, x)
    parts = []
    for e in range(EXPERTS):
        y = linear(
            g,
            g.node("Relu", [linear(g, x, WIDTH, HIDDEN, stem=f"up{e}_")]),
            HIDDEN,
            WIDTH,
            stem=f"down{e}_",
        )
        parts.append(g.node("Mul", [y, g.slice(gates, e, e + 1, axis=2)]))
    y = g.node("Sum", parts)
    return g.model(linear(g, g.node("Add", [x, y]), WIDTH, 5, stem="head"))


@pytest.mark.parametrize("name", MODULES)
def test_the_module_has_its_groups(name):
    MODULES.check(name)
