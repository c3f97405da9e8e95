"""Rows of a layer's input, against loops and against what ONNX Runtime computes."""

import itertools

import numpy as np
import pytest

import spa
from spa.coupling.couple import couple
from spa.graph.execute import run
from spa.observe.gram import sums_of
from spa.observe.layers import find_layers
from spa.observe.rows import all_rows, chosen, input_rows, positions
from tests.graphs import Builder


def single(op, x_shape, w_shape, weight=1, storage="initializer", **attrs):
    """A model of one linear node; the weight is input ``weight``."""
    g = Builder(batch=x_shape[0], seed=1, storage=storage)
    x = g.input(*x_shape[1:])
    w = g.normal(*w_shape)
    inputs = [x, w] if weight == 1 else [w, x]
    return g.model(g.node(op, inputs, **attrs))


def one_layer(proto):
    model = spa.load(proto)
    (layer,) = find_layers(couple(model)).values()
    x = np.array(next(iter(model.example.values())))
    weight = np.array(model.array(layer.parameter))
    return model, layer, x, weight.T if layer.transposed else weight


def patches_by_loops(x, kernel, strides, pads, dilations, groups):
    """x (N, C, H, W) -> (groups, N * out_h * out_w, C/g * kh * kw), one entry at a time."""
    n, c, h, w = x.shape
    (kh, kw), (sh, sw), (dh, dw) = kernel, strides, dilations
    top, left, bottom, right = pads
    out_h = (h + top + bottom - (kh - 1) * dh - 1) // sh + 1
    out_w = (w + left + right - (kw - 1) * dw - 1) // sw + 1
    per = c // groups
    rows = np.zeros((groups, n * out_h * out_w, per * kh * kw), np.float32)
    for b, i, j, channel, u, v in itertools.product(
        range(n), range(out_h), range(out_w), range(c), range(kh), range(kw)
    ):
        y, z = i * sh + u * dh - top, j * sw + v * dw - left
        if 0 <= y < h and 0 <= z < w:
            row, column = (b * out_h + i) * out_w + j, ((channel % per) * kh + u) * kw + v
            rows[channel // per, row, column] = x[b, channel, y, z]
    return rows


@pytest.mark.parametrize(
    ("groups", "strides", "pads", "dilations"),
    [
        (1, (1, 1), (0, 0, 0, 0), (1, 1)),
        (1, (2, 1), (1, 1, 1, 1), (1, 1)),
        (1, (1, 2), (0, 1, 2, 0), (2, 1)),
        (2, (1, 1), (1, 1, 1, 1), (1, 2)),
    ],
)
def test_hessian_of_a_convolution_is_that_of_its_patches(groups, strides, pads, dilations):
    _, layer, x, _ = one_layer(
        single(
            "Conv", (2, 4, 6, 7), (6, 4 // groups, 3, 2),
            group=groups, strides=strides, pads=pads, dilations=dilations,
        )
    )  # fmt: skip
    rows = all_rows(layer, x, limit=10**6, seed=0)
    expected = patches_by_loops(x, (3, 2), strides, pads, dilations, groups)
    np.testing.assert_array_equal(rows, expected)
    for g in range(groups):
        by_hand = 2 / expected.shape[1] * expected[g].astype(np.float64).T @ expected[g]
        np.testing.assert_allclose(sums_of(rows[g]).hessian(), by_hand, rtol=1e-5, atol=1e-5)


LINEAR = {
    "conv1d": single("Conv", (2, 3, 9), (5, 3, 4), pads=[1, 2], strides=[2]),
    "conv3d": single("Conv", (2, 3, 4, 5, 4), (5, 3, 2, 3, 2), dilations=[1, 2, 1]),
    "same upper": single("Conv", (2, 3, 7, 8), (5, 3, 4, 2), auto_pad="SAME_UPPER", strides=[2, 2]),
    "same lower": single("Conv", (2, 3, 7, 8), (5, 3, 4, 2), auto_pad="SAME_LOWER", strides=[2, 2]),
    "grouped": single("Conv", (2, 6, 5, 5), (9, 2, 3, 3), group=3),
    "transpose": single("ConvTranspose", (2, 3, 4, 5), (3, 4, 3, 2)),
    "transpose stride": single(
        "ConvTranspose", (2, 3, 4, 5), (3, 4, 3, 4), strides=[2, 3], pads=[1, 0, 1, 2]
    ),
    "transpose dilation": single(
        "ConvTranspose", (2, 3, 4), (3, 4, 3), strides=[2], dilations=[2], pads=[1, 3]
    ),
    "transpose output padding": single(
        "ConvTranspose", (2, 3, 4, 4), (3, 4, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1],
        output_padding=[1, 1],
    ),
    "transpose output shape": single(
        "ConvTranspose", (2, 3, 4, 4), (3, 4, 3, 3), strides=[2, 2], output_shape=[8, 7]
    ),
    "transpose same": single(
        "ConvTranspose", (2, 3, 4, 4), (3, 4, 3, 3), strides=[2, 2], auto_pad="SAME_UPPER"
    ),
    "transpose grouped": single("ConvTranspose", (2, 6, 4, 4), (6, 5, 2, 2), group=2),
    "gemm": single("Gemm", (5, 7), (7, 3), alpha=0.5),
    "gemm transposed": single("Gemm", (5, 7), (3, 7), transB=1),
    "gemm input transposed": single("Gemm", (7, 5), (7, 3), transA=1),
    "gemm left": single("Gemm", (7, 5), (3, 7), weight=0),
    "gemm left transposed": single("Gemm", (5, 7), (7, 3), weight=0, transA=1, transB=1),
    "matmul": single("MatMul", (2, 4, 7), (7, 3)),
    "matmul left": single("MatMul", (2, 7, 4), (3, 7), weight=0),
    "constant weight": single("Conv", (2, 3, 5, 5), (4, 3, 3, 3), storage="constant"),
    "identity weight": single("Conv", (2, 3, 5, 5), (4, 3, 3, 3), storage="identity"),
}  # fmt: skip


# Nodes that read samples along another axis than the first.
OTHER_FIRST = ("gemm input transposed", "gemm left")


@pytest.mark.parametrize("name", LINEAR)
def test_a_matrix_times_the_rows_is_what_the_node_computes(name):
    proto = LINEAR[name]
    model, layer, x, weight = one_layer(proto)
    rows, blocks = all_rows(layer, x, limit=10**6, seed=0), layer.blocks(weight)
    made = np.einsum("god,gmd->mgo", blocks, rows)
    made = made.reshape(len(made), -1)
    (y,) = run(model.proto, model.example)
    if layer.kernel:
        y = np.moveaxis(y, 1, -1)
    elif layer.weight == 0:
        y = np.moveaxis(y, -2, -1)
    np.testing.assert_allclose(made, y.reshape(-1, made.shape[1]), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(layer.weight_of(blocks, weight.shape), weight)
    assert positions(layer, x.shape) == len(made)


@pytest.mark.parametrize("name", LINEAR)
def test_columns_follow_the_contracted_axis(name):
    _, layer, _, weight = one_layer(LINEAR[name])
    size = weight.shape[layer.axis]
    shape = [size if axis == layer.axis else 1 for axis in range(weight.ndim)]
    numbered = np.broadcast_to(np.arange(size).reshape(shape), weight.shape)
    expected = layer.blocks(numbered)[:, 0]
    np.testing.assert_array_equal(layer.columns(np.arange(size)), expected)


def test_a_weight_behind_a_transpose_is_found():
    g = Builder(batch="N")
    x = g.input(4, 7)
    w = g.node("Transpose", [g.normal(3, 7)], perm=[1, 0])
    _, layer, _, weight = one_layer(g.model(g.node("MatMul", [x, w])))
    assert layer.transposed
    assert layer.parameter == "w0"
    assert layer.blocks(weight).shape == (1, 3, 7)


def test_depthwise_convolutions_and_activation_products_are_no_layers():
    g = Builder(batch="N")
    x = g.input(4, 5, 5)
    y = g.node("Conv", [x, g.normal(4, 1, 3, 3)], group=4, pads=[1, 1, 1, 1])
    z = g.node("ConvTranspose", [y, g.normal(4, 1, 1, 1)], group=4)
    assert find_layers(couple(spa.load(g.model(g.node("MatMul", [y, z]))))) == {}


def test_positions_are_drawn_once_for_all_tensors_of_a_shape():
    _, layer, x, _ = one_layer(single("Conv", (8, 3, 9, 9), (4, 3, 3, 3)))
    whole = all_rows(layer, x, limit=10**6, seed=0)
    some = all_rows(layer, x, limit=50, seed=3)
    assert some.shape == (1, 50, 27)
    np.testing.assert_array_equal(all_rows(layer, 2 * x, 50, 3), 2 * some)
    assert not np.array_equal(all_rows(layer, x, 50, 4), some)
    known = {row.tobytes() for row in whole[0]}
    drawn = [row.tobytes() for row in some[0]]
    assert len(set(drawn)) == 50
    assert known.issuperset(drawn)


@pytest.mark.parametrize("limit", [50, 10**6])
@pytest.mark.parametrize("name", [name for name in LINEAR if not name.startswith(OTHER_FIRST)])
def test_rows_of_batches_are_those_of_all_samples(name, limit):
    _, layer, x, _ = one_layer(LINEAR[name])
    at_once = all_rows(layer, x, limit, seed=5)
    batches = [x[:1], x[1:]]
    which = chosen([positions(layer, batch.shape) for batch in batches], limit, seed=5)
    found = [input_rows(layer, *pair) for pair in zip(batches, which, strict=True)]
    np.testing.assert_array_equal(np.concatenate(found, axis=1), at_once)
