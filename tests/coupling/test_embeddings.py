"""Embedding tables: widths shrink, vocabularies stay, and a table that is the output layer too."""

import numpy as np
import onnx
import pytest

import spa
from tests.coupling.cases import described, kept, prove
from tests.graphs import Builder, initializer, node_of

WORDS, WIDTH = 11, 8


def tokens(g: Builder, name: str = "tokens", steps: int | str = 5) -> str:
    return g.input(steps, name=name, dtype=onnx.TensorProto.INT64)


def mlp(g: Builder, x: str) -> str:
    """A residual block over the width."""
    y = g.node("Relu", [g.node("MatMul", [x, g.normal(WIDTH, 12, stem="U")])])
    return g.node("Add", [x, g.node("MatMul", [y, g.normal(12, WIDTH, stem="D")])])


@pytest.mark.parametrize("opset", [9, 11, 13, 17, 23])
def test_the_width_of_a_table_shrinks_and_its_vocabulary_stays(opset):
    g = Builder(opset)
    table = g.normal(WORDS, WIDTH, stem="E")
    x = mlp(g, g.node("Gather", [table, tokens(g)], axis=0))
    proto = g.model(g.node("MatMul", [x, g.normal(WIDTH, 3, stem="V")]))
    assert described(proto) == ["12: D0.0 U0.1", "8: D0.1 E0.1 U0.0 V0.0"]
    reason = kept(proto)["E0.0"]
    assert reason.startswith("11 of 11: what is selected along this axis is computed while the")
    assert initializer(prove(proto), "E0").shape == (WORDS, WIDTH // 2)


@pytest.mark.parametrize("how", ["transpose", "transB", "einsum", "left"])
def test_a_table_that_is_the_output_layer_too(how):
    """One tensor, read twice on purpose: cut once, and both reads follow."""
    g = Builder(17)
    table = g.normal(WORDS, WIDTH, stem="E")
    x = mlp(g, g.node("Gather", [table, tokens(g)], axis=0))
    if how == "transpose":
        y = g.node("MatMul", [x, g.node("Transpose", [table], perm=[1, 0])])
    elif how == "einsum":
        y = g.node("Einsum", [x, table], equation="nte,ve->ntv")
    elif how == "transB":
        y = g.node("Gemm", [g.reshape(x, [-1, WIDTH]), table], transB=1)
    else:
        y = g.node("MatMul", [table, g.node("Transpose", [x], perm=[0, 2, 1])])
    proto = g.model(y)
    assert described(proto) == ["12: D0.0 U0.1", "8: D0.1 E0.1 U0.0"]
    assert kept(proto)["E0.0"].startswith("11 of 11")
    pruned = prove(proto, plain=False)
    assert initializer(pruned, "E0").shape == (WORDS, WIDTH // 2)
    assert sum("E0" in node.input for node in pruned.graph.node) == 2


def test_a_vocabulary_is_kept_as_an_output_even_where_the_tokens_are_fixed():
    g = Builder()
    table = g.normal(WORDS, WIDTH, stem="E")
    chosen = g.node("Gather", [table, g.ints([2, 7, 4])], axis=0)
    scores = g.node("MatMul", [g.input(4, WIDTH), g.node("Transpose", [table], perm=[1, 0])])
    proto = g.model(scores, g.node("MatMul", [chosen, g.normal(WIDTH, 3)]))
    assert kept(proto)["E0.0"] == "11 of 11: it is an output of the model"


@pytest.mark.parametrize("steps", [5, "T"])
@pytest.mark.parametrize("norm", [False, True])
def test_words_positions_and_types_add_up(norm, steps):
    """The sum of three tables, as BERT has it; with its norm the removal is not exact."""
    g = Builder(17)
    words, types = tokens(g, steps=steps), tokens(g, "types", steps)
    tables = [g.normal(rows, WIDTH, stem="E") for rows in (WORDS, 16, 2)]
    length = g.node("Gather", [g.node("Shape", [words]), g.ints(1)], axis=0)
    places = g.node("Range", [g.ints(0), length, g.ints(1)])
    x = g.node("Gather", [tables[0], words], axis=0)
    x = g.node("Add", [x, g.node("Gather", [tables[2], types], axis=0)])
    x = g.node("Add", [x, g.node("Gather", [tables[1], places], axis=0)])
    if norm:
        vectors = [g.weight(np.ones(WIDTH, np.float32), "n"), g.normal(WIDTH, stem="n")]
        x = g.node("LayerNormalization", [x, *vectors])
    proto = g.model(g.node("MatMul", [mlp(g, x), g.normal(WIDTH, 3, stem="V")]))
    width = "8: D0.1 E0.1 E1.1 E2.1 U0.0 V0.0" + (" n0.0 n1.0" if norm else "")
    assert described(proto) == sorted(["12: D0.0 U0.1", ("~" if norm else "") + width])
    rows = 5 if steps == 5 else 16  # those that are read
    starts = [kept(proto)[f"E{i}.0"].partition(":")[0] for i in range(3)]
    assert starts == ["11 of 11", f"{rows} of 16", "2 of 2"]
    prove(proto, plain=False, equal=not norm)


def test_positions_that_lie_in_the_file_as_a_slice_of_a_table():
    """Torch's buffer of positions: (1, 16) cut to the length of the text."""
    g = Builder(17)
    words = tokens(g, steps="T")
    length = g.node("Slice", [g.node("Shape", [words]), *(g.ints([v]) for v in (1, 2, 0))])
    places = g.weight(np.arange(16, dtype=np.int64)[None], "places")
    places = g.node("Slice", [places, g.ints([0]), length, g.ints([1])])
    x = g.node("Gather", [g.normal(WORDS, WIDTH, stem="E"), words], axis=0)
    x = g.node("Add", [x, g.node("Gather", [g.normal(16, WIDTH, stem="P"), places], axis=0)])
    proto = g.model(g.node("MatMul", [x, g.normal(WIDTH, 3, stem="V")]))
    assert described(proto) == ["8: E0.1 P0.1 V0.0"]
    prove(proto, plain=False)


@pytest.mark.parametrize("from_table", [False, True])
def test_a_scale_that_is_computed_from_the_width_stays_what_it_was(from_table):
    """Embeddings times the root of their width, which a file computes from a shape."""
    g = Builder(17)
    table = g.normal(WORDS, WIDTH, stem="E")
    x = g.node("Gather", [table, tokens(g)], axis=0)
    size = g.node("Gather", [g.node("Shape", [table if from_table else x]), g.ints(-1)], axis=0)
    root = g.node("Sqrt", [g.node("Cast", [size], to=onnx.TensorProto.FLOAT)])
    x = g.node("Mul", [x, root])
    proto = g.model(g.node("MatMul", [x, g.node("Transpose", [table], perm=[1, 0])]))
    assert described(proto) == ["8: E0.1"]
    pruned = prove(proto, plain=False)
    scale = node_of(pruned, "Mul").input[1]
    assert initializer(pruned, scale) == pytest.approx(np.sqrt(WIDTH))


def test_a_narrow_table_with_a_projection():
    """ALBERT: a table of its own width, projected up; both widths shrink, each by itself."""
    g = Builder(17)
    narrow = g.node("Gather", [g.normal(WORDS, 6, stem="E"), tokens(g)], axis=0)
    x = mlp(g, g.node("MatMul", [narrow, g.normal(6, WIDTH, stem="P")]))
    proto = g.model(g.node("MatMul", [x, g.normal(WIDTH, 3, stem="V")]))
    assert described(proto) == ["12: D0.0 U0.1", "6: E0.1 P0.0", "8: D0.1 P0.1 U0.0 V0.0"]
    prove(proto, plain=False)


def test_a_recurrent_layer_reads_an_embedding():
    g = Builder(17)
    x = g.node("Gather", [g.normal(WORDS, WIDTH, stem="E"), tokens(g)], axis=0)
    x = g.node("Transpose", [x], perm=[1, 0, 2])
    inputs = [x, g.normal(1, 24, WIDTH, stem="W"), g.normal(1, 24, 6, stem="R")]
    (y,) = g.node("LSTM", inputs, ["y"], hidden_size=6)
    proto = g.model(g.node("MatMul", [g.squeeze(y, [1]), g.normal(6, 3, stem="V")]))
    assert described(proto) == ["6: R0.1*4 R0.2 V0.0 W0.1*4", "8: E0.1 W0.2"]
    prove(proto, plain=False)


def test_an_embedding_bag_sums_over_words_and_leaves_channels_alone():
    g = Builder(17)
    x = g.node("Gather", [g.normal(WORDS, WIDTH, stem="E"), tokens(g)], axis=0)
    x = g.reduce("ReduceMean", x, [1], keepdims=0)
    proto = g.model(g.gemm(x, WIDTH, 3))
    assert described(proto) == ["8: E0.1 w0.1"]
    prove(proto, plain=False)


def test_a_table_of_integers_that_is_dequantised():
    """The rows are looked up after the integers are turned into numbers."""
    g = Builder(17)
    q = g.weight(g.rng.integers(-90, 90, (WORDS, WIDTH)).astype(np.int8), "q")
    scale = g.weight(np.full(WIDTH, 0.02, np.float32), "s")
    point = g.weight(np.arange(WIDTH, dtype=np.int8), "z")
    table = g.node("DequantizeLinear", [q, scale, point], axis=1)
    x = g.node("Gather", [table, tokens(g)], axis=0)
    proto = g.model(g.node("MatMul", [x, g.normal(WIDTH, 3, stem="V")]))
    assert described(proto) == ["8: V0.0 q0.1 s0.0 z0.0"]
    prove(proto, plain=False)


def test_integers_that_are_looked_up_before_they_are_dequantised():
    g = Builder(17)
    q = g.weight(g.rng.integers(-90, 90, (WORDS, WIDTH)).astype(np.int8), "q")
    scale = g.weight(np.full((), 0.02, np.float32), "s")
    point = g.weight(np.array(7, np.int8), "z")
    rows = g.node("Gather", [q, tokens(g)], axis=0)
    x = g.node("DequantizeLinear", [rows, scale, point])
    proto = g.model(g.node("MatMul", [x, g.normal(WIDTH, 3, stem="V")]))
    assert described(proto) == ["8: V0.0 q0.1"]
    prove(proto, plain=False)


def test_a_tied_table_is_scored_once():
    g = Builder(17)
    table = g.normal(WORDS, WIDTH, stem="E")
    x = g.node("Gather", [table, tokens(g)], axis=0)
    proto = g.model(g.node("MatMul", [x, g.node("Transpose", [table], perm=[1, 0])]))
    model = spa.load(proto)
    groups = spa.find_groups(model)
    values = spa.score(model, groups, "l1", normalize="none").by_group[0]
    np.testing.assert_allclose(values, np.abs(initializer(proto, "E0")).sum(axis=0), rtol=1e-5)
    assert spa.prune(model, rp=1.9).plan.exact
