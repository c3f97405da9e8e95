"""Attention in the forms that exporters write it in: what goes by head, by head_dim, and not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
import pytest

from tests.coupling.cases import described, prove
from tests.graphs import Builder

HEADS, DIM, TOKENS, WIDTH = 4, 6, 5, 7
FORMS: dict[str, Form] = {}


@dataclass(frozen=True)
class Form:
    """A model and the groups that come out, by what attention loses."""

    make: Callable[[], onnx.ModelProto]
    heads: list[str]
    head_dim: list[str]
    none: list[str]


def form(heads: list[str], head_dim: list[str], none: list[str] | None = None):
    def register(make):
        FORMS[make.__name__] = Form(make, heads, head_dim, none or [])
        return make

    return register


# --- pieces -------------------------------------------------------------------------------------


def weighted(g, x, stem, channels=HEADS * DIM, width=WIDTH):
    return g.node("MatMul", [x, g.normal(width, channels, stem=stem)])


def split(g, x, heads=HEADS, dim=DIM, tokens=TOKENS):
    """(B, T, heads*dim) -> (B, heads, T, dim)."""
    return g.node("Transpose", [g.reshape(x, [0, tokens, heads, dim])], perm=[0, 2, 1, 3])


def merged(g, y, tokens=TOKENS):
    """(B, heads, T, dim) -> (B, T, heads*dim)."""
    return g.reshape(g.node("Transpose", [y], perm=[0, 2, 1, 3]), [0, tokens, HEADS * DIM])


def qkv(g, x, **sizes):
    """q, k and v, (B, heads, T, dim), with weights of their own."""
    return [split(g, weighted(g, x, stem), **sizes) for stem in ("q", "key", "v")]


def scored(g, q, k):
    scale = g.weight(np.float32(DIM**-0.5), "scale")
    scores = g.node("MatMul", [q, g.node("Transpose", [k], perm=[0, 1, 3, 2])])
    return g.node("Mul", [scores, scale])


def softmax(g, x):
    return g.node("Softmax", [x], axis=-1)


def finish(g, y, tokens=TOKENS):
    """y: (B, heads, T, dim)."""
    return g.model(weighted(g, merged(g, y, tokens), "out", 6, HEADS * DIM))


def attend(g, q, k, v, tokens=TOKENS):
    return finish(g, g.node("MatMul", [softmax(g, scored(g, q, k)), v]), tokens)


BY_HEAD = [f"{HEADS}: key0.1*6 out0.0*6 q0.1*6 v0.1*6"]
BY_INDEX = ["6: key0.1*4 q0.1*4", "6: out0.0*4 v0.1*4"]


# --- forms --------------------------------------------------------------------------------------


@form(BY_HEAD, BY_INDEX)
def class_token():
    g = Builder(batch=2)
    token = g.normal(1, 1, WIDTH, stem="token")
    token = g.node("Expand", [token, g.ints([2, 1, 1])])
    x = g.node("Concat", [token, g.input(TOKENS - 1, WIDTH)], axis=1)
    q, k, v = qkv(g, x)
    y = g.node("MatMul", [softmax(g, scored(g, q, k)), v])
    return g.model(weighted(g, g.slice(merged(g, y), 0, 1, axis=1), "out", 6, HEADS * DIM))


@form([BY_HEAD[0].replace("q0.1*6", "q0.1*6 table0.1")], BY_INDEX)
def relative_position_bias_table():
    g = Builder()
    q, k, v = qkv(g, g.input(TOKENS, WIDTH))
    table = g.normal(2 * TOKENS - 1, HEADS, stem="table")
    places = np.arange(TOKENS)
    index = g.ints((places[:, None] - places[None, :] + TOKENS - 1).reshape(-1))
    bias = g.reshape(g.node("Gather", [table, index], axis=0), [TOKENS, TOKENS, HEADS])
    bias = g.unsqueeze(g.node("Transpose", [bias], perm=[2, 0, 1]), [0])
    scores = g.node("Add", [scored(g, q, k), bias])
    return finish(g, g.node("MatMul", [softmax(g, scores), v]))


def _mixing(how):
    g = Builder()
    q, k, v = qkv(g, g.input(TOKENS, WIDTH))

    def mix(x, stem):
        """x: (B, h, T, S); y[g] is a weighted sum over all heads."""
        if how == "conv":
            w = g.normal(HEADS, HEADS, 1, 1, stem=stem)
            return g.node("Conv", [x, w], kernel_shape=[1, 1])
        w = g.normal(HEADS, HEADS, stem=stem)
        if how == "einsum":
            return g.node("Einsum", [x, w], equation="bhts,hg->bgts")
        x = g.node("Transpose", [x], perm=[0, 2, 3, 1])
        return g.node("Transpose", [g.node("MatMul", [x, w])], perm=[0, 3, 1, 2])

    weights = mix(softmax(g, mix(scored(g, q, k), "pre")), "post")
    return finish(g, g.node("MatMul", [weights, v]))


# Three sets of heads: those of q and k, those of the softmax, and those of v.
TALKING = ["4: key0.1*6 pre0.0 q0.1*6", "4: out0.0*6 post0.1 v0.1*6", "4: post0.0 pre0.1"]
INNER = ["4: post0.0 pre0.1"]


@form(TALKING, [*INNER, *BY_INDEX], INNER)
def talking_heads_by_matmul():
    return _mixing("matmul")


@form(TALKING, [*INNER, *BY_INDEX], INNER)
def talking_heads_by_einsum():
    return _mixing("einsum")


@form(
    ["4: key0.1*6 pre0.1 q0.1*6", "4: out0.0*6 post0.0 v0.1*6", "4: post0.1 pre0.0"],
    ["4: post0.1 pre0.0", *BY_INDEX],
    ["4: post0.1 pre0.0"],
)
def talking_heads_by_convolution():
    return _mixing("conv")


@form(BY_HEAD, ["6: out0.0*4 q0.1*4"])
def channel_attention():
    """XCA: k^T q over the tokens, a (d, d) map in every head."""
    g = Builder()
    q, k, v = (g.node("Transpose", [x], perm=[0, 1, 3, 2]) for x in qkv(g, g.input(TOKENS, WIDTH)))
    y = g.node("MatMul", [softmax(g, scored(g, q, k)), v])
    return finish(g, g.node("Transpose", [y], perm=[0, 1, 3, 2]))


@form(["4: key0.1*6 out0.0*6 q0.1*6 temperature0.0 v0.1*6"], ["6: out0.0*4 q0.1*4"])
def channel_attention_of_normed_queries():
    """As XCiT has it: q and k of length one over the tokens, a temperature for every head."""
    g = Builder()
    q, k, v = (g.node("Transpose", [x], perm=[0, 1, 3, 2]) for x in qkv(g, g.input(TOKENS, WIDTH)))
    q, k = (g.node("Div", [x, g.clip(g.reduce("ReduceL2", x, [-1]), 1e-6, 1e6)]) for x in (q, k))
    scores = g.node("MatMul", [q, g.node("Transpose", [k], perm=[0, 1, 3, 2])])
    scores = g.node("Mul", [scores, g.normal(HEADS, 1, 1, stem="temperature")])
    y = g.node("MatMul", [softmax(g, scores), v])
    return finish(g, g.node("Transpose", [y], perm=[0, 1, 3, 2]))


def _angles(g, computed, repeated):
    """cos and sin, (T, d): every frequency twice, in halves or next to each other."""
    frequencies = (10.0 ** -np.arange(DIM // 2)).astype(np.float32)
    if not computed:
        angles = np.outer(np.arange(TOKENS), frequencies).astype(np.float32)
        angles = np.repeat(angles, 2, 1) if repeated else np.tile(angles, (1, 2))
        return g.weight(np.cos(angles), "cos"), g.weight(np.sin(angles), "sin")
    places = g.weight(np.arange(TOKENS, dtype=np.float32)[:, None], "places")
    angles = g.node("Mul", [places, g.weight(frequencies, "frequencies")])
    if repeated:
        angles = g.node("Concat", [g.unsqueeze(angles, [2])] * 2, axis=2)
        angles = g.reshape(angles, [TOKENS, DIM])
    else:
        angles = g.node("Concat", [angles, angles], axis=1)
    return g.node("Cos", [angles]), g.node("Sin", [angles])


def _rotary(interleaved, computed):
    g = Builder()
    q, k, v = qkv(g, g.input(TOKENS, WIDTH))
    cos, sin = _angles(g, computed, interleaved)

    def rotate(x):
        if interleaved:
            even, odd = (g.slice(x, i, DIM, axis=3, step=2) for i in (0, 1))
            parts = [g.unsqueeze(y, [4]) for y in (g.node("Neg", [odd]), even)]
            turned = g.reshape(g.node("Concat", parts, axis=4), [0, HEADS, TOKENS, DIM])
        else:
            first, second = g.split(x, [DIM // 2] * 2, axis=3)
            turned = g.node("Concat", [g.node("Neg", [second]), first], axis=3)
        return g.node("Add", [g.node("Mul", [x, cos]), g.node("Mul", [turned, sin])])

    return attend(g, rotate(q), rotate(k), v)


@form(BY_HEAD, ["3: cos0.1*2 key0.1*8 q0.1*8 sin0.1*2", "6: out0.0*4 v0.1*4"])
def rotary_halves():
    return _rotary(interleaved=False, computed=False)


@form(BY_HEAD, ["3: cos0.1*2 key0.1*8 q0.1*8 sin0.1*2", "6: out0.0*4 v0.1*4"])
def rotary_interleaved():
    return _rotary(interleaved=True, computed=False)


@form(BY_HEAD, ["3: frequencies0.0 key0.1*8 q0.1*8", "6: out0.0*4 v0.1*4"])
def rotary_halves_of_frequencies():
    return _rotary(interleaved=False, computed=True)


@form(BY_HEAD, ["3: frequencies0.0 key0.1*8 q0.1*8", "6: out0.0*4 v0.1*4"])
def rotary_interleaved_of_frequencies():
    return _rotary(interleaved=True, computed=True)


@form(["4: key0.1*6 out0.0*6 q0.1*6 slopes0.0 v0.1*6"], BY_INDEX)
def alibi():
    g = Builder()
    q, k, v = qkv(g, g.input(TOKENS, WIDTH))
    slopes = g.weight((2.0 ** -np.arange(1, HEADS + 1)).astype(np.float32)[:, None, None], "slopes")
    places = np.arange(TOKENS, dtype=np.float32)
    distance = g.weight(-np.abs(places[:, None] - places[None]), "distance")
    scores = g.node("Add", [scored(g, q, k), g.node("Mul", [distance, slopes])])
    return finish(g, g.node("MatMul", [softmax(g, scores), v]))


def _normed(g, x, how, stem):
    """A norm over every head's channels."""
    if how == "layer":
        vectors = [g.normal(DIM, stem=f"{stem}scale"), g.normal(DIM, stem=f"{stem}shift")]
        return g.node("LayerNormalization", [x, *vectors], axis=-1, epsilon=1e-2)
    square = g.reduce("ReduceMean", g.node("Mul", [x, x]), [-1])
    root = g.node("Sqrt", [g.node("Add", [square, g.weight(np.float32(1e-2), "eps")])])
    return g.node("Mul", [g.node("Div", [x, root]), g.normal(DIM, stem=f"{stem}scale")])


def _qk_norm(how):
    g = Builder()
    q, k, v = qkv(g, g.input(TOKENS, WIDTH))
    return attend(g, _normed(g, q, how, "q"), _normed(g, k, how, "k"), v)


@form(
    BY_HEAD,
    ["6: out0.0*4 v0.1*4", "~6: key0.1*4 kscale0.0 kshift0.0 q0.1*4 qscale0.0 qshift0.0"],
)
def layer_normed_queries_and_keys():
    return _qk_norm("layer")


@form(BY_HEAD, ["6: out0.0*4 v0.1*4", "~6: key0.1*4 kscale0.0 q0.1*4 qscale0.0"])
def rms_normed_queries_and_keys():
    return _qk_norm("rms")


def _shared(how, own):
    """Keys and values of ``own`` heads, each repeated for its queries."""
    g = Builder(batch=2)
    x = g.input(TOKENS, WIDTH)
    q = split(g, weighted(g, x, "q"))
    times = HEADS // own

    def repeat(y):
        """(B, own, T, d) -> (B, heads, T, d), every head ``times`` in a row."""
        if how == "gather":
            return g.node("Gather", [y, g.ints(np.repeat(np.arange(own), times))], axis=1)
        if how == "concat":
            y = g.node("Concat", [g.unsqueeze(y, [2])] * times, axis=2)
        elif how == "tile":
            y = g.node("Tile", [g.unsqueeze(y, [2]), g.ints([1, 1, times, 1, 1])])
        else:
            y = g.node("Expand", [g.unsqueeze(y, [2]), g.ints([2, own, times, TOKENS, DIM])])
        return g.reshape(y, [0, HEADS, TOKENS, DIM])

    k, v = (repeat(split(g, weighted(g, x, s, own * DIM), own)) for s in ("key", "v"))
    return attend(g, q, k, v)


GROUPED = ["2: key0.1*6 out0.0*12 q0.1*12 v0.1*6"]
GROUPED_BY_INDEX = ["6: key0.1*2 q0.1*4", "6: out0.0*4 v0.1*2"]


@form(GROUPED, GROUPED_BY_INDEX)
def grouped_queries_whose_keys_are_scaled():
    """torch scales q and k before their product, the repeats of k in two layers by then."""
    g = Builder(batch=2)
    x = g.input(TOKENS, WIDTH)
    q = split(g, weighted(g, x, "q"))
    k, v = (split(g, weighted(g, x, s, 2 * DIM), 2) for s in ("key", "v"))
    k, v = (g.node("Expand", [g.unsqueeze(y, [2]), g.ints([2, 2, 2, TOKENS, DIM])]) for y in (k, v))
    k, v = (g.reshape(y, [2, HEADS, TOKENS, DIM]) for y in (k, v))
    scale = g.weight(np.array([DIM**-0.25], np.float32), "scale")
    q, k = (g.node("Mul", [y, scale]) for y in (q, k))
    scores = g.node("MatMul", [q, g.node("Transpose", [k], perm=[0, 1, 3, 2])])
    return finish(g, g.node("MatMul", [softmax(g, scores), v]))


SINGLE = ["4: out0.0*6 q0.1*6"]
SINGLE_BY_INDEX = ["6: key0.1 q0.1*4", "6: out0.0*4 v0.1"]


@form(GROUPED, GROUPED_BY_INDEX)
def grouped_queries_by_expand():
    return _shared("expand", 2)


@form(GROUPED, GROUPED_BY_INDEX)
def grouped_queries_by_tile():
    return _shared("tile", 2)


@form(GROUPED, GROUPED_BY_INDEX)
def grouped_queries_by_gather():
    return _shared("gather", 2)


@form(GROUPED, GROUPED_BY_INDEX)
def grouped_queries_by_concat():
    return _shared("concat", 2)


@form(SINGLE, SINGLE_BY_INDEX)
def one_key_for_all_by_expand():
    return _shared("expand", 1)


@form(SINGLE, SINGLE_BY_INDEX)
def one_key_for_all_by_tile():
    return _shared("tile", 1)


@form(SINGLE, SINGLE_BY_INDEX)
def one_key_for_all_by_gather():
    return _shared("gather", 1)


@form(SINGLE_BY_INDEX, SINGLE_BY_INDEX)
def one_key_for_all_by_concat():
    """Concat cannot repeat it less often, so heads stay, and head_dim goes instead."""
    return _shared("concat", 1)


@form(SINGLE, SINGLE_BY_INDEX)
def one_key_for_all_by_broadcasting():
    g = Builder()
    x = g.input(TOKENS, WIDTH)
    q = split(g, weighted(g, x, "q"))
    k, v = (split(g, weighted(g, x, s, DIM), 1) for s in ("key", "v"))
    return attend(g, q, k, v)


@form(GROUPED, GROUPED_BY_INDEX)
def grouped_queries_by_broadcasting():
    """(B, own, times, T, d) against (B, own, 1, S, d)."""
    g = Builder()
    x = g.input(TOKENS, WIDTH)
    q = g.reshape(weighted(g, x, "q"), [0, TOKENS, 2, 2, DIM])
    q = g.node("Transpose", [q], perm=[0, 2, 3, 1, 4])
    k, v = (g.unsqueeze(split(g, weighted(g, x, s, 2 * DIM), 2), [2]) for s in ("key", "v"))
    scores = g.node("MatMul", [q, g.node("Transpose", [k], perm=[0, 1, 2, 4, 3])])
    y = g.node("MatMul", [softmax(g, scores), v])
    y = g.reshape(g.node("Transpose", [y], perm=[0, 3, 1, 2, 4]), [0, TOKENS, HEADS * DIM])
    return g.model(weighted(g, y, "out", 6, HEADS * DIM))


def _batched(dynamic):
    """torch.nn.MultiheadAttention: (T, B, C) -> (T, B*h, d) -> (B*h, T, d)."""
    g = Builder(batch="N" if dynamic else 2)
    x = g.node("Transpose", [g.input(TOKENS, WIDTH)], perm=[1, 0, 2])
    rows = -1 if dynamic else 2 * HEADS
    q, k, v = (
        g.node("Transpose", [g.reshape(weighted(g, x, s), [TOKENS, rows, DIM])], perm=[1, 0, 2])
        for s in ("q", "key", "v")
    )
    scores = g.node("MatMul", [q, g.node("Transpose", [k], perm=[0, 2, 1])])
    y = g.node("Transpose", [g.node("MatMul", [softmax(g, scores), v])], perm=[1, 0, 2])
    y = g.reshape(y, [-1 if dynamic else 2 * TOKENS, HEADS * DIM])
    return g.model(weighted(g, y, "out", 6, HEADS * DIM))


@form(BY_HEAD, BY_INDEX)
def batch_and_heads_in_one_dynamic_axis():
    return _batched(dynamic=True)


@form(BY_HEAD, BY_INDEX)
def batch_and_heads_in_one_fixed_axis():
    return _batched(dynamic=False)


def _packed(order, how):
    g = Builder()
    x = weighted(g, g.input(TOKENS, WIDTH), "qkv", 3 * HEADS * DIM)
    if order == "3hd":
        x = g.reshape(x, [0, TOKENS, 3, HEADS, DIM])
        axis, perm = 2, [0, 2, 1, 3]
    else:
        x = g.reshape(x, [0, TOKENS, HEADS, 3, DIM])
        axis, perm = 3, [0, 2, 1, 3]
    if how == "split":
        parts = [g.squeeze(y, [axis]) for y in g.split(x, [1, 1, 1], axis=axis)]
    elif how == "slice":
        parts = [g.squeeze(g.slice(x, i, i + 1, axis=axis), [axis]) for i in range(3)]
    else:
        parts = [g.node("Gather", [x, g.ints(i)], axis=axis) for i in range(3)]
    return attend(g, *(g.node("Transpose", [y], perm=perm) for y in parts))


PACKED = ["4: out0.0*6 qkv0.1*18"]
PACKED_BY_INDEX = ["6: out0.0*4 qkv0.1*12"]
for _order in ("3hd", "h3d"):
    for _how in ("split", "slice", "gather"):
        FORMS[f"packed_{_order}_by_{_how}"] = Form(
            lambda order=_order, how=_how: _packed(order, how), PACKED, PACKED_BY_INDEX, []
        )


def _einsum(weights_split):
    g = Builder()
    x = g.input(TOKENS, WIDTH)
    if weights_split:
        q, k, v = (
            g.node("Einsum", [x, g.normal(WIDTH, HEADS, DIM, stem=s)], equation="btc,chd->bthd")
            for s in ("q", "key", "v")
        )
    else:
        q, k, v = (g.reshape(weighted(g, x, s), [0, TOKENS, HEADS, DIM]) for s in ("q", "key", "v"))
    scores = g.node("Einsum", [q, k], equation="bthd,bshd->bhts")
    y = g.node("Einsum", [softmax(g, scores), v], equation="bhts,bshd->bthd")
    if weights_split:
        w = g.normal(HEADS, DIM, 6, stem="out")
        return g.model(g.node("Einsum", [y, w], equation="bthd,hdo->bto"))
    return g.model(weighted(g, g.reshape(y, [0, TOKENS, HEADS * DIM]), "out", 6, HEADS * DIM))


@form(BY_HEAD, BY_INDEX)
def einsum():
    return _einsum(weights_split=False)


@form(["4: key0.1 out0.0 q0.1 v0.1"], ["6: key0.2 q0.2", "6: out0.1 v0.2"])
def einsum_with_split_weights():
    """Flax: weights (C, h, d) have an axis for heads and one for head_dim."""
    return _einsum(weights_split=True)


@form(BY_HEAD, BY_INDEX)
def cross_attention():
    g = Builder()
    q = split(g, weighted(g, g.input(TOKENS, WIDTH), "q"))
    memory = g.input(3, WIDTH, name="memory")
    k, v = (split(g, weighted(g, memory, s), tokens=3) for s in ("key", "v"))
    return attend(g, q, k, v)


@form(["8: last0.0 out0.1"], ["8: last0.0 out0.1"], ["8: last0.0 out0.1"])
def cached_keys_and_values():
    """Past keys and values are inputs, present ones outputs: the interface never changes."""
    g = Builder()
    q, k, v = qkv(g, g.input(TOKENS, WIDTH))
    k, v = (
        g.node("Concat", [g.input(HEADS, 2, DIM, name=f"past_{i}"), x], axis=2)
        for i, x in enumerate((k, v))
    )
    y = merged(g, g.node("MatMul", [softmax(g, scored(g, q, k)), v]))
    y = g.node("Relu", [weighted(g, y, "out", 8, HEADS * DIM)])
    return g.model(weighted(g, y, "last", 6, 8), k, v)


@form(BY_HEAD, ["~6: key0.1*4 q0.1*4"])
def linear_attention():
    """phi(q) (phi(k)^T v): no softmax; phi is elu + 1, so nothing is zero."""
    g = Builder()
    q, k, v = qkv(g, g.input(TOKENS, WIDTH))
    one = g.weight(np.float32(1), "one")
    q, k = (g.node("Add", [g.node("Elu", [x]), one]) for x in (q, k))
    state = g.node("MatMul", [g.node("Transpose", [k], perm=[0, 1, 3, 2]), v])
    total = g.unsqueeze(g.reduce("ReduceSum", k, [2], keepdims=0), [3])
    total = g.node("Add", [g.node("MatMul", [q, total]), g.weight(np.float32(1e-3), "eps")])
    y = g.node("Div", [g.node("MatMul", [q, state]), total])
    return finish(g, y)


@form(BY_HEAD, ["6: key0.1*4 q0.1*4"])
def linear_attention_of_relu():
    """ReLU keeps zero, so head_dim is exact too."""
    g = Builder()
    q, k, v = qkv(g, g.input(TOKENS, WIDTH))
    q, k = (g.node("Relu", [x]) for x in (q, k))
    state = g.node("MatMul", [g.node("Transpose", [k], perm=[0, 1, 3, 2]), v])
    return finish(g, g.node("MatMul", [q, state]))


@form(BY_HEAD, BY_INDEX)
def scale_computed_from_a_shape():
    g = Builder()
    q, k, v = qkv(g, g.input(TOKENS, WIDTH))
    size = g.node("Gather", [g.node("Shape", [q]), g.ints(-1)], axis=0)
    root = g.node("Sqrt", [g.node("Cast", [size], to=onnx.TensorProto.FLOAT)])
    scores = g.node("MatMul", [q, g.node("Transpose", [k], perm=[0, 1, 3, 2])])
    scores = g.node("Div", [scores, root])
    return finish(g, g.node("MatMul", [softmax(g, scores), v]))


# --- the tests ----------------------------------------------------------------------------------


# The perturbation oracle knows no weight's contracted axis in an Einsum, and disturbs both operands
# of a product of activations where head_dim goes.
NOT_PERTURBED = ("einsum", "einsum_with_split_weights", "one_key_for_all_by_concat")


@pytest.mark.parametrize("name", sorted(FORMS))
@pytest.mark.parametrize("attention", ["heads", "head_dim", "none"])
def test_form(name, attention):
    entry = FORMS[name]
    proto = entry.make()
    found = described(proto, attention)
    assert found == getattr(entry, attention)
    if found:
        equal = not any(line.startswith("~") for line in found)
        plain = name not in NOT_PERTURBED
        prove(proto, attention=attention, equal=equal, plain=plain, seeds=(0, 1))
