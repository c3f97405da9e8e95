"""Einsum: what MatMul would do, whatever the letters."""

from __future__ import annotations

import pytest

from spa.graph.equation import read_equation
from tests.coupling.cases import described, kept, prove
from tests.graphs import Builder


@pytest.mark.parametrize(
    ("equation", "ranks", "terms", "output"),
    [
        ("ij,jk->ik", [2, 2], ["ij", "jk"], "ik"),
        ("ij,jk", [2, 2], ["ij", "jk"], "ik"),
        ("ba", [2], ["ba"], "ab"),
        ("...j,jk->...k", [4, 2], ["abcj", "jk"], "abck"),
        ("b h t d , b h s d -> b h t s", [4, 4], ["bhtd", "bhsd"], "bhts"),
    ],
)  # fmt: skip
def test_equations_are_read(equation, ranks, terms, output):
    spelled, result = read_equation(equation, ranks)
    if "..." not in equation:
        assert (spelled, result) == (terms, output)
    else:
        assert [len(term) for term in spelled] == ranks
        assert result[:-1] == spelled[0][:-1]


@pytest.mark.parametrize("opset", [12, 17])
@pytest.mark.parametrize(
    ("equation", "shape"),
    [("ncx,co->nox", (6, 5)), ("ncx,oc->nox", (5, 6)), ("ncx,co->nxo", (6, 5))],
)
def test_a_weight_is_contracted(opset, equation, shape):
    g = Builder(opset)
    x = g.conv(g.input(3, 8), 3, 6, rank=1)
    x = g.node("Einsum", [x, g.normal(*shape)], equation=equation)
    proto = g.model(g.node("Relu", [x]))
    axis = shape.index(6)
    assert described(proto) == [f"6: b0.0 w0.0 w1.{axis}"]
    prove(proto, plain=False)  # the perturbation oracle does not read equations


def test_both_sides_of_a_hidden_layer():
    g = Builder()
    x = g.node("Einsum", [g.input(4, 7), g.normal(7, 10)], equation="btc,ch->bth")
    x = g.node("Einsum", [g.node("Gelu" if g.opset > 19 else "Relu", [x]), g.normal(10, 3)],
               equation="...h,ho->...o")  # fmt: skip
    proto = g.model(x)
    assert described(proto) == ["10: w0.1 w1.0"]
    prove(proto, plain=False)


def test_heads_with_weights_of_three_axes():
    """Keras and Flax write multi-head projections so: (width, heads, head_dim)."""
    g = Builder()
    x = g.input(5, 12)
    q, k, v = (
        g.node("Einsum", [x, g.normal(12, 4, 3)], equation="btc,chd->bhtd") for _ in range(3)
    )
    scores = g.node("Einsum", [q, k], equation="bhtd,bhsd->bhts")
    mixed = g.node("Einsum", [g.node("Softmax", [scores], axis=-1), v], equation="bhts,bhsd->bthd")
    proto = g.model(g.node("Einsum", [mixed, g.normal(4, 3, 7)], equation="bthd,hdo->bto"))
    assert "4: w0.1 w1.1 w2.1 w3.0" in described(proto)
    prove(proto, plain=False)


def test_a_diagonal_is_kept():
    g = Builder(batch=2)
    x = g.node("Reshape", [g.gemm(g.input(5), 5, 16), g.ints([2, 4, 4])])
    proto = g.model(g.node("Einsum", [x], equation="bii->bi"))
    assert described(proto) == []
    assert "diagonal" in kept(proto)["w0.0"]
