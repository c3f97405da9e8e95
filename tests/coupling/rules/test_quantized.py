"""QuantizeLinear and DequantizeLinear per tensor, per channel and per block; what stays dense."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

import spa
from spa.graph.cost import measure_cost
from spa.pruning.plan import cut_of
from spa.pruning.verify import verify_outputs
from tests.coupling.cases import described, kept, prove
from tests.graphs import Builder, classifier, initializer


def integers(g: Builder, *shape: int, dtype=np.int8, low: int = -100, stem: str = "q") -> str:
    values = g.rng.integers(low, low + 200, shape)
    return g.weight(values.astype(dtype), stem)


def scale(g: Builder, *shape: int) -> str:
    return g.weight((0.01 + 0.01 * g.rng.random(shape)).astype(np.float32), "s")


def per_channel(
    g: Builder, shape: tuple[int, ...], axis: int, *, point: bool = True, **kind
) -> str:
    """A weight of int8 with a scale, and a zero point, for every index of an axis."""
    size = shape[axis]
    inputs = [integers(g, *shape, **kind), scale(g, size)]
    if point:
        dtype = kind.get("dtype", np.int8)
        low = 60 if dtype == np.uint8 else -40
        inputs.append(g.weight(g.rng.integers(low, low + 80, size).astype(dtype), "z"))
    return g.node("DequantizeLinear", inputs, axis=axis)


def through(g: Builder, x: str, step: float = 0.05, point: int = 3) -> str:
    """An activation that is rounded to 8 bits and back."""
    vector = [
        g.weight(np.float32(step), "step"),
        g.weight(np.array(point, np.int8), "point"),
    ]
    return g.node("DequantizeLinear", [g.node("QuantizeLinear", [x, *vector]), *vector])


@pytest.mark.parametrize("point", [False, True])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("opset", [13, 17, 21, 23])
def test_scales_per_channel_go_with_their_axis(opset, axis, point):
    g = Builder(opset)
    x = g.input(3, 6, 6)
    y = g.node("Relu", [g.node("Conv", [x, per_channel(g, (8, 3, 3, 3), 0, point=point)])])
    w = per_channel(g, (5, 8, 1, 1), axis, point=point)
    proto = g.model(g.node("Conv", [y, w]))
    second = [f"q{1}.1"] + (["s1.0"] + (["z1.0"] if point else []) if axis == 1 else [])
    first = ["q0.0", "s0.0"] + (["z0.0"] if point else [])
    assert described(proto) == [f"8: {' '.join(sorted(first + second))}"]
    pruned = prove(proto, plain=False)
    assert initializer(pruned, "s0").shape == (4,)
    assert initializer(pruned, "q0").shape == (4, 3, 3, 3)
    assert initializer(pruned, "q0").dtype == np.int8


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("opset", [10, 13, 21])
def test_one_scale_for_the_whole_tensor(opset, dtype):
    """A zero point other than zero: zeroed weights are at the zero point, not at zero."""
    g = Builder(opset)
    low = 20 if dtype == np.uint8 else -100
    point = np.array(77 if dtype == np.uint8 else -9, dtype)
    x = g.input(3, 6, 6)
    for cin, cout in ((3, 8), (8, 5)):
        inputs = [integers(g, cout, cin, 3, 3, dtype=dtype, low=low), scale(g), g.weight(point)]
        x = g.node("Conv", [x, g.node("DequantizeLinear", inputs)], pads=[1, 1, 1, 1])
    proto = g.model(x)
    assert described(proto) == ["8: q0.0 q1.1"]
    prove(proto, plain=False)


def test_a_bias_of_32_bits():
    g = Builder()
    x = g.input(3, 6, 6)
    bias = integers(g, 8, dtype=np.int32, low=-5000, stem="b")
    b = g.node("DequantizeLinear", [bias, scale(g, 8)], axis=0)
    y = g.node("Conv", [x, per_channel(g, (8, 3, 3, 3), 0), b])
    proto = g.model(g.conv(g.node("Relu", [y]), 8, 5))
    assert described(proto) == ["8: b0.0 q0.0 s0.0 s1.0 w0.1 z0.0"]
    prove(proto, plain=False)


def test_a_weight_that_is_rounded_in_the_graph():
    """Quantisation-aware training leaves float weights with a pair of nodes behind them."""
    g = Builder()
    vectors = [scale(g, 8), g.weight(np.zeros(8, np.int8), "z")]
    w = g.node("QuantizeLinear", [g.normal(8, 3, 3, 3), *vectors], axis=0)
    w = g.node("DequantizeLinear", [w, *vectors], axis=0)
    y = g.node("Relu", [g.node("Conv", [g.input(3, 6, 6), w])])
    proto = g.model(g.conv(y, 8, 5))
    assert len(described(proto)) == 1
    assert "w0.0" in described(proto)[0]
    assert "w1.1" in described(proto)[0]
    prove(proto, plain=False)


@pytest.mark.parametrize("point", [0, 3])
def test_activations_that_are_rounded(point):
    g = Builder()
    x = g.node("Relu", [g.conv(through(g, g.input(3, 6, 6)), 3, 8)])
    proto = g.model(g.conv(through(g, x, point=point), 8, 5))
    assert described(proto) == ["8: b0.0 w0.0 w1.1"]
    prove(proto, plain=False)


@pytest.mark.parametrize("same", [True, False])
def test_zeros_become_zeros_again_only_by_the_same_zero_point(same):
    """A product of two activations is exact where the removed entries are zero."""
    g = Builder()
    x = g.node("MatMul", [g.input(4, 3), g.normal(3, 8)])
    step = g.weight(np.float32(0.05), "step")
    points = [g.weight(np.array(p, np.int8), "point") for p in (3, 3 if same else 4)]
    y = g.node("QuantizeLinear", [x, step, points[0]])
    y = g.node("DequantizeLinear", [y, step, points[1]])
    proto = g.model(g.node("MatMul", [y, g.node("Transpose", [y], perm=[0, 2, 1])]))
    assert described(proto) == ["8: w0.1" if same else "~8: w0.1"]
    prove(proto, plain=False, equal=same)


def test_activations_that_are_rounded_per_channel():
    g = Builder()
    x = g.conv(g.input(3, 6, 6), 3, 8)
    vectors = [scale(g, 8), g.weight(np.arange(8, dtype=np.int8), "z")]
    x = g.node("DequantizeLinear", [g.node("QuantizeLinear", [x, *vectors], axis=1), *vectors])
    proto = g.model(g.conv(x, 8, 5))
    (line,) = described(proto)
    assert line.count("s0@") == 2
    assert line.count("z0@") == 2
    prove(proto, plain=False)


@pytest.mark.parametrize("kind", ["half", "integers"])
def test_weights_behind_a_cast_or_a_scale_make_zeros(kind):
    """A product of two activations is exact where both are made by zeroed weights."""
    g = Builder()
    x = g.input(4, 3)
    if kind == "half":
        w = g.node("Cast", [g.weight(g.rng.random((3, 8)).astype(np.float16), "q")], to=1)
    else:
        w = per_channel(g, (3, 8), 1)
    y = g.node("MatMul", [x, w])
    proto = g.model(g.node("MatMul", [y, g.node("Transpose", [y], perm=[0, 2, 1])]))
    (line,) = described(proto)
    assert line.startswith("8: q0.1")
    # ONNX Runtime's rewrite of a product with integer weights rounds its other operand too.
    prove(proto, plain=False, optimize=False)


def _with_dead_head() -> onnx.ModelProto:
    """A quantised head of zeros: its output is constant whatever is cut."""
    g = Builder()
    y = g.node("Relu", [g.node("Conv", [g.input(3, 6, 6), per_channel(g, (8, 3, 3, 3), 0)])])
    head = [g.weight(np.full((5, 8, 1, 1), 7, np.int8), "q"), scale(g), g.weight(np.int8(7), "z")]
    return g.model(g.node("Conv", [y, g.node("DequantizeLinear", head)]))


def test_integers_are_drawn_at_random_where_the_output_is_constant():
    model = spa.load(_with_dead_head())
    result = spa.prune(model, ratio=0.5)
    assert any("both with random weights" in check for check in result.proof.checks)
    wrong = onnx.ModelProto()
    wrong.CopyFrom(result.model)
    next(node for node in wrong.graph.node if node.op_type == "Relu").op_type = "Sigmoid"
    groups = spa.find_groups(model)
    with pytest.raises(spa.VerificationError, match="random"):
        verify_outputs(model, wrong, cut_of(result.plan, groups.coupling), groups)


# --- blocks --------------------------------------------------------------------------------------


def blocked(g: Builder, rows: int, columns: int, size: int, *, axis: int, dtype=np.int8) -> str:
    blocks = [rows, columns]
    blocks[axis] = -(-blocks[axis] // size)
    q = integers(g, rows, columns)
    z = g.weight(g.rng.integers(-20, 20, blocks).astype(dtype), "z")
    return g.node("DequantizeLinear", [q, scale(g, *blocks), z], axis=axis, block_size=size)


@pytest.mark.parametrize("rows", [16, 14])
def test_blocks_of_the_contracted_axis_go_as_a_whole(rows):
    """Four blocks of 4 (the last one of 2): the channels of a block go together."""
    g = Builder(21)
    x = g.node("Relu", [g.node("MatMul", [g.input(3, 6), g.normal(6, rows)])])
    proto = g.model(g.node("MatMul", [x, blocked(g, rows, 5, 4, axis=0)]))
    lines = described(proto)
    if rows == 16:
        assert lines == ["4: q0.0*4 s0.0 w0.1*4 z0.0"]
    else:
        assert lines == ["1: q0.0*2 s0.0 w0.1*2 z0.0", "3: q0.0*4 s0.0 w0.1*4 z0.0"]
    pruned = prove(proto, plain=False)
    blocks, channels = initializer(pruned, "s0").shape[0], initializer(pruned, "q0").shape[0]
    assert blocks == -(-channels // 4) < 4


def test_blocks_of_another_axis_leave_channels_single():
    g = Builder(21)
    w = blocked(g, 8, 12, 4, axis=1)
    x = g.node("Relu", [g.node("MatMul", [g.input(3, 6), g.normal(6, 8)])])
    proto = g.model(g.node("MatMul", [x, w]))
    assert described(proto) == ["8: q0.0 s0.0 w0.1 z0.0"]
    prove(proto, plain=False)


def test_one_block_over_the_whole_axis_may_shrink():
    g = Builder(21)
    x = g.node("Relu", [g.node("MatMul", [g.input(3, 6), g.normal(6, 8)])])
    proto = g.model(g.node("MatMul", [x, blocked(g, 8, 5, 8, axis=0)]))
    assert described(proto) == ["8: q0.0 w0.1"]
    prove(proto, plain=False)


@pytest.mark.parametrize("kind", ["INT4", "UINT4"])
def test_weights_of_four_bits(kind):
    g = Builder(21)
    x = g.node("Relu", [g.node("MatMul", [g.input(3, 6), g.normal(6, 8)])])
    w = g.node("DequantizeLinear", ["q", "s", "z"], axis=0, block_size=2)
    proto = g.model(g.node("MatMul", [x, w]))
    low = 0 if kind == "UINT4" else -8
    four = getattr(onnx.TensorProto, kind)
    proto.graph.initializer.extend([
        onnx.helper.make_tensor("q", four, (8, 5), g.rng.integers(low, low + 16, 40).tolist()),
        onnx.helper.make_tensor("z", four, (4, 5), g.rng.integers(low, low + 16, 20).tolist()),
        onnx.numpy_helper.from_array(g.rng.random((4, 5)).astype(np.float32), "s"),
    ])  # fmt: skip
    assert described(proto) == ["4: q.0*2 s.0 w0.1*2 z.0"]
    pruned = prove(proto, plain=False)
    assert {t.name: t.data_type for t in pruned.graph.initializer}["q"] == four
    assert initializer(pruned, "q").shape == (4, 5)


@pytest.mark.parametrize("kind", ["FLOAT8E4M3FN", "FLOAT8E5M2"])
def test_weights_of_eight_bit_floats(kind):
    g = Builder(19)
    x = g.node("Relu", [g.node("MatMul", [g.input(3, 6), g.normal(6, 8)])])
    w = g.node("DequantizeLinear", ["q", "s"], axis=1)
    proto = g.model(g.node("MatMul", [x, w]))
    eight = getattr(onnx.TensorProto, kind)
    proto.graph.initializer.extend([
        onnx.helper.make_tensor("q", eight, (8, 5), g.rng.standard_normal(40).tolist()),
        onnx.numpy_helper.from_array(g.rng.random(5).astype(np.float32), "s"),
    ])  # fmt: skip
    assert described(proto) == ["8: q.0 w0.1"]
    pruned = prove(proto, plain=False)
    assert {t.name: t.data_type for t in pruned.graph.initializer}["q"] == eight


# --- scores, costs -------------------------------------------------------------------------------


def test_scores_see_what_integers_stand_for():
    """The largest integers have the smallest scales; at the zero point a weight is nothing."""
    g = Builder()
    q = np.array([[100, 100], [90, 90], [50, 50], [12, 8]], np.int8)
    s, z = np.array([0.001, 0.01, 0.1, 1.0], np.float32), np.array([0, 0, 50, 10], np.int8)
    inputs = [g.weight(q, "q"), g.weight(s, "s"), g.weight(z, "z")]
    x = g.node("Gemm", [g.input(2), g.node("DequantizeLinear", inputs, axis=0)], transB=1)
    proto = g.model(g.node("MatMul", [g.node("Relu", [x]), g.weight(np.zeros((4, 3), np.float32))]))
    model = spa.load(proto)
    groups = spa.find_groups(model)
    values = spa.score(model, groups, "l1", normalize="none").by_group[0]
    np.testing.assert_allclose(values, [0.2, 1.8, 0.0, 4.0], rtol=1e-5)
    values = spa.score(model, groups, "l2", normalize="none").by_group[0]
    np.testing.assert_allclose(values, [0.02, 1.62, 0.0, 8.0], rtol=1e-5)


def test_integer_weights_count_as_parameters_and_scales_do_not():
    g = Builder()
    x = g.node("Conv", [g.input(3, 6, 6), per_channel(g, (8, 3, 3, 3), 0)])
    proto = g.model(g.node("Conv", [x, per_channel(g, (5, 8, 1, 1), 0)]))
    assert measure_cost(spa.load(proto)).params == 8 * 27 + 5 * 8
    result = spa.prune(proto, rp=1.9)
    assert measure_cost(spa.load(result.model)).params == result.pruned.params


# --- ONNX Runtime's own quantiser ----------------------------------------------------------------


class Noise(CalibrationDataReader):
    """A few random inputs for calibration."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.batches = iter(
            [{"x": rng.standard_normal((2, 3, 8, 8)).astype(np.float32)} for _ in range(4)]
        )

    def get_next(self):
        return next(self.batches, None)


def quantised(
    folder: Path, proto: onnx.ModelProto, *, per_channel: bool, kind: str = "qdq",
    weights: QuantType = QuantType.QInt8, activations: QuantType = QuantType.QUInt8,
) -> onnx.ModelProto:  # fmt: skip
    source, target = folder / "float.onnx", folder / "integer.onnx"
    onnx.save(proto, source)
    form = QuantFormat.QDQ if kind == "qdq" else QuantFormat.QOperator
    quantize_static(
        source, target, Noise(), quant_format=form, per_channel=per_channel, weight_type=weights,
        activation_type=activations,
    )  # fmt: skip
    return onnx.load(target)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("weights", "activations"),
    [
        (QuantType.QInt8, QuantType.QUInt8),
        (QuantType.QUInt8, QuantType.QUInt8),
        (QuantType.QInt16, QuantType.QUInt16),
        (QuantType.QInt4, QuantType.QInt8),  # nodes of the domain com.microsoft
    ],
)
@pytest.mark.parametrize("per_channel", [False, True])
def test_a_net_that_onnx_runtime_quantised(tmp_path, per_channel, weights, activations):
    """The groups are those of the float net, whose weights are integers now."""
    proto = quantised(
        tmp_path, classifier(), per_channel=per_channel, weights=weights, activations=activations
    )
    sizes = [line.split(":")[0] for line in described(proto)]
    assert sizes == [line.split(":")[0] for line in described(classifier())]
    # A difference in the last bit moves a rounded activation by a step, which layers pass on.
    pruned = prove(proto, plain=False, tolerance=2e-2)
    assert initializer(pruned, "w0_quantized").shape[0] == 4
    result = spa.prune(proto, rf=2.0)
    assert result.proof is not None
    assert result.proof.equal


@pytest.mark.filterwarnings("ignore")
def test_a_net_of_quantised_operators_stays_dense(tmp_path):
    proto = quantised(tmp_path, classifier(), per_channel=True, kind="operators")
    assert described(proto) == []
    reasons = kept(proto)
    assert "QLinearConv stays dense" in reasons["w1_quantized.0"]
    assert "QuantizeLinear and DequantizeLinear nodes (QDQ)" in reasons["w1_quantized.0"]


@pytest.mark.parametrize("op", ["ConvInteger", "MatMulInteger"])
def test_products_of_integers_stay_dense(op):
    g = Builder()
    x = g.conv(g.input(3, 6, 6), 3, 8)
    q, s, z = g.node("DynamicQuantizeLinear", [x], 3)
    if op == "ConvInteger":
        y = g.node(op, [q, integers(g, 5, 8, 1, 1), z])
    else:
        q = g.reshape(g.node("Transpose", [q], perm=[0, 2, 3, 1]), [-1, 8])
        y = g.node(op, [q, integers(g, 8, 5), z])
    proto = g.model(g.node("Mul", [g.node("Cast", [y], to=1), s]))
    assert described(proto) == []
    assert "DynamicQuantizeLinear stays dense" in kept(proto)["w0.0"]
    assert f"{op} stays dense" in kept(proto)["q0.0" if op == "MatMulInteger" else "q0.1"]


def test_weights_packed_by_four_bits_stay_dense():
    g = Builder(21)
    x = g.node("Relu", [g.node("MatMul", [g.input(3, 6), g.normal(6, 32)])])
    packed = g.weight(g.rng.integers(0, 256, (5, 2, 8)).astype(np.uint8), "q")
    y = g.node(
        "MatMulNBits", [x, packed, scale(g, 5, 2)], domain="com.microsoft", K=32, N=5, bits=4,
        block_size=16,
    )  # fmt: skip
    proto = g.model(y)
    assert described(proto) == []
    assert "packed in blocks" in kept(proto)["w0.1"]


def test_integers_that_are_moved_before_they_are_dequantised_are_kept():
    g = Builder()
    q = g.node("Transpose", [integers(g, 8, 6)], perm=[1, 0])
    w = g.node("DequantizeLinear", [q, scale(g, 8), g.weight(np.arange(8, dtype=np.int8))], axis=1)
    x = g.node("Relu", [g.node("MatMul", [g.input(3, 6), w])])
    proto = g.model(g.node("MatMul", [x, g.normal(8, 5)]))
    assert described(proto) == []
    assert "moved before they are dequantised" in kept(proto)["q0.0"]
