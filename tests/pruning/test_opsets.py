"""The same networks at every opset and IR version, as each writes its operators; pruned and proven.

Attributes became inputs, defaults changed, operators came and went; see the Builder, and the forms
that are spelled out below.
"""

import copy

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import spa
from tests.coupling.cases import described, prove
from tests.graphs import Builder, classifier

NEWEST = onnx.defs.onnx_opset_version()
OPSETS = range(9, NEWEST + 1)


def dropout(g: Builder, x: str) -> str:
    """Ratio as attribute, then as input with a flag."""
    if g.opset < 12:
        return g.node("Dropout", [x], ratio=0.3)
    ratio = g.weight(np.float32(0.3), "ratio", "initializer")
    off = g.weight(np.array(False), "off", "initializer")
    return g.node("Dropout", [x, ratio, off])


def pools(g: Builder, x: str) -> str:
    later = {"ceil_mode": 1} if g.opset >= 10 else {}
    x = g.node("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2], **later)
    newest = {**later, "dilations": [1, 1]} if g.opset >= 19 else later
    x = g.node("AveragePool", [x], kernel_shape=[2, 2], count_include_pad=1, pads=[1] * 4, **newest)
    latest = later if g.opset >= 18 else {}
    return g.node("LpPool", [x], kernel_shape=[2, 2], p=2, **latest)


def image_net(opset: int) -> onnx.ModelProto:
    """Convolutions, batch norm, a residual, gates, pools, dropout, a linear head."""
    g = Builder(opset)
    x = g.node("Relu", [g.batch_norm(g.conv(g.input(3, 8, 8), 3, 8, bias=False), 8)])
    y = g.batch_norm(g.conv(g.clip(g.conv(x, 8, 12), -1.0, 1.0), 12, 8, bias=False), 8)
    x = g.node("Add", [x, y])
    mean = g.reduce("ReduceMean", x, [2, 3])
    gate = g.node("Sigmoid", [g.conv(g.node("Relu", [g.conv(mean, 8, 4, 1)]), 4, 8, 1)])
    x = dropout(g, pools(g, g.node("Mul", [x, gate])))
    x = g.node("Flatten", [g.node("GlobalAveragePool", [x])])
    return g.model(g.node("Softmax", [g.gemm(x, 8, 5, bias=False)], axis=1), dims=[["N", 5]])


def moving_net(opset: int) -> onnx.ModelProto:
    """Split, Slice, Squeeze, Unsqueeze, Pad, Concat, Tile, Expand, Resize and sums of channels."""
    g = Builder(opset)
    x = g.node("Elu", [g.conv(g.input(3, 6, 6), 3, 12)])
    a, b = g.split(x, [8, 4])
    if opset >= 18:
        c, d = g.node("Split", [a], 2, axis=1, num_outputs=2)
    else:
        c, d = g.split(a, [4, 4])
    x = g.node("Concat", [g.node("Mul", [c, d]), b], axis=1)  # 8
    x = g.pad(x, [0, 1, 0, 0, 0, 1, 0, 0])  # 10
    x = g.slice(x, 1, 9)  # 8
    x = g.resize(g.conv(x, 8, 6))
    x = g.squeeze(g.unsqueeze(x, [2]), [2])
    x = g.node("Tile", [x, g.ints([1, 2, 1, 1])])  # 12
    bias = g.node("Expand", [g.normal(12, 1, 1), g.ints([12, 12, 12])])
    x = g.node("PRelu", [g.node("Add", [x, bias]), g.normal(12, 1, 1)])
    x = g.node("MaxPool", [g.conv(x, 12, 5)], kernel_shape=[3, 3])
    x = g.node("Where", [g.node("Greater", [x, g.weight(np.float32(0), "zero")]), x, x])
    return g.model(g.reduce("ReduceSum", x, [2, 3], keepdims=0), dims=[["N", 5]])


def norm(g: Builder, x: str, width: int) -> str:
    scale, shift = g.normal(width, stem="scale"), g.normal(width, stem="shift")
    if g.opset >= 17:
        return g.node("LayerNormalization", [x, scale, shift])
    centred = g.node("Sub", [x, g.reduce("ReduceMean", x, [-1])])
    two = g.weight(np.float32(2), "two", "initializer")
    variance = g.reduce("ReduceMean", g.node("Pow", [centred, two]), [-1])
    small = g.weight(np.float32(1e-5), "small", "initializer")
    deviation = g.node("Sqrt", [g.node("Add", [variance, small])])
    x = g.node("Mul", [g.node("Div", [centred, deviation]), scale])
    return g.node("Add", [x, shift])


def gelu(g: Builder, x: str) -> str:
    if g.opset >= 20:
        return g.node("Gelu", [x])
    root, one, half = (g.weight(np.float32(v), "number", "initializer") for v in (2**0.5, 1.0, 0.5))
    y = g.node("Add", [g.node("Erf", [g.node("Div", [x, root])]), one])
    return g.node("Mul", [g.node("Mul", [x, y]), half])


def transformer(opset: int, width: int = 12, heads: int = 3, hidden: int = 16) -> onnx.ModelProto:
    """One block with packed q, k and v; its stream is an output, so heads and hidden units go."""
    g = Builder(opset)
    size = width // heads
    x = g.input(7, width)
    h = g.node("Add", [g.node("MatMul", [norm(g, x, width), g.normal(width, 3 * width)]),
                       g.normal(3 * width, stem="b")])  # fmt: skip
    q, k, v = (
        g.node("Transpose", [g.reshape(part, [0, 0, heads, size])], perm=perm)
        for part, perm in zip(
            g.split(h, [width] * 3, axis=2), ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]), strict=True
        )
    )
    scores = g.node("Mul", [g.node("MatMul", [q, k]), g.weight(np.float32(size**-0.5), "scale")])
    h = g.node("MatMul", [g.node("Softmax", [scores], axis=3), v])
    h = g.reshape(g.node("Transpose", [h], perm=[0, 2, 1, 3]), [0, 0, width])
    x = g.node("Add", [x, g.node("MatMul", [h, g.normal(width, width)])])
    h = gelu(g, g.node("MatMul", [norm(g, x, width), g.normal(width, hidden)]))
    x = g.node("Add", [x, g.node("MatMul", [h, g.normal(hidden, width)])])
    return g.model(x, dims=[["N", 7, width]])


NETS = {"image": image_net, "moving": moving_net, "transformer": transformer}


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("opset", OPSETS)
def test_every_opset(net, opset):
    """The groups are those of opset 13, whatever the spelling, and the cut is proven."""
    proto = NETS[net](opset)
    assert proto.opset_import[0].version == opset
    found, expected = [
        [line.split(":")[0] for line in described(p)] for p in (proto, NETS[net](13))
    ]
    assert found == expected
    assert found
    pruned = prove(proto, seeds=(0,))
    assert pruned.opset_import == proto.opset_import
    assert pruned.ir_version == proto.ir_version


def at_ir(proto: onnx.ModelProto, version: int) -> onnx.ModelProto:
    """The same model in another IR version; before 4, initializers are inputs too."""
    result = copy.deepcopy(proto)
    result.ir_version = version
    if version < 4:
        result.graph.input.extend(
            helper.make_tensor_value_info(t.name, t.data_type, t.dims)
            for t in result.graph.initializer
        )
    return result


@pytest.mark.parametrize("net", ["image", "moving", "transformer"])
@pytest.mark.parametrize("version", range(3, onnx.IR_VERSION + 1))
def test_every_ir_version(net, version):
    """What surgery adds is written as the version wants it."""
    plain = NETS[net](13)
    proto = at_ir(plain, version)
    onnx.checker.check_model(proto)
    assert described(proto) == described(plain)
    pruned = prove(proto, seeds=(0,))
    assert pruned.ir_version == version
    inputs = {value.name for value in pruned.graph.input}
    weights = {tensor.name for tensor in pruned.graph.initializer}
    assert (weights <= inputs) == (version < 4)
    assert inputs - weights == {"x"}


@pytest.mark.parametrize("opset", [7, 8])
def test_opsets_before_nine(opset):
    """They work too, where ONNX Runtime runs them."""
    prove(classifier(opset=opset))


# --- newer than ONNX Runtime ---------------------------------------------------------------------


def test_an_operator_that_is_newer_than_the_runtime():
    """One clear error; an opset whose other operators changed is fine (test_every_opset)."""
    g = Builder(NEWEST)
    x = g.node("Relu", [g.conv(g.input(3, 4, 4), 3, 8)])
    proto = g.model(g.node("SpaceToDepth", [g.conv(x, 8, 4)], blocksize=2))
    if onnx.defs.get_schema("SpaceToDepth", NEWEST).since_version == NEWEST:
        with pytest.raises(spa.ModelError, match=f"[Oo]pset {NEWEST}"):
            spa.load(proto)
    proto.opset_import[0].version = NEWEST - 1
    prove(proto)


def test_versions_of_the_future():
    proto = classifier()
    proto.ir_version = onnx.IR_VERSION + 1
    with pytest.raises(spa.ModelError, match="ir_version"):
        spa.load(proto)
    proto = classifier()
    proto.opset_import[0].version = NEWEST + 1
    with pytest.raises(spa.ModelError, match=f"[Oo]pset {NEWEST + 1}"):
        spa.load(proto)


# --- operators whose meaning changed -------------------------------------------------------------


@pytest.mark.parametrize("opset", [9, 11, 12, 13, 17])
@pytest.mark.parametrize("axis", [None, 1, 2, 3, -1])
def test_softmax_took_all_axes_from_its_own_on(opset, axis):
    """(N, C, H, W): before 13 axis 1, the default, mixes channels and image; later 1 mixes
    channels, and the default is the last axis alone. Where channels mix it is not exact.
    """
    g = Builder(opset)
    x = g.conv(g.input(3, 4, 4), 3, 8)
    x = g.node("Softmax", [x], axis=axis)
    proto = g.model(g.conv(x, 8, 5))
    mixes = axis == 1 or (axis is None and opset < 13)
    (group,) = spa.find_groups(spa.load(proto)).groups
    assert (group.channels, group.exact) == (8, not mixes)
    prove(proto, equal=not mixes)


@pytest.mark.parametrize("outputs", [1, 5, "left out"])
@pytest.mark.parametrize("opset", [9, 13])
def test_batch_norm_with_the_outputs_that_it_had(opset, outputs):
    """Before opset 14, running statistics for training, which no reader and no value ever had."""
    g = Builder(opset)
    x = g.conv(g.input(3, 4, 4), 3, 8, bias=False)
    vectors = [g.normal(8, stem=stem) for stem in ("scale", "shift", "mean")]
    vectors.append(g.weight(np.abs(g.rng.standard_normal(8)).astype(np.float32) + 0.5, "var"))
    names = {1: ["y"], 5: ["y", "m", "v", "sm", "sv"], "left out": ["y", "", "", "", ""]}[outputs]
    x = g.node("BatchNormalization", [x, *vectors], names, momentum=0.7, epsilon=1e-3)[0]
    proto = g.model(g.conv(x, 8, 5))
    assert described(proto) == ["8: mean0.0 scale0.0 shift0.0 var0.0 w0.0 w1.1"]
    prove(proto)


@pytest.mark.parametrize("opset", [9, 10, 12, 13, 22])
def test_the_mask_of_dropout(opset):
    """A second output, that goes with the first; it is all true, as nothing is dropped."""
    g = Builder(opset)
    x = g.conv(g.input(3, 4, 4), 3, 8)
    x, mask = g.node("Dropout", [x], 2)
    x = g.node("Mul", [x, g.node("Cast", [mask], to=TensorProto.FLOAT)])
    proto = g.model(g.conv(x, 8, 5))
    assert described(proto) == ["8: b0.0 w0.0 w1.1"]
    prove(proto, plain=False)


@pytest.mark.parametrize("opset", [9, 10, 11, 24])
def test_top_k_in_every_form(opset):
    """k as attribute, then as input; over the pixels of every channel, so that channels may go."""
    g = Builder(opset)
    x = g.reshape(g.conv(g.input(3, 4, 4), 3, 8), [0, 8, 16])
    if opset < 10:
        best, where = g.node("TopK", [x], 2, k=4, axis=2)
    else:
        best, where = g.node("TopK", [x, g.ints([4])], 2, axis=2)
    x = g.reshape(best, [0, 8, 2, 2])
    proto = g.model(g.conv(x, 8, 5))
    assert described(proto) == ["8: b0.0 w0.0 w1.1"]
    prove(proto)


@pytest.mark.parametrize("opset", [14, 19, 21, 25])
@pytest.mark.parametrize("allow", [0, 1])
def test_reshape_with_allowzero(opset, allow):
    g = Builder(opset)
    x = g.conv(g.input(3, 4, 4), 3, 8)
    target = [-1, 8, 16] if allow else [0, 8, -1]
    x = g.node("Reshape", [x, g.ints(target)], allowzero=allow)
    x = g.node("Flatten", [g.reduce("ReduceMax", x, [2])])
    proto = g.model(g.gemm(x, 8, 5))
    assert described(proto) == ["8: b0.0 w0.0 w1.1"]
    prove(proto)


@pytest.mark.parametrize(
    ("opset", "how"),
    [*((o, "scales") for o in (9, 10, 11, 13, 18, 19)), *((o, "sizes") for o in (11, 13, 18, 19)),
     (18, "axes"), (19, "axes"), (25, "axes")],
)  # fmt: skip
def test_resize_in_every_form(opset, how):
    """Scales; sizes, which name the channels; either for some axes alone."""
    g = Builder(opset, batch=2)
    x = g.conv(g.input(3, 4, 4), 3, 8)
    if how == "scales":
        x = g.resize(x, 3)
    elif how == "sizes":
        x = g.resize(x, sizes=[2, 8, 7, 9])
    else:
        x = g.node("Resize", [x, "", "", g.ints([7, 9])], axes=[2, 3], mode="nearest")
    proto = g.model(g.conv(x, 8, 5))
    assert described(proto) == ["8: b0.0 w0.0 w1.1"]
    prove(proto)


@pytest.mark.parametrize("opset", [9, 13, 19, 21, 27])
def test_cast_and_back(opset):
    """Through half precision and integers; the pixels only."""
    g = Builder(opset)
    x = g.conv(g.input(3, 4, 4), 3, 8)
    for kind in (TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.FLOAT):
        x = g.node("Cast", [x], to=kind)
    proto = g.model(g.conv(x, 8, 5))
    assert described(proto) == ["8: b0.0 w0.0 w1.1"]
    prove(proto, plain=False)
