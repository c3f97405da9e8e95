"""What ONNX Runtime refuses, or dies of, though the model is sound."""

from __future__ import annotations

import onnx.parser
import pytest

import spa
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
