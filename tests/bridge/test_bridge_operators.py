"""Every operator family against ONNX Runtime, over the opsets that changed it."""

import numpy as np
import pytest
import torch
from onnx import TensorProto
from oracle import compare, difference, one_op, run_torch, text_model

from spa.bridge import to_torch
from spa.errors import BridgeError

RNG = np.random.default_rng(0)


def f(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def pos(*shape):
    return RNG.uniform(0.1, 2.0, shape).astype(np.float32)


def ints(*values):
    return np.array(values, np.int64)


def check(op, opset, inputs, constants=None, outputs=1, **attrs):
    assert compare(one_op(op, opset, inputs, constants, outputs, **attrs), inputs) <= 1e-5


UNARY = {
    "Relu": (9, 13, 14),
    "LeakyRelu": (9, 16),
    "Elu": (9, 22),
    "Selu": (9, 22),
    "Celu": (12,),
    "Gelu": (20,),
    "Mish": (18, 22),
    "Sigmoid": (9, 13),
    "HardSigmoid": (9, 22),
    "HardSwish": (14, 22),
    "Tanh": (9, 13),
    "Softplus": (9, 22),
    "Softsign": (9, 22),
    "ThresholdedRelu": (10, 22),
    "Shrink": (9,),
    "Erf": (9, 13),
    "Exp": (9, 13),
    "Abs": (9, 13),
    "Neg": (9, 13),
    "Floor": (9, 13),
    "Ceil": (9, 13),
    "Round": (11, 22),
    "Sign": (9, 13),
    "Sin": (9, 22),
    "Cos": (9, 22),
    "Tan": (9, 22),
    "Atan": (9, 22),
    "Sinh": (9, 22),
    "Asinh": (9, 22),
    "IsNaN": (9, 20),
    "IsInf": (10, 20),
    "Identity": (9, 14, 19, 21),
    "Size": (9, 19),
    "Shape": (9, 15, 19, 21),
    "Flatten": (9, 13, 21),
    "Transpose": (9, 21),
    "NonZero": (9, 13),
    "Dropout": (9, 12, 13, 22),
    "GlobalAveragePool": (9, 22),
    "GlobalMaxPool": (9, 22),
    "GlobalLpPool": (9,),
    "Softmax": (9, 11, 13),
    "LogSoftmax": (9, 11, 13),
    "Hardmax": (13,),
    "ArgMax": (9, 11, 12, 13),
    "ArgMin": (9, 11, 12, 13),
    "LpNormalization": (9,),
    "MeanVarianceNormalization": (9, 13),
}


@pytest.mark.parametrize(("op", "opset"), [(op, v) for op, vs in UNARY.items() for v in vs])
def test_unary(op, opset):
    check(op, opset, {"i0": f(2, 3, 4, 5)})


@pytest.mark.parametrize("op", ["Sqrt", "Log", "Reciprocal", "Acosh"])
@pytest.mark.parametrize("opset", [9, 13, 22])
def test_unary_of_positive_values(op, opset):
    check(op, opset, {"i0": pos(2, 3) + np.float32(op == "Acosh")})


@pytest.mark.parametrize(
    ("op", "attrs"),
    [
        ("LeakyRelu", {"alpha": 0.3}),
        ("Elu", {"alpha": 0.3}),
        ("Selu", {"alpha": 1.2, "gamma": 0.7}),
        ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}),
        ("ThresholdedRelu", {"alpha": 0.4}),
        ("Gelu", {"approximate": "tanh"}),
        ("Softmax", {"axis": 1}),
        ("ArgMax", {"axis": 2, "keepdims": 0, "select_last_index": 1}),
        ("Transpose", {"perm": [2, 0, 1]}),
        ("Flatten", {"axis": -1}),
        ("Flatten", {"axis": 0}),
        ("Shape", {"start": 1, "end": -1}),
        ("LpNormalization", {"axis": 1, "p": 1}),
    ],
)
def test_attributes(op, attrs):
    check(op, 20, {"i0": f(2, 3, 4)}, **attrs)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("opset", [9, 11, 13])
def test_softmax_flattens_before_opset_13(opset, axis):
    check("Softmax", opset, {"i0": f(2, 3, 4)}, axis=axis)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Pow"])
@pytest.mark.parametrize("opset", [9, 13, 14])
def test_binary_broadcasts(op, opset):
    check(op, opset, {"i0": pos(2, 3, 4), "i1": pos(3, 1)})


@pytest.mark.parametrize("op", ["Add", "Div", "Mul"])
def test_binary_on_integers(op):
    check(op, 14, {"i0": ints(7, -7, 9), "i1": ints(2, 2, -4)})


@pytest.mark.parametrize("op", ["Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"])
@pytest.mark.parametrize("opset", [12, 13, 19])
def test_comparison(op, opset):
    check(op, opset, {"i0": ints(1, 2, 3).astype(np.float32), "i1": np.float32([2, 2, 2])})


@pytest.mark.parametrize("op", ["And", "Or", "Xor"])
def test_logic(op):
    check(op, 9, {"i0": np.array([True, True, False]), "i1": np.array([True, False, False])})
    check("Not", 9, {"i0": np.array([True, False])})


@pytest.mark.parametrize("op", ["Sum", "Mean", "Min", "Max"])
@pytest.mark.parametrize("opset", [9, 13])
@pytest.mark.parametrize("count", [1, 3])
def test_variadic(op, opset, count):
    check(op, opset, {f"i{k}": f(2, 1 + 2 * (k % 2)) for k in range(count)})


def test_power_keeps_the_base_type():
    check("Pow", 13, {"i0": ints(2, 3), "i1": np.float32([2, 2])})


def test_modulo():
    check("Mod", 13, {"i0": ints(-7, 7, 5), "i1": ints(3, -3, 3)})
    check("Mod", 13, {"i0": f(4), "i1": pos(4)}, fmod=1)


@pytest.mark.parametrize(("exclusive", "reverse"), [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_cumulative_sum(exclusive, reverse):
    check("CumSum", 14, {"i0": f(3, 4)}, {"i1": np.int64(1)}, exclusive=exclusive, reverse=reverse)


def test_where_and_prelu():
    check("Where", 16, {"i0": f(3, 4) > 0, "i1": f(3, 4), "i2": f(4)})
    for slope in (f(5), f(5, 1, 1), f(1, 1, 6), f(1)):
        check("PRelu", 16, {"i0": f(2, 5, 6, 5 if slope.shape == (5,) else 6)}, {"i1": slope})


@pytest.mark.parametrize("opset", [9, 11, 12, 13])
def test_clip(opset):
    x = f(3, 4)
    if opset < 11:
        check("Clip", opset, {"i0": x}, min=-0.3, max=0.4)
        check("Clip", opset, {"i0": x}, max=0.4)
    else:
        check("Clip", opset, {"i0": x}, {"i1": np.float32(-0.3), "i2": np.float32(0.4)})
        check("Clip", opset, {"i0": x}, {"i2": np.float32(0.4)})
        check("Clip", opset, {"i0": x})


CONVS = [
    {},
    {"pads": [1, 1, 1, 1], "strides": [2, 2]},
    {"pads": [0, 1, 2, 1], "dilations": [2, 1]},
    {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
    {"auto_pad": "SAME_LOWER", "strides": [2, 3]},
    {"auto_pad": "VALID"},
]


@pytest.mark.parametrize("attrs", CONVS, ids=str)
@pytest.mark.parametrize("opset", [9, 11, 22])
@pytest.mark.parametrize("group", [1, 2])
def test_conv(attrs, opset, group):
    weights = {"i1": f(6, 4 // group, 3, 2), "i2": f(6)}
    check("Conv", opset, {"i0": f(2, 4, 9, 8)}, weights, group=group, **attrs)


@pytest.mark.parametrize("rank", [1, 3])
def test_conv_in_other_dimensions(rank):
    check(
        "Conv", 11, {"i0": f(2, 4, *[6] * rank)}, {"i1": f(3, 4, *[3] * rank)}, pads=[1, 0] * rank
    )


@pytest.mark.parametrize(
    "attrs",
    [
        {},
        {"strides": [2, 3], "pads": [1, 0, 0, 2], "output_padding": [1, 2]},
        {"strides": [2, 2], "output_shape": [13, 11]},
        {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
        {"strides": [3, 2], "auto_pad": "SAME_LOWER"},
        {"dilations": [2, 1], "pads": [1, 1, 1, 1]},
    ],
    ids=str,
)
@pytest.mark.parametrize("group", [1, 2])
def test_conv_transpose(attrs, group):
    weights = {"i1": f(4, 6 // group, 3, 2), "i2": f(6)}
    check("ConvTranspose", 11, {"i0": f(2, 4, 6, 5)}, weights, group=group, **attrs)


@pytest.mark.parametrize("trans", [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("opset", [9, 11, 13])
def test_gemm(trans, opset):
    a, b = f(*((3, 2) if trans[0] else (2, 3))), f(*((4, 3) if trans[1] else (3, 4)))
    check("Gemm", opset, {"i0": a}, {"i1": b, "i2": f(4)}, transA=trans[0], transB=trans[1])
    check(
        "Gemm",
        opset,
        {"i0": a},
        {"i1": b, "i2": f(2, 1)},
        transA=trans[0],
        transB=trans[1],
        alpha=0.5,
        beta=2.0,
    )


def test_matrix_products():
    check("MatMul", 13, {"i0": f(2, 1, 3, 4)}, {"i1": f(5, 4, 2)})
    check("MatMul", 9, {"i0": f(4)}, {"i1": f(4, 2)})
    check("Einsum", 12, {"i0": f(2, 3, 4)}, {"i1": f(5, 4)}, equation="b i j, k j -> b k i")


@pytest.mark.parametrize("opset", [9, 14, 15])
@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_batch_norm(opset, rank):
    terms = {"i1": f(3), "i2": f(3), "i3": f(3), "i4": pos(3)}
    check("BatchNormalization", opset, {"i0": f(4, 3, *[5] * rank)}, terms, epsilon=1e-3)


def test_other_norms():
    x = f(2, 6, 4, 5)
    check("InstanceNormalization", 9, {"i0": x}, {"i1": f(6), "i2": f(6)})
    check("InstanceNormalization", 22, {"i0": x}, {"i1": f(6), "i2": f(6)})
    check("GroupNormalization", 21, {"i0": x}, {"i1": f(6), "i2": f(6)}, num_groups=3)
    check("GroupNormalization", 18, {"i0": x}, {"i1": f(3), "i2": f(3)}, num_groups=3)
    check("LRN", 13, {"i0": x}, size=3, alpha=0.9, beta=0.5, bias=1.5)


def test_lrn_of_even_size():
    # ONNX Runtime takes odd sizes only, so the definition itself is written out here.
    x = f(2, 6, 4, 5)
    near = [x[:, max(0, c - 1) : c + 3] for c in range(6)]  # 4 channels: c - 1 to c + 2
    squares = np.stack([(part**2).sum(1) for part in near], 1)
    expected = x / (1.5 + 0.9 / 4 * squares) ** 0.5
    model = one_op("LRN", 13, {"i0": x}, size=4, alpha=0.9, beta=0.5, bias=1.5)
    assert difference(run_torch(to_torch(model), {"i0": x}), [expected]) <= 1e-5


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("outputs", [1, 3])
def test_layer_norm(axis, outputs):
    shape = (2, 3, 4)[axis:]
    terms = {"i1": f(*shape), "i2": f(*shape)}
    check("LayerNormalization", 17, {"i0": f(2, 3, 4)}, terms, outputs, axis=axis)


def test_layer_norm_scale_broadcasts():
    terms = {"i1": f(4), "i2": f(3, 1)}
    check("LayerNormalization", 17, {"i0": f(2, 3, 4)}, terms, axis=1)


POOLS = [
    {"kernel_shape": [3, 2]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
    {"kernel_shape": [2, 2], "strides": [3, 3], "pads": [1, 1, 1, 1], "ceil_mode": 1},
    {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
    {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_LOWER"},
]


@pytest.mark.parametrize("attrs", POOLS, ids=str)
@pytest.mark.parametrize("opset", [10, 12, 22])
def test_max_pool(attrs, opset):
    check("MaxPool", opset, {"i0": f(2, 3, 8, 9)}, **attrs)


@pytest.mark.parametrize("attrs", POOLS, ids=str)
@pytest.mark.parametrize("include", [0, 1])
@pytest.mark.parametrize("opset", [10, 19, 22])
def test_average_pool(attrs, include, opset):
    check("AveragePool", opset, {"i0": f(2, 3, 8, 9)}, count_include_pad=include, **attrs)


def test_pools_with_dilation_and_in_other_dimensions():
    check("MaxPool", 12, {"i0": f(2, 3, 9, 9)}, kernel_shape=[3, 3], dilations=[2, 3])
    check("AveragePool", 19, {"i0": f(2, 3, 9, 9)}, kernel_shape=[3, 3], dilations=[2, 3])
    check("MaxPool", 12, {"i0": f(2, 3, 9)}, kernel_shape=[3])
    check("AveragePool", 11, {"i0": f(2, 3, 5, 5, 5)}, kernel_shape=[2, 2, 2])
    check("LpPool", 11, {"i0": f(2, 3, 9, 8)}, kernel_shape=[3, 2], p=3, pads=[1, 0, 0, 1])


REDUCTIONS = ["Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSum", "LogSumExp"]


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("opset", [9, 11, 13, 18])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_reduction(name, opset, keepdims):
    as_input = opset >= 18 or (opset >= 13 and name == "Sum")
    constants = {"i1": ints(1, 3)} if as_input else {}
    attrs = {} if as_input else {"axes": [1, 3]}
    check(f"Reduce{name}", opset, {"i0": pos(2, 3, 4, 5)}, constants, keepdims=keepdims, **attrs)
    check(f"Reduce{name}", opset, {"i0": pos(2, 3)}, keepdims=keepdims)


def test_reduction_over_no_axis():
    check("ReduceSum", 13, {"i0": f(2, 3)}, {"i1": ints()}, noop_with_empty_axes=1)
    check("ReduceMean", 18, {"i0": f(2, 3)}, {"i1": ints()})


@pytest.mark.parametrize("opset", [10, 11, 24])
def test_top_k(opset):
    x = np.float32([[3, 1, 3, 2], [0, 0, 5, 0]])
    check("TopK", opset, {"i0": x}, {"i1": ints(3)}, 2, axis=1)


RESIZE_MODES = [
    ("nearest", "asymmetric", {"nearest_mode": "floor"}),
    ("nearest", "half_pixel", {"nearest_mode": "round_prefer_ceil"}),
    ("nearest", "align_corners", {}),
    ("nearest", "half_pixel", {"nearest_mode": "ceil"}),
    ("linear", "half_pixel", {}),
    ("linear", "pytorch_half_pixel", {}),
    ("linear", "align_corners", {}),
    ("linear", "asymmetric", {}),
    ("linear", "half_pixel_symmetric", {}),
    ("cubic", "half_pixel", {}),
    ("cubic", "half_pixel", {"cubic_coeff_a": -0.5, "exclude_outside": 1}),
    ("cubic", "align_corners", {}),
    ("linear", "half_pixel", {"antialias": 1}),
    ("cubic", "half_pixel", {"antialias": 1, "exclude_outside": 1}),
]


@pytest.mark.parametrize(("mode", "place", "attrs"), RESIZE_MODES, ids=str)
@pytest.mark.parametrize("scale", [(2.0, 2.0), (0.6, 1.7), (0.5, 0.4)])
def test_resize(mode, place, attrs, scale):
    x, attrs = f(1, 2, 7, 9), {**attrs, "mode": mode, "coordinate_transformation_mode": place}
    check("Resize", 19, {"i0": x}, {"i2": np.float32([1, 1, *scale])}, **attrs)
    sizes = ints(1, 2, int(7 * scale[0]), int(9 * scale[1]))
    check("Resize", 19, {"i0": x}, {"i3": sizes}, **attrs)


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_resize_with_empty_scales(opset):
    x = f(1, 2, 4, 5)
    constants = {"i1": np.float32([]), "i2": np.float32([]), "i3": ints(1, 2, 8, 7)}
    check("Resize", opset, {"i0": x}, constants, mode="linear")


def test_resize_crops():
    check(
        "Resize",
        13,
        {"i0": f(1, 1, 6, 6)},
        {"i1": np.float32([0, 0, 0.2, -0.3, 1, 1, 0.9, 1.2]), "i3": ints(1, 1, 4, 5)},
        mode="linear",
        coordinate_transformation_mode="tf_crop_and_resize",
        extrapolation_value=9.0,
    )


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
def test_resize_keeps_aspect_ratio(policy):
    x = f(1, 2, 7, 9)
    attrs = {"mode": "linear", "axes": [2, 3], "keep_aspect_ratio_policy": policy}
    check("Resize", 19, {"i0": x}, {"i3": ints(5, 12)}, **attrs)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_upsample(mode):
    x, scales = f(1, 2, 3, 4), [1.0, 1.0, 2.0, 3.0]
    check("Upsample", 9, {"i0": x}, {"i1": np.float32(scales)}, mode=mode)
    check("Upsample", 7, {"i0": x}, mode=mode, scales=scales)
    check("Resize", 10, {"i0": x}, {"i1": np.float32(scales)}, mode=mode)


@pytest.mark.parametrize(
    ("mode", "opset"),
    [(mode, v) for mode in ("constant", "reflect", "edge") for v in (9, 11, 13, 18, 19, 21)]
    + [("wrap", 19), ("wrap", 21)],
)
def test_pad(mode, opset):
    x, pads = f(2, 3, 4, 5), [0, 0, 1, 2, 0, 1, 3, 0]
    if opset < 11:
        check("Pad", opset, {"i0": x}, mode=mode, pads=pads, value=0.5)
    else:
        value = {"i2": np.float32(0.5)} if mode == "constant" else {}
        check("Pad", opset, {"i0": x}, {"i1": ints(*pads), **value}, mode=mode)
    if opset >= 18:
        check("Pad", opset, {"i0": x}, {"i1": ints(1, 1, 0, 2), "i3": ints(2, -1)}, mode=mode)


def test_pad_cuts():
    check("Pad", 13, {"i0": f(4, 5)}, {"i1": ints(-1, 2, 0, -2)})
    check("Pad", 13, {"i0": f(4, 5)}, {"i1": ints(-1, 2, 0, -2)}, mode="edge")


@pytest.mark.parametrize("opset", [9, 11, 13])
def test_concat(opset):
    check("Concat", opset, {"i0": f(2, 3), "i1": f(2, 1)}, axis=-1 if opset > 9 else 1)


def test_split():
    check("Split", 9, {"i0": f(6, 2)}, outputs=3)
    check("Split", 11, {"i0": f(2, 7)}, outputs=2, axis=1, split=[3, 4])
    check("Split", 13, {"i0": f(2, 7)}, {"i1": ints(3, 4)}, outputs=2, axis=1)
    check("Split", 18, {"i0": f(7, 2)}, outputs=3, num_outputs=3)


def test_slice():
    x = f(6, 7, 8)
    check("Slice", 9, {"i0": x}, starts=[1, -3], ends=[100, -1], axes=[0, 2])
    for starts, ends, steps in [
        ([1, -2], [5, 100], [2, 1]),
        ([-1, 5], [-100, 1], [-1, -2]),
        ([0, 3], [2**62, 3], [3, 1]),
        ([100, 6], [-(2**62), -7], [-2, -1]),
    ]:
        constants = {"i1": ints(*starts), "i2": ints(*ends), "i3": ints(0, -1), "i4": ints(*steps)}
        check("Slice", 13, {"i0": x}, constants)
    check("Slice", 11, {"i0": x}, {"i1": ints(2), "i2": ints(4)})


def test_gather_family():
    x = f(3, 4, 5)
    check("Gather", 13, {"i0": x}, {"i1": ints(0, -1)}, axis=1)
    check("Gather", 9, {"i0": x}, {"i1": np.array([[0, 2], [1, 1]])}, axis=2)
    check("Gather", 13, {"i0": x}, {"i1": np.int64(1)}, axis=-1)
    check("Gather", 13, {"i0": ints(4, 5, 6)}, {"i1": np.int64(-1)})
    check("GatherElements", 13, {"i0": f(3, 3)}, {"i1": np.array([[1, 2, -1], [2, 0, 0]])}, axis=0)
    check("GatherND", 13, {"i0": x}, {"i1": np.array([[0, 1], [2, -1]])})
    check("GatherND", 13, {"i0": x}, {"i1": np.array([[1], [2], [0]])}, batch_dims=1)
    check(
        "ScatterElements", 16, {"i0": f(3, 3)}, {"i1": np.array([[1, 2, 0]]), "i2": f(1, 3)}, axis=0
    )
    check("ScatterND", 16, {"i0": x}, {"i1": np.array([[0, 1], [2, -1]]), "i2": f(2, 5)})
    check("Trilu", 14, {"i0": f(4, 4)}, {"i1": np.int64(1)}, upper=0)
    check("OneHot", 11, {"i0": ints(1, -1, 7)}, {"i1": np.int64(4), "i2": np.float32([0, 3])})
    check("Compress", 11, {"i0": x}, {"i1": np.array([True, False, True])}, axis=0)


def test_reshape():
    x = f(2, 3, 4)
    check("Reshape", 9, {"i0": x}, {"i1": ints(0, -1)})
    check("Reshape", 14, {"i0": x}, {"i1": ints(4, 0, 2)})
    check("Reshape", 21, {"i0": f(0, 3)}, {"i1": ints(3, 0)}, allowzero=1)


@pytest.mark.parametrize("opset", [11, 13, 21])
def test_squeeze_and_unsqueeze(opset):
    axes = {"i1": ints(-1, 1)} if opset >= 13 else {}
    attrs = {} if opset >= 13 else {"axes": [-1, 1]}
    check("Unsqueeze", opset, {"i0": f(2, 3)}, axes, **attrs)
    check("Squeeze", opset, {"i0": f(2, 1, 3, 1)}, axes, **attrs)
    check("Squeeze", opset, {"i0": f(2, 1, 3, 1)})


def test_shapes_as_values():
    check("Expand", 13, {"i0": f(3, 1)}, {"i1": ints(2, 1, 6)})
    check("Tile", 13, {"i0": f(2, 3)}, {"i1": ints(2, 2)})
    check("ConstantOfShape", 9, {"i0": ints(2, 3)})
    check("Range", 11, {"i0": np.int64(1), "i1": np.int64(9), "i2": np.int64(3)})
    check("Range", 11, {"i0": np.float32(1), "i1": np.float32(-1), "i2": np.float32(-0.5)})
    check("EyeLike", 9, {"i0": f(3, 4)}, k=1)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_and_space(mode):
    check("DepthToSpace", 11, {"i0": f(2, 12, 3, 4)}, blocksize=2, mode=mode)
    check("SpaceToDepth", 13, {"i0": f(2, 3, 4, 6)}, blocksize=2)


@pytest.mark.parametrize("opset", [9, 13, 19, 21])
@pytest.mark.parametrize("to", [TensorProto.INT64, TensorProto.BOOL, TensorProto.DOUBLE])
def test_cast(opset, to):
    check("Cast", opset, {"i0": np.float32([-1.7, 0, 2.6])}, to=to)


def test_cast_like():
    model = one_op("CastLike", 15, {"i0": f(3), "i1": ints(1)})
    assert run_torch(to_torch(model), {"i0": f(3), "i1": ints(1)})[0].dtype == np.int64


def test_dropout_drops_in_train_mode_only():
    net = to_torch(one_op("Dropout", 13, {"i0": f(1)}, {"i1": np.float32(0.25)}))
    x = torch.ones(10000)
    assert torch.equal(net(x), x)
    y = net.train()(x)
    assert y.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert float((y == 0).float().mean()) == pytest.approx(0.25, abs=0.03)


def test_unknown_operator_is_refused_with_a_way_out():
    with pytest.raises(BridgeError, match=r'Unique at opset 14 \(node "node".*spa/bridge/ops'):
        to_torch(one_op("Unique", 14, {"i0": f(3)}))


def test_refused_attributes_are_named():
    attrs = {"kernel_shape": [2, 2], "storage_order": 1}
    model = one_op("MaxPool", 12, {"i0": f(1, 1, 4, 4)}, outputs=2, **attrs)
    with pytest.raises(BridgeError, match="columns first"):
        to_torch(model)


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("length", [None, 3, 9])
@pytest.mark.parametrize("inverse", [0, 1])
@pytest.mark.parametrize(("opset", "axis"), [(17, 1), (17, 2), (20, 1), (20, -2), (20, None)])
def test_dft(opset, axis, inverse, length, parts):
    attrs = {"inverse": inverse} | ({"axis": axis} if opset < 20 else {})
    constants = {} if length is None else {"i1": np.array(length)}
    if opset >= 20 and axis is not None:
        constants["i2"] = np.array(axis)
    check("DFT", opset, {"i0": f(2, 5, 6, parts)}, constants, **attrs)


@pytest.mark.parametrize("opset", [17, 20])
def test_one_sided_dft(opset):
    check("DFT", opset, {"i0": f(2, 5, 1)}, onesided=1)


def test_statistics_that_nothing_reads_are_no_outputs():
    """torch writes them for a norm that always takes the batch's (weights made of mean zero)."""
    proto = text_model("""
        <ir_version: 8, opset_import: ["" : 15]>
        agraph (float[3, 2, 5] x, float[2] s, float[2] b, float[2] m, float[2] v)
        => (float[3, 2, 5] y)
        { y, mean, var = BatchNormalization <training_mode = 1> (x, s, b, m, v) }
    """)  # fmt: skip
    x = {"x": f(3, 2, 5), "s": f(2), "b": f(2), "m": f(2), "v": pos(2)}
    assert compare(proto, x) <= 1e-5


# --- detection ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("opset", "attrs"),
    [
        (10, {}),
        (16, {}),
        (16, {"coordinate_transformation_mode": "output_half_pixel"}),
        (16, {"sampling_ratio": 3, "spatial_scale": 0.5}),
    ],
)
def test_regions(opset, attrs):
    corners = np.sort(np.random.default_rng(0).uniform(0, 9, (5, 2, 2)), axis=1)
    regions = corners.reshape(5, 4).astype(np.float32)
    inputs = {"i0": f(2, 3, 8, 9), "i1": regions, "i2": np.array([0, 1, 1, 0, 1])}
    check("RoiAlign", opset, inputs, output_height=3, output_width=2, **attrs)


def test_the_largest_of_a_region_is_refused():
    inputs = {"i0": f(1, 1, 4, 4), "i1": f(1, 4), "i2": np.array([0])}
    with pytest.raises(BridgeError, match="mode max is not known"):
        to_torch(one_op("RoiAlign", 16, inputs, mode="max"))


@pytest.mark.parametrize("centred", [0, 1])
@pytest.mark.parametrize("least", [None, 0.3])
def test_suppressed_boxes(centred, least):
    rng = np.random.default_rng(0)
    boxes = rng.uniform(0, 1, (2, 30, 4)).astype(np.float32)
    scores = rng.permutation(180).reshape(2, 3, 30).astype(np.float32) / 180
    limits = {"i2": np.array(7), "i3": np.array(0.3, np.float32)}
    if least is not None:
        limits["i4"] = np.array(least, np.float32)
    check("NonMaxSuppression", 11, {"i0": boxes, "i1": scores}, limits, center_point_box=centred)
