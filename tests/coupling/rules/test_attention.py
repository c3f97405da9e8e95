"""Fused attention: the standard operator and those of com.microsoft."""

import numpy as np
import pytest
from onnx import numpy_helper

import spa
from tests.coupling.cases import described, kept, prove
from tests.graphs import Builder, attribute, node_of

HEADS, DIM, TOKENS, WIDTH = 4, 3, 5, 7
MICROSOFT = "com.microsoft"


def project(g, x, stem, width, biased=True):
    y = g.node("MatMul", [x, g.normal(WIDTH, width, stem=stem)])
    return g.node("Add", [y, g.normal(width, stem=f"{stem}b")]) if biased else y


def projected(g, heads=HEADS, own=HEADS, dim=DIM, v_dim=DIM, biased=True):
    """q, k and v as (B, T, channels)."""
    x = g.input(TOKENS, WIDTH)
    return [
        project(g, x, stem, width, biased)
        for stem, width in (("q", heads * dim), ("key", own * dim), ("v", own * v_dim))
    ]


def split(g, x, heads, dim):
    """(B, T, heads*dim) -> (B, heads, T, dim)."""
    return g.node("Transpose", [g.reshape(x, [0, TOKENS, heads, dim])], perm=[0, 2, 1, 3])


def finish(g, y, width, merge=False):
    if merge:
        y = g.reshape(g.node("Transpose", [y], perm=[0, 2, 1, 3]), [0, TOKENS, -1])
    return g.model(g.node("MatMul", [y, g.normal(width, 6, stem="out")]))


def standard(rank=3, opset=23, own=HEADS, v_dim=DIM, extra=(), heads=HEADS, **attrs):
    g = Builder(opset)
    q, k, v = projected(g, heads, own, v_dim=v_dim)
    extra = [g.weight(x, "extra") if isinstance(x, np.ndarray) else x for x in extra]
    if rank == 4:
        q, k, v = split(g, q, heads, DIM), split(g, k, own, DIM), split(g, v, own, v_dim)
    else:
        attrs |= {"q_num_heads": heads, "kv_num_heads": own}
    y = g.node("Attention", [q, k, v, *extra], **attrs)
    return finish(g, y, heads * v_dim, merge=rank == 4)


ALL = "4: key0.1*3 keyb0.0*3 out0.0*3 q0.1*3 qb0.0*3 v0.1*3 vb0.0*3"
BY_INDEX = ["3: key0.1*4 keyb0.0*4 q0.1*4 qb0.0*4", "3: out0.0*4 v0.1*4 vb0.0*4"]


# --- the standard operator ----------------------------------------------------------------------


@pytest.mark.parametrize("opset", [23, 24])
@pytest.mark.parametrize("rank", [3, 4])
def test_heads_go_with_q_k_v_and_the_projection(rank, opset):
    proto = standard(rank, opset)
    assert described(proto) == [ALL]
    pruned = prove(proto)
    node = node_of(pruned, "Attention")
    assert attribute(node, "q_num_heads") == (2 if rank == 3 else None)
    assert attribute(node, "kv_num_heads") == (2 if rank == 3 else None)
    assert attribute(node, "scale") is None


@pytest.mark.parametrize("opset", [23, 24])
@pytest.mark.parametrize("rank", [3, 4])
def test_head_dim_goes_and_the_scale_stays(rank, opset):
    proto = standard(rank, opset)
    assert described(proto, "head_dim") == BY_INDEX
    pruned = prove(proto, attention="head_dim", ratio=0.4)
    node = node_of(pruned, "Attention")
    assert attribute(node, "scale") == pytest.approx(1 / np.sqrt(DIM))
    assert attribute(node, "q_num_heads") == (HEADS if rank == 3 else None)


def test_a_given_scale_stays_as_it_is():
    pruned = prove(standard(scale=0.3), attention="head_dim", ratio=0.4)
    assert attribute(node_of(pruned, "Attention"), "scale") == pytest.approx(0.3)


@pytest.mark.parametrize("rank", [3, 4])
def test_none_keeps_attention_dense(rank):
    proto = standard(rank)
    assert described(proto, "none") == []
    assert "--attention none" in kept(proto, "none")["q0.1"]


@pytest.mark.parametrize("rank", [3, 4])
def test_values_have_a_head_size_of_their_own(rank):
    proto = standard(rank, v_dim=2)
    assert described(proto) == ["4: key0.1*3 keyb0.0*3 out0.0*2 q0.1*3 qb0.0*3 v0.1*2 vb0.0*2"]
    prove(proto)
    assert [line[0] for line in described(proto, "head_dim")] == ["2", "3"]
    prove(proto, attention="head_dim")


@pytest.mark.parametrize("rank", [3, 4])
def test_a_kv_head_goes_with_its_query_heads(rank):
    proto = standard(rank, own=2)
    assert described(proto) == ["2: key0.1*3 keyb0.0*3 out0.0*6 q0.1*6 qb0.0*6 v0.1*3 vb0.0*3"]
    pruned = prove(proto)
    if rank == 3:
        assert attribute(node_of(pruned, "Attention"), "q_num_heads") == 2
        assert attribute(node_of(pruned, "Attention"), "kv_num_heads") == 1
    assert described(proto, "head_dim") == [
        "3: key0.1*2 keyb0.0*2 q0.1*4 qb0.0*4", "3: out0.0*4 v0.1*2 vb0.0*2",
    ]  # fmt: skip
    prove(proto, attention="head_dim")


@pytest.mark.parametrize("rank", [3, 4])
def test_one_kv_head_for_all_stays(rank):
    proto = standard(rank, own=1)
    assert described(proto) == ["4: out0.0*3 q0.1*3 qb0.0*3"]
    pruned = prove(proto)
    if rank == 3:
        assert attribute(node_of(pruned, "Attention"), "kv_num_heads") == 1
    assert described(proto, "head_dim") == [
        "3: key0.1 keyb0.0 q0.1*4 qb0.0*4", "3: out0.0*4 v0.1 vb0.0",
    ]  # fmt: skip
    prove(proto, attention="head_dim")


@pytest.mark.parametrize("shape", [(HEADS, TOKENS, TOKENS), (1, HEADS, TOKENS, TOKENS)])
def test_a_bias_per_head_goes_with_its_head(shape):
    rng = np.random.default_rng(0)
    proto = standard(extra=[rng.standard_normal(shape).astype(np.float32)])
    axis = len(shape) - 3
    assert described(proto) == [ALL.replace("4: ", f"4: extra0.{axis} ")]
    prove(proto)
    assert described(proto, "head_dim") == BY_INDEX
    prove(proto, attention="head_dim")


@pytest.mark.parametrize("shape", [(TOKENS, TOKENS), (1, 1, TOKENS, TOKENS), (1, TOKENS, TOKENS)])
@pytest.mark.parametrize("boolean", [True, False])
def test_a_mask_of_all_heads_stays(shape, boolean):
    mask = np.tril(np.ones(shape, bool))
    proto = standard(extra=[mask if boolean else np.where(mask, 0, -9).astype(np.float32)])
    assert described(proto) == [ALL]
    prove(proto)


def test_causal_with_a_soft_cap():
    prove(standard(is_causal=1, softcap=2.0), seeds=(0,))
    prove(standard(is_causal=1, softcap=2.0), attention="head_dim", seeds=(0,))


def test_past_keys_and_values_as_inputs_keep_their_heads():
    g = Builder(23)
    q, k, v = projected(g)
    past = [g.input(HEADS, 2, DIM, name=name) for name in ("past_key", "past_value")]
    y, key, value = g.node(
        "Attention", [q, k, v, "", *past], 3, q_num_heads=HEADS, kv_num_heads=HEADS
    )
    y = g.node("MatMul", [y, g.normal(HEADS * DIM, 6, stem="out")])
    hidden = g.node("Relu", [g.node("MatMul", [y, g.normal(6, 8, stem="up")])])
    proto = g.model(g.node("MatMul", [hidden, g.normal(8, 6, stem="down")]), key, value)
    assert described(proto) == ["6: out0.1 up0.0", "8: down0.0 up0.1"]
    assert kept(proto)["key0.1"].startswith("12 of 12")
    prove(proto)


@pytest.mark.parametrize("rank", [3, 4])
def test_a_learned_prefix_goes_with_its_heads(rank):
    """Past keys and values that are weights: prefix tuning."""
    g = Builder(23, batch=1)
    q, k, v = projected(g)
    prefix = [g.normal(1, HEADS, 2, DIM, stem=stem) for stem in ("pk", "pv")]
    attrs = {"q_num_heads": HEADS, "kv_num_heads": HEADS}
    if rank == 4:
        q, k, v = (split(g, x, HEADS, DIM) for x in (q, k, v))
        attrs = {}
    y, _, _ = g.node("Attention", [q, k, v, "", *prefix], 3, **attrs)
    proto = finish(g, y, HEADS * DIM, merge=rank == 4)
    assert described(proto) == [ALL.replace("q0.1", "pk0.1 pv0.1 q0.1")]
    prove(proto)
    # The prefix is no contraction's weight, so it is not zero where it goes; the queries are.
    assert [line[:2] for line in described(proto, "head_dim")] == ["3:", "3:"]
    prove(proto, attention="head_dim")


def test_present_keys_and_values_that_are_outputs_are_kept():
    g = Builder(23)
    q, k, v = projected(g)
    y, key, value = g.node("Attention", [q, k, v], 3, q_num_heads=HEADS, kv_num_heads=HEADS)
    proto = g.model(g.node("MatMul", [y, g.normal(HEADS * DIM, 6, stem="out")]), key, value)
    assert described(proto) == []
    assert "it is an output of the model" in kept(proto)["key0.1"]


@pytest.mark.parametrize("mode", [0, 3])
def test_scores_as_an_output_keep_the_heads(mode):
    g = Builder(23)
    q, k, v = projected(g)
    attrs = {"q_num_heads": HEADS, "kv_num_heads": HEADS, "qk_matmul_output_mode": mode}
    y, scores = "y", "scores"
    g.node("Attention", [q, k, v], [y, "", "", scores], **attrs)
    proto = g.model(g.node("MatMul", [y, g.normal(HEADS * DIM, 6, stem="out")]), scores)
    # What stays is every head; of the values the same index of all of them may still go.
    assert described(proto) == BY_INDEX
    prove(proto, plain=False)


def test_lengths_of_a_cache_outside():
    g = Builder(24)
    q, k, v = projected(g)
    four = numpy_helper.from_array(np.array([4]))
    lengths = g.node("ConstantOfShape", [g.node("Shape", ["x"], end=1)], value=four)
    y = g.node("Attention", [q, k, v, "", "", "", lengths], q_num_heads=HEADS, kv_num_heads=HEADS)
    proto = finish(g, y, HEADS * DIM)
    assert described(proto) == [ALL]
    prove(proto)


def in_the_batch(lengths=()):
    """(B, T, h*d) -> (B*h, T, d), and one head in the operator."""
    g = Builder(24, batch=1 if len(lengths) else "N")
    parts = [g.reshape(split(g, x, HEADS, DIM), [-1, TOKENS, DIM]) for x in projected(g)]
    if len(lengths):
        parts += ["", "", "", g.ints(lengths)]
    y = g.node("Attention", parts, q_num_heads=1, kv_num_heads=1)
    return finish(g, g.reshape(y, [-1, HEADS, TOKENS, DIM]), HEADS * DIM, merge=True)


def test_heads_merged_with_a_batch_that_is_counted_stay():
    """Every entry of the merged axis has a length of its own."""
    assert described(in_the_batch([5, 4, 3, 5])) == BY_INDEX


def test_heads_merged_with_the_batch():
    proto = in_the_batch()
    assert described(proto) == [ALL]
    prove(proto)
    assert described(proto, "head_dim") == BY_INDEX
    prove(proto, attention="head_dim")


def test_activations_whose_removed_entries_are_not_zero():
    """Sigmoid of nothing is a half: the scores would lose a term. Heads go as they are."""
    g = Builder(23)
    q, k, v = projected(g)
    q, k = g.node("Sigmoid", [q]), g.node("Sigmoid", [k])
    y = g.node("Attention", [q, k, v], q_num_heads=HEADS, kv_num_heads=HEADS)
    proto = finish(g, y, HEADS * DIM)
    assert described(proto) == [ALL]
    prove(proto)
    assert described(proto, "head_dim") == ["3: out0.0*4 v0.1*4 vb0.0*4",
                                            "~3: key0.1*4 keyb0.0*4 q0.1*4 qb0.0*4"]  # fmt: skip


def test_a_sum_over_channels_of_the_output_is_exact_where_values_are_zero():
    def make(gate):
        g = Builder(23)
        q, k, v = projected(g)
        v = g.node("Sigmoid", [v]) if gate else v
        y = g.node("Attention", [q, k, v], q_num_heads=HEADS, kv_num_heads=HEADS)
        return g.model(g.reduce("ReduceSum", y, [2]))

    members = ALL.replace("out0.0*3 ", "")
    assert described(make(gate=False)) == [members]
    prove(make(gate=False), plain=False)
    assert described(make(gate=True)) == ["~" + members]


def test_cross_attention():
    g = Builder(23)
    q = project(g, g.input(TOKENS, WIDTH), "q", HEADS * DIM)
    other = g.input(6, WIDTH, name="memory")
    k, v = (project(g, other, stem, HEADS * DIM) for stem in ("key", "v"))
    y = g.node("Attention", [q, k, v], q_num_heads=HEADS, kv_num_heads=HEADS)
    proto = finish(g, y, HEADS * DIM)
    assert described(proto) == [ALL]
    prove(proto)
    prove(proto, attention="head_dim")


# --- com.microsoft Attention --------------------------------------------------------------------


def packed(v_dim=DIM, bias=None, mask=None, **attrs):
    g = Builder()
    width = HEADS * (2 * DIM + v_dim)
    inputs = [g.input(TOKENS, WIDTH), g.normal(WIDTH, width), g.normal(width, stem="b")]
    inputs += ["" if mask is None else g.weight(mask, "mask"), ""]
    inputs += [] if bias is None else [g.weight(bias, "bias")]
    if v_dim != DIM:
        attrs["qkv_hidden_sizes"] = [HEADS * DIM, HEADS * DIM, HEADS * v_dim]
    y = g.node("Attention", inputs, domain=MICROSOFT, num_heads=HEADS, **attrs)
    return finish(g, y, HEADS * v_dim)


def test_packed_attention():
    proto = packed()
    assert described(proto) == ["4: b0.0*9 out0.0*3 w0.1*9"]
    pruned = prove(proto)
    assert attribute(node_of(pruned, "Attention"), "num_heads") == 2
    assert attribute(node_of(pruned, "Attention"), "qkv_hidden_sizes") is None


@pytest.mark.parametrize("attention", ["heads", "head_dim"])
def test_packed_attention_without_a_bias(attention):
    """ONNX Runtime 1.31 crashes on it: what SPA runs has a bias of zeros, what it writes none."""
    g = Builder()
    inputs = [g.input(TOKENS, WIDTH), g.normal(WIDTH, 3 * HEADS * DIM)]
    y = g.node("Attention", inputs, domain=MICROSOFT, num_heads=HEADS)
    proto = finish(g, y, HEADS * DIM)
    assert described(proto) == ["4: out0.0*3 w0.1*9"]
    limits = spa.Limits(scope="local")
    result = spa.prune(proto, ratio=0.4, limits=limits, attention=attention)
    assert result.proof.equal
    assert len(node_of(result.model, "Attention").input) == 2


def test_packed_attention_by_head_dim():
    proto = packed()
    assert described(proto, "head_dim") == ["3: b0.0*4 out0.0*4 w0.1*4", "3: b0.0*8 w0.1*8"]
    pruned = prove(proto, attention="head_dim", ratio=0.4)
    node = node_of(pruned, "Attention")
    assert attribute(node, "num_heads") == HEADS
    assert attribute(node, "scale") == pytest.approx(1 / np.sqrt(DIM))


def test_packed_attention_with_values_of_their_own_size():
    proto = packed(v_dim=2)
    assert described(proto) == ["4: b0.0*8 out0.0*2 w0.1*8"]
    pruned = prove(proto)
    assert attribute(node_of(pruned, "Attention"), "qkv_hidden_sizes") == [6, 6, 4]
    prove(proto, attention="head_dim")


def test_packed_attention_says_its_sizes_where_they_become_unequal():
    result = spa.prune(packed(), ratio=1 / 6, limits=spa.Limits(scope="global"),
                       attention="head_dim")  # fmt: skip
    assert result.proof.equal
    sizes = attribute(node_of(result.model, "Attention"), "qkv_hidden_sizes")
    assert sizes in ([8, 8, 12], [12, 12, 8])


def test_packed_attention_with_a_bias_per_head_and_a_mask():
    rng = np.random.default_rng(0)
    bias = rng.standard_normal((1, HEADS, TOKENS, TOKENS)).astype(np.float32)
    proto = packed(bias=bias, unidirectional=1)
    assert described(proto) == ["4: b0.0*9 bias0.1 out0.0*3 w0.1*9"]
    prove(proto)


def test_packed_attention_reads_channels_that_go():
    g = Builder()
    x = g.node("Relu", [g.node("MatMul", [g.input(TOKENS, WIDTH), g.normal(WIDTH, 8, stem="in")])])
    inputs = [x, g.normal(8, 3 * HEADS * DIM), g.normal(3 * HEADS * DIM, stem="b")]
    y = g.node("Attention", inputs, domain=MICROSOFT, num_heads=HEADS)
    proto = finish(g, y, HEADS * DIM)
    assert described(proto) == ["4: b0.0*9 out0.0*3 w0.1*9", "8: in0.1 w0.0"]
    prove(proto)
    assert described(proto, "none") == ["8: in0.1 w0.0"]
    prove(proto, attention="none")


def test_packed_attention_with_a_state_keeps_its_heads():
    g = Builder(batch=2)
    width = 3 * HEADS * DIM
    x = g.node("Relu", [g.node("MatMul", [g.input(TOKENS, WIDTH), g.normal(WIDTH, 8, stem="in")])])
    past = g.weight(np.random.default_rng(0).standard_normal((2, 2, HEADS, 2, DIM))
                    .astype(np.float32), "past")  # fmt: skip
    inputs = [x, g.normal(8, width), g.normal(width, stem="b"), "", past]
    y, _ = g.node("Attention", inputs, 2, domain=MICROSOFT, num_heads=HEADS)
    proto = finish(g, y, HEADS * DIM)
    assert described(proto) == []
    assert "state of past tokens" in kept(proto)["w0.1"]


# --- com.microsoft MultiHeadAttention -----------------------------------------------------------


def multi_head(v_dim=DIM, biased=True, **attrs):
    g = Builder()
    q, k, v = projected(g, v_dim=v_dim, biased=False)
    inputs = [q, k, v]
    if biased:
        inputs.append(g.normal(HEADS * (2 * DIM + v_dim), stem="b"))
    y = g.node("MultiHeadAttention", inputs, domain=MICROSOFT, num_heads=HEADS, **attrs)
    return finish(g, y, HEADS * v_dim)


@pytest.mark.parametrize("biased", [True, False])
def test_multi_head_attention(biased):
    proto = multi_head(biased=biased)
    bias = "b0.0*9 " if biased else ""
    assert described(proto) == [f"4: {bias}key0.1*3 out0.0*3 q0.1*3 v0.1*3"]
    pruned = prove(proto)
    assert attribute(node_of(pruned, "MultiHeadAttention"), "num_heads") == 2


@pytest.mark.parametrize("biased", [True, False])
def test_multi_head_attention_by_head_dim(biased):
    proto = multi_head(biased=biased, v_dim=2)
    found = described(proto, "head_dim")
    assert found == (
        ["2: b0.0*4 out0.0*4 v0.1*4", "3: b0.0*8 key0.1*4 q0.1*4"]
        if biased
        else ["2: out0.0*4 v0.1*4", "3: key0.1*4 q0.1*4"]
    )
    pruned = prove(proto, attention="head_dim")
    node = node_of(pruned, "MultiHeadAttention")
    assert attribute(node, "scale") == pytest.approx(1 / np.sqrt(DIM))
    assert attribute(node, "num_heads") == HEADS


def test_multi_head_attention_with_a_mask_and_a_bias_per_head():
    g = Builder(batch=1)
    q, k, v = projected(g, biased=False)
    mask = g.weight(np.array([[1, 1, 1, 1, 0]], np.int32), "mask")
    bias = g.normal(1, HEADS, TOKENS, TOKENS, stem="bias")
    y = g.node("MultiHeadAttention", [q, k, v, "", mask, bias], domain=MICROSOFT, num_heads=HEADS)
    proto = finish(g, y, HEADS * DIM)
    assert described(proto) == ["4: bias0.1 key0.1*3 out0.0*3 q0.1*3 v0.1*3"]
    prove(proto)


def test_multi_head_attention_to_keys_that_come_split():
    """Cross attention in a decoder: keys and values were projected before."""
    g = Builder()
    q = project(g, g.input(TOKENS, WIDTH), "q", HEADS * DIM, biased=False)
    memory = g.input(TOKENS, WIDTH, name="memory")
    k, v = (split(g, project(g, memory, s, HEADS * DIM), HEADS, DIM) for s in ("key", "v"))
    y = g.node("MultiHeadAttention", [q, k, v], domain=MICROSOFT, num_heads=HEADS)
    proto = finish(g, y, HEADS * DIM)
    assert described(proto) == [ALL.replace("qb0.0*3 ", "")]
    prove(proto)


def test_multi_head_attention_with_a_cache_keeps_its_heads():
    g = Builder()
    q, k, v = projected(g, biased=False)
    past = [g.input(HEADS, 2, DIM, name=name) for name in ("past_key", "past_value")]
    y, key, value = g.node("MultiHeadAttention", [q, k, v, "", "", "", *past], 3,
                           domain=MICROSOFT, num_heads=HEADS)  # fmt: skip
    y = g.node("MatMul", [y, g.normal(HEADS * DIM, 6, stem="out")])
    proto = g.model(g.node("MatMul", [y, g.normal(6, 4, stem="last")]), key, value)
    assert described(proto) == ["6: last0.0 out0.1"]
    prove(proto)


# --- com.microsoft GroupQueryAttention ----------------------------------------------------------


def grouped(own=2, dim=8, pack=False, rotary=False, sink=False, bias=False):
    """Its CPU kernel takes head sizes that are a multiple of 8 (16 with a rotation)."""
    g = Builder(batch=2)
    x = g.input(TOKENS, WIDTH)
    if pack:
        qkv = [project(g, x, "qkv", (HEADS + 2 * own) * dim), "", ""]
    else:
        qkv = [project(g, x, s, n * dim) for s, n in (("q", HEADS), ("key", own), ("v", own))]
    lengths = g.weight(np.full(2, TOKENS - 1, np.int32), "lengths", "initializer")
    total = g.weight(np.array(TOKENS, np.int32), "total", "initializer")
    inputs = [*qkv, "", "", lengths, total]
    angles = np.outer(np.arange(9), 10.0 ** -np.arange(dim // 2)).astype(np.float32)
    inputs += [g.weight(np.cos(angles), "c"), g.weight(np.sin(angles), "s")] if rotary else ["", ""]
    inputs += ["", g.normal(1, HEADS, TOKENS, TOKENS, stem="bias") if bias else ""]
    inputs += [g.normal(HEADS, stem="sink") if sink else ""]
    while not inputs[-1]:
        inputs.pop()
    y = g.node("GroupQueryAttention", inputs, 3, domain=MICROSOFT, num_heads=HEADS,
               kv_num_heads=own, do_rotary=int(rotary))[0]  # fmt: skip
    return finish(g, y, HEADS * dim)


@pytest.mark.parametrize("own", [1, 2, 4])
@pytest.mark.parametrize("rotary", [False, True])
def test_group_query_attention(own, rotary):
    dim = 16 if rotary else 8
    proto = grouped(own, dim, rotary=rotary)
    n, m = dim, dim * HEADS // own
    expected = f"{own}: key0.1*{n} keyb0.0*{n} out0.0*{m} q0.1*{m} qb0.0*{m} v0.1*{n} vb0.0*{n}"
    assert described(proto) == [expected if own > 1 else f"4: out0.0*{n} q0.1*{n} qb0.0*{n}"]
    pruned = prove(proto)
    node = node_of(pruned, "GroupQueryAttention")
    assert attribute(node, "num_heads") == 2
    assert attribute(node, "kv_num_heads") == max(1, own // 2)
    # One head size for all, and in eights: where head_dim is asked for, heads are what can go.
    assert described(proto, "head_dim") == described(proto)
    assert described(proto, "none") == []


def test_group_query_attention_of_packed_operands():
    proto = grouped(pack=True)
    assert described(proto) == ["2: out0.0*16 qkv0.1*32 qkvb0.0*32"]
    pruned = prove(proto)
    node = node_of(pruned, "GroupQueryAttention")
    assert (attribute(node, "num_heads"), attribute(node, "kv_num_heads")) == (2, 1)


def test_group_query_attention_with_sinks_and_a_bias_per_head():
    proto = grouped(own=4, sink=True, bias=True)
    (line,) = described(proto)
    assert "bias0.1 " in line
    assert " sink0.0 " in line
    prove(proto)


# --- costs --------------------------------------------------------------------------------------


def _counted(proto):
    return spa.measure_cost(spa.load(proto)).macs


def test_fused_attention_costs_what_the_chain_costs():
    scores = 2 * HEADS * TOKENS * TOKENS * DIM
    projections = TOKENS * WIDTH * 3 * HEADS * DIM + TOKENS * HEADS * DIM * 6
    for proto in (standard(3), standard(4), standard(own=HEADS), packed(), multi_head()):
        assert _counted(proto) == scores + projections
    narrow = TOKENS * WIDTH * (HEADS + 2 * 2) * DIM + TOKENS * HEADS * DIM * 6
    assert _counted(standard(own=2)) == scores + narrow
    gqa = 2 * HEADS * TOKENS * TOKENS * 8 + TOKENS * WIDTH * 8 * 8 + TOKENS * HEADS * 8 * 6
    assert _counted(grouped(pack=True)) == _counted(grouped()) == gqa


@pytest.mark.parametrize("attention", ["heads", "head_dim"])
@pytest.mark.parametrize("make", [standard, packed, multi_head, lambda: standard(4, v_dim=2)])
def test_a_plan_costs_what_the_pruned_file_costs(make, attention):
    proto = make()
    result = spa.prune(proto, ratio=0.4, limits=spa.Limits(scope="local"), attention=attention)
    dense, pruned = _counted(proto), _counted(result.model)
    assert result.plan.to_json()["reached"]["rf"] == pytest.approx(dense / pruned)
