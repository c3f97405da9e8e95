"""Operators that torch's newest exporter, signal chains, ONNX Runtime and quantisers write."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from oracle import difference, one_op, run_onnx, run_torch

from spa.bridge import to_torch
from spa.bridge.ops import UNAVAILABLE
from spa.bridge.registry import _trusted
from spa.coupling.rules.base import RULES
from spa.errors import BridgeError

RNG = np.random.default_rng(0)
OWN = "com.microsoft"


def f(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*values):
    return np.array(values, np.int64)


def check(op, opset, inputs, constants=None, outputs=1, *, domain="", **attrs):
    proto = one_op(op, opset, inputs, constants, outputs, **attrs)
    if domain:
        proto.graph.node[0].domain = domain
        proto.opset_import.append(helper.make_opsetid(domain, 1))
    net = to_torch(proto)
    again = to_torch(onnx.ModelProto.FromString(proto.SerializeToString()))
    assert difference(run_torch(again, inputs), run_onnx(proto, inputs)) <= 2e-5
    return net


def test_every_operator_that_couples_has_a_converter_or_a_reason():
    known = {f"{domain}::{op}" if domain else op for domain, op in _trusted}
    assert set(RULES) - known - {"Constant"} == set(UNAVAILABLE)
    for op, why in UNAVAILABLE.items():
        domain, _, name = op.rpartition("::")
        node = helper.make_node(name, ["x"], ["y"], domain=domain)
        value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
        graph = helper.make_graph([node], "g", [value], [helper.make_empty_tensor_value_info("y")])
        with pytest.raises(BridgeError, match=why.split(";")[0].split("(")[0]):
            to_torch(helper.make_model(graph))


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize(
    "attrs", [{}, {"is_causal": 1}, {"scale": 0.3}, {"softcap": 2.0}], ids=lambda a: str(list(a))
)
def test_attention(flat, attrs):
    if flat:
        inputs = {"i0": f(2, 5, 4 * 8), "i1": f(2, 5, 2 * 8), "i2": f(2, 5, 2 * 6)}
        attrs = {**attrs, "q_num_heads": 4, "kv_num_heads": 2}
    else:
        inputs = {"i0": f(2, 4, 5, 8), "i1": f(2, 2, 5, 8), "i2": f(2, 2, 5, 6)}
    check("Attention", 23, inputs, **attrs)


@pytest.mark.parametrize("mask", [f(5, 7), RNG.random((2, 1, 5, 7)) < 0.7, f(2, 4, 5, 7)])
def test_attention_with_a_mask(mask):
    check(
        "Attention",
        23,
        {"i0": f(2, 4, 5, 8), "i1": f(2, 4, 7, 8), "i2": f(2, 4, 7, 8)},
        {"i3": mask},
    )


def test_attention_with_a_past():
    inputs = {"i0": f(2, 4, 3, 8), "i1": f(2, 4, 3, 8), "i2": f(2, 4, 3, 8),
              "i4": f(2, 4, 5, 8), "i5": f(2, 4, 5, 8)}  # fmt: skip
    check("Attention", 23, inputs, outputs=3)


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("part", [0, 4])
def test_rotary_embedding(interleaved, part):
    half = (part or 8) // 2
    tables = {"i1": f(10, half), "i2": f(10, half)}
    attrs = {"interleaved": interleaved, "rotary_embedding_dim": part}
    ids = {"i3": ints(0, 3, 2, 5, 9, 1)[None]}
    check("RotaryEmbedding", 23, {"i0": f(1, 2, 6, 8)}, {**tables, **ids}, **attrs)
    check("RotaryEmbedding", 23, {"i0": f(1, 6, 16)}, {**tables, **ids}, num_heads=2, **attrs)


@pytest.mark.parametrize("ids", [ints(2), ints(0, 1, 2, 5, 3, 4)[None]])
def test_rotary_embedding_of_microsoft(ids):
    tables = {"i1": ids, "i2": f(10, 4), "i3": f(10, 4)}
    check("RotaryEmbedding", 17, {"i0": f(1, 6, 16)}, tables, domain=OWN)


def test_multi_head_attention_of_microsoft():
    inputs = {"i0": f(2, 5, 16), "i1": f(2, 7, 16), "i2": f(2, 7, 16)}
    more = {"i3": f(48), "i5": f(2, 4, 5, 7)}
    check("MultiHeadAttention", 17, inputs, domain=OWN, num_heads=4)
    check("MultiHeadAttention", 17, inputs, more, domain=OWN, num_heads=4, scale=0.4)


def test_attention_of_microsoft():
    weights = {"i1": f(12, 48), "i2": f(48)}
    check("Attention", 17, {"i0": f(2, 5, 12)}, weights, domain=OWN, num_heads=4)
    check("Attention", 17, {"i0": f(2, 5, 12)}, weights, domain=OWN, num_heads=4, unidirectional=1)


def test_what_fusions_of_onnx_runtime_leave():
    x = {"i0": f(2, 5, 16)}
    for op in ("Gelu", "QuickGelu", "FastGelu"):
        check(op, 17, x, domain=OWN)
    for op in ("BiasGelu", "FastGelu"):
        check(op, 17, x, {"i1": f(16)}, domain=OWN)
    check("FusedMatMul", 17, {"i0": f(2, 3, 5)}, {"i1": f(4, 5)}, domain=OWN, transB=1, alpha=0.5)
    check("FusedMatMul", 17, {"i0": f(2, 5, 3), "i1": f(2, 5, 4)}, domain=OWN, transA=1)
    both, vectors = {"i0": f(2, 5, 16), "i1": f(2, 5, 16)}, {f"i{k}": f(16) for k in (2, 3, 4)}
    check("SkipLayerNormalization", 17, both, vectors, domain=OWN)
    two = {k: vectors[k] for k in ("i2", "i3")}
    check("SkipSimplifiedLayerNormalization", 17, both, two, domain=OWN)


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("corners", [0, 1])
def test_grid_sample(mode, padding, corners):
    inputs = {"i0": f(2, 3, 6, 5), "i1": RNG.uniform(-1.2, 1.2, (2, 4, 7, 2)).astype(np.float32)}
    check("GridSample", 16, inputs, mode=mode, padding_mode=padding, align_corners=corners)


def test_grids_of_volumes_and_by_their_newer_names():
    grid = RNG.uniform(-1, 1, (2, 3, 4, 5, 3)).astype(np.float32)
    check("GridSample", 20, {"i0": f(2, 3, 4, 5, 6), "i1": grid}, mode="linear")
    check("AffineGrid", 20, {"i0": f(2, 2, 3)}, {"i1": ints(2, 3, 4, 5)})
    check("AffineGrid", 20, {"i0": f(2, 3, 4)}, {"i1": ints(2, 3, 4, 5, 6)}, align_corners=1)


def test_deformed_convolution():
    inputs = {"i0": f(2, 4, 7, 7), "i2": 0.3 * f(2, 18, 7, 7)}
    check(
        "DeformConv",
        19,
        inputs,
        {"i1": f(6, 4, 3, 3), "i3": f(6)},
        pads=[1] * 4,
        kernel_shape=[3, 3],
    )
    mask = {"i4": RNG.random((2, 9, 7, 7)).astype(np.float32)}
    more = {"i1": f(6, 4, 3, 3)}
    check("DeformConv", 19, {**inputs, **mask}, more, pads=[1] * 4, kernel_shape=[3, 3])
    small = {"i0": f(2, 4, 9, 8), "i2": 0.3 * f(2, 24, 4, 4)}
    check("DeformConv", 19, small, {"i1": f(6, 2, 2, 3)}, group=2, offset_group=2,
          kernel_shape=[2, 3], strides=[2, 2], dilations=[2, 1], pads=[0, 1, 0, 1])  # fmt: skip


@pytest.mark.parametrize("axis", [1, 3])
def test_inverse_transforms(axis):
    inputs = {"i0": f(2, 8, 3, 9, 2)}
    check("DFT", 17, inputs, inverse=1, axis=axis)
    check("DFT", 17, inputs, axis=axis)


def test_short_time_transforms():
    constants = {"i1": np.array(4, np.int64), "i2": np.hanning(16).astype(np.float32)}
    check("STFT", 17, {"i0": f(2, 64, 1)}, constants)
    check("STFT", 17, {"i0": f(2, 64, 1)}, {**constants, "i3": np.array(16, np.int64)}, onesided=0)


@pytest.mark.parametrize("op", ["HannWindow", "HammingWindow", "BlackmanWindow"])
@pytest.mark.parametrize("periodic", [0, 1])
def test_windows(op, periodic):
    check(op, 17, {"i0": np.array(16, np.int64)}, periodic=periodic)


def test_quantised_numbers():
    x, w = {"i0": 3 * f(2, 6, 4)}, RNG.integers(-128, 127, (6, 8)).astype(np.int8)
    one = {"i1": np.float32(0.05), "i2": np.int8(3)}
    check("QuantizeLinear", 13, x, one)
    rows = {"i1": np.abs(f(6)) + 0.01, "i2": RNG.integers(0, 9, 6).astype(np.uint8)}
    check("QuantizeLinear", 13, x, rows, axis=1)
    check(
        "DequantizeLinear", 13, {"i0": w}, {"i1": np.abs(f(6)), "i2": np.zeros(6, np.int8)}, axis=0
    )
    check("DequantizeLinear", 21, {"i0": w}, {"i1": np.abs(f(6, 2))}, axis=1, block_size=4)


def test_unpooling():
    x = {"i0": f(2, 3, 8, 6)}
    attrs = {"kernel_shape": [2, 2], "strides": [2, 2]}
    check("MaxPool", 12, x, outputs=2, **attrs)
    places = run_onnx(one_op("MaxPool", 12, x, outputs=2, **attrs), x)
    check("MaxUnpool", 11, {"i0": places[0], "i1": places[1]}, **attrs)


def test_small_kin():
    whole = {"i0": ints(1, 2, 3, 12).astype(np.uint8), "i1": ints(1, 3, 1, 2).astype(np.uint8)}
    for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
        check(op, 18, whole)
    check("BitwiseNot", 18, {"i0": whole["i0"]})
    for direction in ("LEFT", "RIGHT"):
        check("BitShift", 11, whole, direction=direction)
    check("Det", 11, {"i0": f(2, 4, 4)})
    check("ReverseSequence", 10, {"i0": f(5, 3, 2)}, {"i1": ints(2, 5, 1)})
    check(
        "ReverseSequence", 10, {"i0": f(3, 5, 2)}, {"i1": ints(2, 5, 1)}, time_axis=1, batch_axis=0
    )


@pytest.mark.parametrize(
    ("op", "attrs", "middle", "spread"),
    [("RandomNormalLike", {"mean": 3.0, "scale": 2.0}, 3.0, 2.0),
     ("RandomUniformLike", {"low": 1.0, "high": 3.0}, 2.0, 3**-0.5)],
)  # fmt: skip
def test_random_numbers_have_their_mean_and_spread(op, attrs, middle, spread):
    net = to_torch(one_op(op, 17, {"i0": f(200, 100)}, **attrs))
    drawn = net(torch.zeros(200, 100))
    assert float(drawn.mean()) == pytest.approx(middle, abs=0.1)
    assert float(drawn.std()) == pytest.approx(spread, rel=0.05)


def test_attention_trains():
    """Gradients are those of torch's own attention."""
    q, k, v = (torch.randn(2, 4, 5, 8, requires_grad=True) for _ in range(3))
    inputs = {"i0": f(2, 4, 5, 8), "i1": f(2, 4, 5, 8), "i2": f(2, 4, 5, 8)}
    net = to_torch(one_op("Attention", 23, inputs, is_causal=1))
    ours = torch.autograd.grad(net(q, k, v).square().sum(), (q, k, v))
    y = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    for a, b in zip(ours, torch.autograd.grad(y.square().sum(), (q, k, v)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
