"""What ONNX Runtime refuses, or dies of, though the model is sound."""

from __future__ import annotations

import numpy as np
import onnx.parser
import pytest

import spa
from spa.errors import RunError
from spa.graph.execute import run
from tests.oracles import assert_equals_zeroed

BODIES = {
    "Loop": """Loop (trip, go, x) <body = b (int64 i, bool c, float[N,6,4] a)
        => (bool c2, float[N,6,4] a2) { c2 = Identity (c)  a2 = Add (a, t) }>""",
    "If": """If (go) <then_branch = yes () => (float[N,6,4] a) { a = Add (x, t) },
        else_branch = no () => (float[N,6,4] b) { b = Sub (x, t) }>""",
}


@pytest.mark.parametrize("operator", sorted(BODIES))
def test_dequantised_values_may_be_read_inside_a_subgraph(operator):
    """ONNX Runtime's QDQPropagationTransformer ends the process on Loops that do (1.31.1)."""
    proto = onnx.parser.parse_model(f"""
        <ir_version: 10, opset_import: ["": 21]>
        g (float[N,6,4] x, bool go) => (float[N,6,3] y)
        <float s = {{0.1}}, int64 trip = {{2}}, float[4,8] v = {{{_numbers(32)}}},
         float[8,3] w = {{{_numbers(24)}}}> {{
            q = QuantizeLinear (x, s)
            d = DequantizeLinear (q, s)
            u = Transpose <perm = [0, 2, 1]> (d)
            t = Transpose <perm = [0, 2, 1]> (u)
            l = {BODIES[operator]}
            h = MatMul (l, v)
            r = Relu (h)
            y = MatMul (r, w)
        }}""")
    result = spa.prune(proto, ratio=0.5)
    assert result.proof.equal
    assert_equals_zeroed(proto, result.model, result.plan.to_json())


def _numbers(count: int) -> str:
    """Values that differ, none of them zero."""
    return ", ".join(f"{(7 * k % 11 - 5.5) / 4:g}" for k in range(count))


def test_what_onnx_runtime_breaks_by_itself_is_pruned_and_proven_without_its_rewrites():
    """Its QDQS8ToU8Transformer changes a zero point's type, but not the attribute that names it."""
    proto = onnx.parser.parse_model(f"""
        <ir_version: 10, opset_import: ["": 22]>
        g (float[N,4] x) => (float[N,3] y)
        <float s = {{0.1}}, int8 z = {{0}}, float[4,8] v = {{{_numbers(32)}}},
         float[8,3] w = {{{_numbers(24)}}}> {{
            q = QuantizeLinear <output_dtype = 3> (x, s, z)
            d = DequantizeLinear (q, s, z)
            h = MatMul (d, v)
            r = Relu (h)
            y = MatMul (r, w)
        }}""")
    result = spa.prune(proto, ratio=0.5)
    assert result.proof.equal
    assert any("rewrites the dense model to one that fails" in c for c in result.proof.checks)
    assert_equals_zeroed(proto, result.model, result.plan.to_json(), optimize=False)


@pytest.mark.parametrize(("operator", "gates"), [("GRU", 3), ("LSTM", 4)])
@pytest.mark.parametrize("shape", [(0, 7, 4), (3, 0, 4), (0, 0, 4)])
def test_an_empty_sequence_is_an_error_and_not_the_end(operator, gates, shape):
    """ONNX Runtime ends the process (1.31.1)."""
    proto = onnx.parser.parse_model(f"""
        <ir_version: 10, opset_import: ["": 21]>
        g (float[T,N,4] x) => (float[T,1,N,6] y)
        <float[1,{gates * 6},4] w = {{{_numbers(gates * 24)}}},
         float[1,{gates * 6},6] r = {{{_numbers(gates * 36)}}}> {{
            y = {operator} <hidden_size = 6> (x, w, r)
        }}""")
    with pytest.raises(RunError):
        run(proto, {"x": np.zeros(shape, np.float32)})
    (found,) = run(proto, {"x": np.ones((2, 3, 4), np.float32)})
    assert found.shape == (2, 1, 3, 6)


def test_an_einsum_of_nothing_is_an_error_and_not_the_end():
    """ONNX Runtime divides by zero (1.31.1)."""
    proto = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["": 21]>
        g (float[N,T,2,4] x) => (float[N,2,T,T] y) {
            y = Einsum <equation = "nqhd,nkhd->nhqk"> (x, x)
        }""")
    for shape in ((0, 3, 2, 4), (3, 0, 2, 4)):
        with pytest.raises(RunError):
            run(proto, {"x": np.zeros(shape, np.float32)})
    (found,) = run(proto, {"x": np.ones((2, 3, 2, 4), np.float32)})
    assert (found == 4).all()
    assert found.shape == (2, 2, 3, 3)


def test_a_batch_in_halves_before_a_recurrent_layer_is_proven():
    """At batch 1, which the proof tries, half of it is empty."""
    proto = onnx.parser.parse_model(f"""
        <ir_version: 10, opset_import: ["": 21]>
        g (float[N,T,4] x) => (float[T,1,M,6] y)
        <float[4,8] v = {{{_numbers(32)}}}, int64[1] zero = {{0}}, int64[1] two = {{2}},
         float[1,18,8] w = {{{_numbers(144)}}}, float[1,18,6] r = {{{_numbers(108)}}}> {{
            h = MatMul (x, v)
            a = Relu (h)
            n = Shape <end = 1> (a)
            half = Div (n, two)
            first = Slice (a, zero, half, zero)
            t = Transpose <perm = [1, 0, 2]> (first)
            y = GRU <hidden_size = 6> (t, w, r)
        }}""")
    result = spa.prune(proto, ratio=0.5)
    assert result.proof.equal
    assert_equals_zeroed(proto, result.model, result.plan.to_json(), batches=(2, 5))
