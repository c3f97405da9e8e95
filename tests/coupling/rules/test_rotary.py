"""RotaryEmbedding: heads go, or the same pair of every head with its column of the tables."""

import numpy as np
import pytest

from tests.coupling.cases import described, kept, prove
from tests.graphs import Builder, attribute, node_of

HEADS, DIM, TOKENS, WIDTH = 3, 8, 5, 7


def tables(g, dim, batched=False):
    angles = np.outer(np.arange(TOKENS), 10.0 ** -np.arange(dim // 2)).astype(np.float32)
    angles = angles[None] if batched else angles
    return g.weight(np.cos(angles), "cos"), g.weight(np.sin(angles), "sin")


def rotated(g, x, domain, rank, dim, interleaved, counted):
    """x: (B, T, h*d) or (B, h, T, d)."""
    standard = domain == ""
    cos, sin = tables(g, dim)
    positions = g.weight(np.arange(TOKENS)[None], "positions", "initializer")
    shape = g.node("Shape", ["x"], end=1)
    shape = g.node("Concat", [shape, g.ints([TOKENS])], axis=0)
    positions = g.node("Expand", [positions, shape])
    inputs = [x, cos, sin, positions] if standard else [x, positions, cos, sin]
    return g.node(
        "RotaryEmbedding", inputs, domain=domain, interleaved=interleaved,
        num_heads=HEADS if counted else None,
        rotary_embedding_dim=dim if dim < DIM else None,
    )  # fmt: skip


def attention(domain="", rank=3, dim=DIM, interleaved=0, counted=True):
    """Attention of rotated queries and keys; the tables are of each alone."""
    g = Builder(23)
    x = g.input(TOKENS, WIDTH)
    q, k, v = (
        g.node("MatMul", [x, g.normal(WIDTH, HEADS * DIM, stem=s)]) for s in ("q", "key", "v")
    )
    if rank == 4:
        q, k, v = (
            g.node("Transpose", [g.reshape(y, [0, TOKENS, HEADS, DIM])], perm=[0, 2, 1, 3])
            for y in (q, k, v)
        )
    q, k = (rotated(g, y, domain, rank, dim, interleaved, counted) for y in (q, k))
    heads = {} if rank == 4 else {"q_num_heads": HEADS, "kv_num_heads": HEADS}
    y = g.node("Attention", [q, k, v], **heads)
    if rank == 4:
        y = g.reshape(g.node("Transpose", [y], perm=[0, 2, 1, 3]), [0, TOKENS, -1])
    return g.model(g.node("MatMul", [y, g.normal(HEADS * DIM, 6, stem="out")]))


FORMS = [("", 3, True), ("", 4, False), ("com.microsoft", 3, False), ("com.microsoft", 3, True),
         ("com.microsoft", 4, False)]  # fmt: skip


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize(("domain", "rank", "counted"), FORMS)
def test_heads_go_and_the_tables_stay(domain, rank, counted, interleaved):
    proto = attention(domain, rank, interleaved=interleaved, counted=counted)
    assert described(proto) == ["3: key0.1*8 out0.0*8 q0.1*8 v0.1*8"]
    pruned = prove(proto, ratio=1 / 3)
    node = node_of(pruned, "RotaryEmbedding")
    assert attribute(node, "num_heads") == (2 if counted else None)


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize(("domain", "rank", "counted"), FORMS)
def test_pairs_go_with_their_columns(domain, rank, counted, interleaved):
    proto = attention(domain, rank, interleaved=interleaved, counted=counted)
    assert described(proto, "head_dim") == [
        "4: cos0.1 cos1.1 key0.1*6 q0.1*6 sin0.1 sin1.1", "8: out0.0*3 v0.1*3",
    ]  # fmt: skip
    pruned = prove(proto, attention="head_dim")
    node = node_of(pruned, "RotaryEmbedding")
    assert attribute(node, "num_heads") == (HEADS if counted else None)
    assert attribute(node_of(pruned, "Attention"), "scale") == pytest.approx(DIM**-0.5)


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("domain", ["", "com.microsoft"])
def test_channels_that_do_not_rotate_go_alone(domain, interleaved):
    proto = attention(domain, dim=4, interleaved=interleaved)
    assert described(proto) == ["3: key0.1*8 out0.0*8 q0.1*8 v0.1*8"]
    prove(proto)
    assert described(proto, "head_dim") == [
        "2: cos0.1 cos1.1 key0.1*6 q0.1*6 sin0.1 sin1.1", "4: key0.1*3 q0.1*3",
        "8: out0.0*3 v0.1*3",
    ]  # fmt: skip
    pruned = prove(proto, attention="head_dim")
    assert attribute(node_of(pruned, "RotaryEmbedding"), "rotary_embedding_dim") == 2


def test_tables_of_every_example():
    """Without positions, the tables are (B, T, d/2)."""
    g = Builder(23, batch=1)
    x = g.input(TOKENS, WIDTH)
    q, k, v = (
        g.node("MatMul", [x, g.normal(WIDTH, HEADS * DIM, stem=s)]) for s in ("q", "key", "v")
    )
    cos, sin = tables(g, DIM, batched=True)
    q, k = (g.node("RotaryEmbedding", [y, cos, sin], num_heads=HEADS) for y in (q, k))
    y = g.node("Attention", [q, k, v], q_num_heads=HEADS, kv_num_heads=HEADS)
    proto = g.model(g.node("MatMul", [y, g.normal(HEADS * DIM, 6, stem="out")]))
    prove(proto)
    assert described(proto, "head_dim")[0].startswith("4: cos0.2 key0.1*6")
    prove(proto, attention="head_dim")


def test_tables_computed_from_frequencies():
    """inv_freq: (d/2,), times positions; its entries go with their pair."""
    g = Builder(23, batch=1)
    x = g.input(TOKENS, WIDTH)
    q, k, v = (
        g.node("MatMul", [x, g.normal(WIDTH, HEADS * DIM, stem=s)]) for s in ("q", "key", "v")
    )
    frequencies = g.weight((10.0 ** -np.arange(DIM // 2)).astype(np.float32), "frequencies")
    positions = g.weight(np.arange(TOKENS, dtype=np.float32)[None, :, None], "positions")
    angles = g.node("Mul", [positions, frequencies])
    cos, sin = g.node("Cos", [angles]), g.node("Sin", [angles])
    q, k = (g.node("RotaryEmbedding", [y, cos, sin], num_heads=HEADS) for y in (q, k))
    y = g.node("Attention", [q, k, v], q_num_heads=HEADS, kv_num_heads=HEADS)
    proto = g.model(g.node("MatMul", [y, g.normal(HEADS * DIM, 6, stem="out")]))
    prove(proto)
    assert described(proto, "head_dim")[0] == "4: frequencies0.0 key0.1*6 q0.1*6"
    prove(proto, attention="head_dim")


def test_a_ragged_batch_is_kept():
    proto = attention("com.microsoft")
    node_of(proto, "RotaryEmbedding").attribute.add(name="is_packed_batching", i=1, type=2)
    assert "ragged" in kept(proto)["q0.1"]


def test_positions_are_kept():
    assert kept(attention())["cos0.0"].startswith(f"{TOKENS} of {TOKENS}")
