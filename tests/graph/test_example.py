"""Example inputs: what is declared, given and guessed; and which sizes are seen to vary."""

import numpy as np
import pytest
from onnx import TensorProto, helper

import spa
from tests.graphs import Builder
from tests.oracles import run


def _reader_net():
    g = Builder()
    g.inputs.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, "H", "W"]))
    x = g.node("Relu", [g.conv("x", 3, 8)])
    x = g.node("MaxPool", [x], kernel_shape=[8, 1], strides=[8, 1])
    x = g.node("Transpose", [g.squeeze(x, [2])], perm=[0, 2, 1])
    x = g.node("MatMul", [x, g.normal(8, 12)])
    # (N, W, 12) to (N, W, 3, 4): the target is computed from the sizes of x.
    sizes = [g.slice(g.node("Shape", [x]), i, i + 1, axis=0) for i in (0, 1)]
    target = g.node("Concat", [*sizes, g.ints([3]), g.ints([4])], axis=0)
    x = g.node("Sigmoid", [g.node("Reshape", [x, target])])
    x = g.node("Reshape", [x, g.node("Concat", [*sizes, g.ints([12])], axis=0)])
    return g.model(g.node("MatMul", [x, g.normal(12, 5)]), dims=[["N", "W", 5]])


def test_a_free_width_is_tried_though_the_height_can_be_no_other():
    model = spa.load(_reader_net(), {"x": (2, 3, 8, 16)})
    tried = np.not_equal(model.varied.shapes["x"], model.shapes["x"])
    assert tried.tolist() == [True, False, False, True]
    # The file leaves the height open, so nothing of it is taken for fixed.
    assert [model.varies("x", axis) for axis in range(4)] == [True, False, True, True]


def test_a_pruned_model_takes_other_widths_though_no_other_height():
    """The width was taken as fixed, and written into the targets of Reshape."""
    proto = _reader_net()
    result = spa.prune(proto, inputs={"x": (2, 3, 8, 16)}, ratio=0.5)
    assert result.proof.equal
    for width in (5, 40):
        feeds = {"x": np.ones((1, 3, 8, width), np.float32)}
        (output,) = run(result.model, feeds).values()
        assert output.shape == (1, width, 5)


def test_sizes_that_only_double():
    """Halved and joined again five times, as in a U-Net: a side must be a multiple of 64."""
    g = Builder()
    g.inputs.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, "H", "W"]))
    x = top = g.conv("x", 3, 4)
    for _ in range(6):
        x = g.node("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])
    scales = g.weight(np.float32([1, 1, 64, 64]), "scales", "initializer")
    x = g.node("Resize", [x, "", scales], mode="nearest")
    proto = g.model(g.node("Concat", [x, top], axis=1))
    model = spa.load(proto, {"x": (2, 3, 64, 64)})
    assert [model.varies("x", axis) for axis in range(4)] == [True, False, True, True]


def test_inputs_of_one_length_grow_together():
    """Ids and mask cannot change their length one without the other, and have 48 at most."""
    proto = _two_inputs(names=("T", "T"))
    model = spa.load(proto)
    assert model.example["ids"].shape == model.example["mask"].shape
    assert model.varies("ids", 1)
    assert model.varies("mask", 1)


# --- guesses -------------------------------------------------------------------------------------


def _two_inputs(names=(None, None)):
    """Embeds int64 ids, and multiplies by a float mask."""
    g = Builder()
    for name, kind, size in (("ids", TensorProto.INT64, names[0]),
                             ("mask", TensorProto.FLOAT, names[1])):  # fmt: skip
        g.inputs.append(helper.make_tensor_value_info(name, kind, ["N", size]))
    x = g.node("Gather", [g.normal(10, 8), "ids"])
    x = g.node("Mul", [x, g.unsqueeze("mask", [2])])
    x = g.node("Relu", [g.node("MatMul", [x, g.normal(8, 12)])])
    return g.model(g.node("MatMul", [x, g.normal(12, 5)]))


def _image_net(*dims, opset=17):
    g = Builder(opset)
    g.inputs.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, dims))
    x = g.node("Relu", [g.conv("x", 3, 8)])
    x = g.node("Flatten", [g.node("GlobalAveragePool", [g.conv(x, 8, 12)])])
    return g.model(g.gemm(x, 12, 5))


@pytest.mark.parametrize(
    ("dims", "guess", "varying"),
    [
        (("N", 3, 32, 48), (2, 3, 32, 48), [0]),
        ((None, 3, 32, 48), (2, 3, 32, 48), [0]),
        ((-1, 3, 32, 48), (2, 3, 32, 48), [0]),
        ((1, 3, 32, 48), (1, 3, 32, 48), []),
        (("N", 3, "H", "W"), (2, 3, 224, 256), [0, 2, 3]),
        (("N", 3, "S", "S"), (2, 3, 224, 224), [0, 2, 3]),
        ((1, 3, "H", 32), (1, 3, 224, 32), [2]),
        # The number of channels follows from the first convolution; no other fits.
        (("N", "C", 32, 32), (2, 3, 32, 32), [0]),
        (("N", "C", "H", "W"), (2, 3, 224, 256), [0, 2, 3]),
    ],
)
def test_images(dims, guess, varying):
    model = spa.load(_image_net(*dims))
    assert model.example["x"].shape == guess
    assert [axis for axis in range(4) if model.varies("x", axis)] == varying
    assert spa.prune(model, ratio=0.4).proof.equal


def test_channels_of_a_grouped_first_convolution():
    g = Builder()
    g.inputs.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", "C", 8, 8]))
    model = spa.load(g.model(g.conv("x", 6, 8, group=2)))
    assert model.example["x"].shape == (2, 6, 8, 8)


def test_a_smaller_side_where_the_usual_one_fails():
    """A fixed number of features after Flatten: 64 a side alone gives them."""
    g = Builder()
    g.inputs.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, "H", "W"]))
    x = g.node("MaxPool", [g.conv("x", 3, 4)], kernel_shape=[8, 8], strides=[8, 8])
    model = spa.load(g.model(g.gemm(g.node("Flatten", [x]), 4 * 64, 5)))
    assert model.example["x"].shape == (2, 3, 64, 64)
    assert model.varied.shapes["x"] == (3, 3, 64, 64)


def test_text_and_two_inputs():
    model = spa.load(_two_inputs())
    assert {name: value.shape for name, value in model.example.items()} == {
        "ids": (2, 16),
        "mask": (2, 16),
    }
    assert model.example["ids"].dtype == np.int64
    assert set(np.unique(model.example["ids"])) <= {0, 1}  # in the range of any vocabulary
    assert model.varied.shapes["ids"] == model.varied.shapes["mask"] == (3, 48)
    assert spa.prune(model, ratio=0.5).proof.equal


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        (TensorProto.BOOL, np.bool_),
        (TensorProto.INT32, np.int32),
        (TensorProto.UINT8, np.uint8),
        (TensorProto.FLOAT16, np.float16),
        (TensorProto.DOUBLE, np.float64),
    ],
)
def test_other_types(kind, dtype):
    g = Builder()
    g.inputs.append(helper.make_tensor_value_info("x", kind, ["N", 6]))
    x = g.node("Cast", ["x"], to=TensorProto.FLOAT)
    model = spa.load(g.model(g.gemm(g.node("Relu", [g.gemm(x, 6, 8)]), 8, 5)))
    assert model.example["x"].dtype == dtype
    assert spa.prune(model, ratio=0.5).proof.equal


def test_a_scalar_and_no_input_at_all():
    g = Builder()
    g.inputs.append(helper.make_tensor_value_info("s", TensorProto.FLOAT, []))
    x = g.node("Mul", [g.input(6), "s"])
    model = spa.load(g.model(g.gemm(g.node("Relu", [g.gemm(x, 6, 8)]), 8, 5)))
    assert model.example["s"].shape == ()
    assert spa.prune(model, ratio=0.5).proof.equal
    g = Builder()
    model = spa.load(g.model(g.node("MatMul", [g.normal(2, 6), g.normal(6, 5)])))
    assert model.example == {}
    assert model.batch_size == 1


def test_the_example_is_the_same_every_time():
    first, second = (spa.load(_image_net("N", 3, 8, 8)).example["x"] for _ in range(2))
    np.testing.assert_array_equal(first, second)


# --- what the user gives -------------------------------------------------------------------------


@pytest.mark.parametrize("given", [(4, 3, 16, 20), [4, 3, 16, 20], np.ones((4, 3, 16, 20))])
def test_shapes_and_arrays(given):
    model = spa.load(_image_net("N", 3, "H", "W"), {"x": given})
    assert model.example["x"].shape == (4, 3, 16, 20)
    assert model.example["x"].dtype == np.float32
    if isinstance(given, np.ndarray):
        np.testing.assert_array_equal(model.example["x"], given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"y": (1, 3, 8, 8)}, 'no input "y"; its inputs are x=?x3x8x8'),
        ({"x": (1, 4, 8, 8)}, "takes x=?x3x8x8 .* but 1x4x8x8 was given"),
        ({"x": (1, 3, 8)}, "but 1x3x8 was given"),
        ({"x": (0, 3, 8, 8)}, "sizes are 1 or more"),
        ({"x": (-1, 3, 8, 8)}, "sizes are 1 or more"),
        ({"x": ()}, "but a scalar was given"),
        ({"x": np.ones((2, 3, 9, 8))}, "but 2x3x9x8 was given"),
    ],
)
def test_wrong_names_and_shapes(given, words):
    with pytest.raises(spa.InputError, match=words.replace("?", r"\?")):
        spa.load(_image_net("N", 3, 8, 8), given)


@pytest.mark.parametrize("inputs", [(1, 3, 8, 8), "x=1x3x8x8", np.ones((1, 3, 8, 8))])
def test_inputs_go_by_name(inputs):
    with pytest.raises(spa.InputError, match="must map input names"):
        spa.load(_image_net("N", 3, 8, 8), inputs)


def test_sizes_that_cannot_be_guessed_are_asked_for():
    """Two free lengths that must differ by seven: only the user knows."""
    g = Builder()
    for name, size in (("a", "S"), ("b", "T")):
        g.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size]))
    g.inputs.append(helper.make_tensor_value_info("c", TensorProto.FLOAT, [1, 4]))
    longer = g.pad("b", [0, 0, 0, 7])
    x = g.node("Concat", [g.unsqueeze(name, [1]) for name in ("a", longer)], axis=1)
    x = g.node("MatMul", [g.unsqueeze(x, [3]), g.normal(1, 4)])
    proto = g.model(g.node("MatMul", [g.node("Mul", [x, "c"]), g.normal(4, 5)]))
    with pytest.raises(spa.InputError, match=r"in this form .*: --input a=\?x\? --input b=\?x\?$"):
        spa.load(proto)
    # What is given already is not asked for.
    with pytest.raises(spa.InputError, match=r"marks: --input b=\?x\?$"):
        spa.load(proto, {"a": (2, 12)})
    model = spa.load(proto, {"a": (2, 12), "b": (2, 5)})
    assert model.shapes["c"] == (1, 4)
    assert model.varies("a", 0)
    assert spa.prune(model, ratio=0.5, best_effort=True).proof.equal


def test_fixed_sizes_that_do_not_run():
    """Without a free size there is nothing to ask for."""
    g = Builder(batch=1)
    g.inputs.append(helper.make_tensor_value_info("ids", TensorProto.INT64, [1, 3]))
    beyond = g.node("Add", ["ids", g.ints(10)])
    proto = g.model(g.node("Gather", [g.normal(4, 5), beyond]))
    with pytest.raises(spa.RunError, match="The model: ONNX Runtime cannot run the model"):
        spa.load(proto)


def test_a_declared_size_of_zero_is_asked_for():
    """Some exporters mean "free" by it; ONNX Runtime takes it at its word."""
    with pytest.raises(spa.InputError, match=r"--input x=\?x3x8x8"):
        spa.load(_image_net(0, 3, 8, 8))


def test_inputs_that_are_no_tensor():
    proto = _image_net("N", 3, 8, 8)
    sequence = helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None)
    proto.graph.input.append(sequence)
    with pytest.raises(spa.InputError, match='"s" is not a plain tensor'):
        spa.load(proto)


def test_an_initializer_listed_as_input_is_no_input():
    model = spa.load(_with_listed_weights())
    assert list(model.example) == ["x"]
    with pytest.raises(spa.InputError, match='no input "w0"'):
        spa.load(_with_listed_weights(), {"w0": (8, 3, 3, 3)})


def _with_listed_weights():
    g = Builder(storage="input")
    return g.model(g.conv(g.input(3, 8, 8), 3, 8))
