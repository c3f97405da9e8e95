"""Dynamic batch, sequence and image sizes: the pruned model runs at sizes that no example had.

Exporters write sizes that follow an input as arithmetic on Shape. Every case is compared with the
zeroed dense model at sizes that are not those of the two example runs, sizes of 1 and 0 among them.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import spa
from spa.pruning.plan import cut_of
from spa.pruning.verify import verify_outputs
from tests.coupling.cases import described
from tests.graphs import Builder
from tests.oracles import run, zeroed_dense

Sizes = Mapping[str, Sequence[int]]


def check(
    proto: onnx.ModelProto,
    groups: list[str],
    sizes: Iterable[Sizes],
    *,
    optimize: bool = True,
    **inputs: Sequence[int],
) -> None:
    """Prunes half of every group; compares at all sizes.

    Args:
        proto: the model.
        groups: what `described` must find.
        sizes: by input, shapes to compare at.
        optimize: let ONNX Runtime rewrite both models.
        inputs: shapes of the example, by input.
    """
    model = spa.load(proto, inputs)
    assert described(model) == sorted(groups)
    result = spa.prune(model, ratio=0.5, criterion="random", limits=spa.Limits(scope="local"))
    assert result.proof.equal
    assert any(group.removed for group in result.plan.groups)
    reference = zeroed_dense(proto, result.plan.to_json())
    kinds = {v.name: v.type.tensor_type.elem_type for v in proto.graph.input}
    for number, shapes in enumerate(sizes):
        rng = np.random.default_rng(number)
        feeds = {
            name: rng.integers(0, 9, shape)
            if kinds[name] == TensorProto.INT64
            else rng.standard_normal(shape).astype(np.float32)
            for name, shape in shapes.items()
        }
        want, have = (run(m, feeds, optimize=optimize) for m in (reference, result.model))
        for name, value in want.items():
            assert have[name].shape == value.shape
            np.testing.assert_allclose(have[name], value, atol=2e-5)


class Dynamic(Builder):
    """A Builder that writes sizes as exporters do."""

    def size(self, x: str, axis: int) -> str:
        """(1,): the size of an axis, by Shape and Gather, and back to a list."""
        number = self.node("Gather", [self.node("Shape", [x]), self.ints(axis)], axis=0)
        return self.unsqueeze(number, [0])

    def sizes(self, x: str, start: int, end: int) -> str:
        """(end - start,): the sizes of some axes, by Shape and Slice."""
        return self.slice(self.node("Shape", [x]), start, end, axis=0)

    def listed(self, *parts: str | int) -> str:
        """Sizes side by side, computed or fixed."""
        names = [self.ints([part]) if isinstance(part, int) else part for part in parts]
        return self.node("Concat", names, axis=0)

    def block(self, x: str, cin: int, cout: int, **options) -> str:
        return self.node("Relu", [self.conv(x, cin, cout, **options)])

    def linear(self, x: str, cin: int, cout: int) -> str:
        x = self.node("MatMul", [x, self.normal(cin, cout)])
        return self.node("Add", [x, self.normal(cout, stem="b")])


IMAGES = [{"x": s} for s in ((1, 3, 8, 8), (5, 3, 12, 20), (2, 3, 36, 4), (0, 3, 8, 8))]


@pytest.mark.parametrize("opset", [11, 13, 18, 21])
def test_a_batch_of_any_size(opset):
    """The batch written into Reshape's target, and flattened behind it."""
    g = Dynamic(opset)
    x = g.block(g.input(3, 8, 8), 3, 8)
    x = g.node("Reshape", [x, g.listed(g.size(x, 0), 8 * 64)])
    proto = g.model(g.gemm(x, 8 * 64, 5))
    check(proto, ["8: b0.0 w0.0 w1.1*64"], [{"x": (n, 3, 8, 8)} for n in (0, 1, 2, 3, 9)])


@pytest.mark.parametrize("opset", [11, 13, 18, 21])
def test_an_image_of_any_size_through_a_pyramid(opset):
    """A coarse map is brought to the size of a finer one, whose size Resize takes from Shape."""
    g = Dynamic(opset)
    fine = g.block(g.input("H", "W", name="x"), 3, 8)
    coarse = g.block(fine, 8, 12, stride=2)
    lateral = g.conv(coarse, 12, 6, 1)
    sizes = g.node("Concat", [g.sizes(lateral, 0, 2), g.sizes(fine, 2, 4)], axis=0)
    none = "" if opset >= 13 else g.weight(np.zeros(0, np.float32), "none", "initializer")
    up = g.node("Resize", [lateral, none, none, sizes], mode="nearest")
    x = g.node("Add", [up, g.conv(fine, 8, 6, 1)])
    proto = g.model(g.conv(g.node("Relu", [x]), 6, 4))
    proto.graph.input[0].type.tensor_type.shape.dim.insert(1, _fixed(3))
    groups = [
        "12: b1.0 w1.0 w2.1", "6: b2.0 b3.0 w2.0 w3.0 w4.1", "8: b0.0 w0.0 w1.1 w3.1",
    ]  # fmt: skip
    check(proto, groups, IMAGES[:3], x=(2, 3, 16, 16))


def _fixed(size: int) -> onnx.TensorShapeProto.Dimension:
    return onnx.TensorShapeProto.Dimension(dim_value=size)


def image(g: Dynamic) -> str:
    """(N, 3, H, W)"""
    g.inputs.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, "H", "W"]))
    return "x"


@pytest.mark.parametrize("zero", [True, False])
def test_pixels_as_tokens_and_back(zero):
    """(N, C, H, W) to (N, C, H*W) and back, the channels written in, or copied by a 0."""
    g = Dynamic(17)
    x = g.block(image(g), 3, 8)
    flat = g.node("Reshape", [x, g.listed(g.size(x, 0), 0 if zero else 8, -1)])
    flat = g.node("Transpose", [flat], perm=[0, 2, 1])
    y = g.node("Transpose", [g.node("Relu", [g.linear(flat, 8, 6)])], perm=[0, 2, 1])
    y = g.node("Reshape", [y, g.listed(g.size(x, 0), 6, g.size(x, 2), g.size(x, 3))])
    proto = g.model(g.conv(y, 6, 5))
    check(proto, ["6: b1.0 w1.1 w2.1", "8: b0.0 w0.0 w1.0"], IMAGES[:3])


def test_no_size_is_left_to_be_told_of_an_empty_batch():
    """A -1 in place of H * W would be right for every batch but an empty one.

    ONNX Runtime's own rewrites put one there.
    """
    g = Dynamic(17)
    x = g.node("Transpose", [g.block(image(g), 3, 8)], perm=[0, 2, 3, 1])
    area = g.node("Mul", [g.size(x, 1), g.size(x, 2)])
    flat = g.node("Reshape", [x, g.listed(g.size(x, 0), area, 8)])
    proto = g.model(g.linear(flat, 8, 5))
    check(proto, ["8: b0.0 w0.0 w1.0"], IMAGES, optimize=False)


def test_channels_whose_number_is_asked_for():
    """The size that shrinks is itself read from Shape, for a Reshape and for a mean."""
    g = Dynamic(17)
    x = g.block(image(g), 3, 8)
    flat = g.node("Reshape", [x, g.listed(g.size(x, 0), g.size(x, 1), -1)])
    total = g.reduce("ReduceSum", flat, [2], keepdims=0)
    count = g.node("Cast", [g.node("Mul", [g.size(x, 2), g.size(x, 3)])], to=TensorProto.FLOAT)
    mean = g.node("Div", [total, count])
    proto = g.model(g.gemm(mean, 8, 5))
    check(proto, ["8: b0.0 w0.0 w1.1"], IMAGES[:3])


def test_windows_of_an_image_of_any_size():
    """(N, C, H/2, 2, W/2, 2), where H/2 and W/2 are divided out while it runs."""
    g = Dynamic(17)
    x = g.block(image(g), 3, 8)
    two = g.ints([2])
    h, w = (g.node("Div", [g.size(x, axis), two]) for axis in (2, 3))
    parts = g.node("Reshape", [x, g.listed(g.size(x, 0), 8, h, 2, w, 2)])
    parts = g.node("Transpose", [parts], perm=[0, 2, 4, 3, 5, 1])
    tokens = g.node("Reshape", [parts, g.listed(-1, 4, 8)])
    proto = g.model(g.linear(g.node("Relu", [g.linear(tokens, 8, 6)]), 6, 5))
    check(proto, ["6: b1.0 w1.1 w2.0", "8: b0.0 w0.0 w1.0"], IMAGES[:3])


def test_a_crop_and_a_padding_that_are_computed():
    """Half of the height is cut away; as much is padded at the end."""
    g = Dynamic(17)
    x = g.block(image(g), 3, 8)
    half = g.node("Div", [g.size(x, 2), g.ints([2])])
    x = g.node("Slice", [x, g.ints([0]), half, g.ints([2])])
    zeros = [0] * 6
    pads = g.listed(*zeros, half, 0)
    x = g.conv(g.node("Pad", [x, pads]), 8, 5)
    check(g.model(x), ["8: b0.0 w0.0 w1.1"], IMAGES[:3])


# --- sequences -----------------------------------------------------------------------------------


IDS = [{"ids": s} for s in ((1, 1), (4, 5), (2, 16), (3, 31))]
VOCABULARY, WIDTH, HEADS, LONGEST = 9, 12, 3, 40


def embedded(g: Dynamic, positions: str) -> str:
    """(N, T, WIDTH): ids and their positions."""
    g.inputs.append(helper.make_tensor_value_info("ids", TensorProto.INT64, ["N", "T"]))
    tokens = g.node("Gather", [g.normal(VOCABULARY, WIDTH), "ids"])
    table = g.normal(LONGEST, WIDTH)
    length = g.node("Gather", [g.node("Shape", ["ids"]), g.ints(1)], axis=0)
    if positions == "Slice":
        ends = g.unsqueeze(length, [0])
        return g.node("Add", [tokens, g.node("Slice", [table, g.ints([0]), ends, g.ints([0])])])
    places = g.node("Range", [g.ints(0), length, g.ints(1)])
    if positions == "Expand":
        places = g.node("Expand", [g.unsqueeze(places, [0]), g.node("Shape", ["ids"])])
    return g.node("Add", [tokens, g.node("Gather", [table, places])])


def attention(g: Dynamic, x: str, how: str) -> str:
    """Heads whose number and size stand in targets that are computed in several ways."""
    size = WIDTH // HEADS
    batch, length = g.size(x, 0), g.size(x, 1)
    target = {
        "all": g.listed(batch, length, HEADS, size),
        "one": g.listed(batch, -1, HEADS, size),
        "fixed": g.ints([0, 0, HEADS, size]),
    }[how]
    parts = []
    for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]):
        part = g.node("Reshape", [g.linear(x, WIDTH, WIDTH), target])
        parts.append(g.node("Transpose", [part], perm=perm))
    q, k, v = parts
    scores = g.node("Div", [g.node("MatMul", [q, k]), g.weight(np.float32(size**0.5), "root")])
    # A causal mask of whatever length there is.
    ones = g.node(
        "ConstantOfShape", [g.listed(length, length)],
        value=helper.make_tensor("one", TensorProto.FLOAT, [1], [-1e4]),
    )  # fmt: skip
    scores = g.node("Add", [scores, g.node("Trilu", [ones, g.ints(1)])])
    h = g.node("MatMul", [g.node("Softmax", [scores], axis=-1), v])
    h = g.node("Transpose", [h], perm=[0, 2, 1, 3])
    back = {
        "all": g.listed(batch, length, WIDTH),
        "one": g.listed(batch, -1, WIDTH),
        "fixed": g.ints([0, 0, -1]),
    }[how]
    return g.linear(g.node("Reshape", [h, back]), WIDTH, WIDTH)


@pytest.mark.parametrize("positions", ["Range", "Expand", "Slice"])
@pytest.mark.parametrize("how", ["all", "one", "fixed"])
def test_a_sequence_of_any_length(positions, how):
    """Heads and hidden units go, at every length; the stream is kept, as it is an output."""
    g = Dynamic(17)
    x = embedded(g, positions)
    x = g.node("Add", [x, attention(g, x, how)])
    h = g.linear(g.node("Tanh", [g.linear(x, WIDTH, 16)]), 16, WIDTH)
    x = g.node("Add", [x, h])
    heads = "3: b0.0*4 b1.0*4 b2.0*4 w2.1*4 w3.1*4 w4.1*4 w5.0*4"
    proto = g.model(x, dims=[["N", "T", WIDTH]])
    check(proto, [heads, "16: b4.0 w6.1 w7.0"], IDS)


def test_a_class_token_that_is_expanded_to_the_batch():
    """One learned token in front of every sequence; the first of the results alone is read."""
    g = Dynamic(17)
    g.inputs.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", "T", 6]))
    x = g.linear("x", 6, 8)
    token = g.node("Expand", [g.normal(1, 1, 8), g.listed(g.size(x, 0), 1, 8)])
    x = g.node("Relu", [g.node("Concat", [token, x], axis=1)])
    x = g.reduce("ReduceMean", x, [1], keepdims=0)
    proto = g.model(g.gemm(x, 8, 5))
    sizes = [{"x": (n, t, 6)} for n, t in ((1, 1), (4, 9), (2, 33))]
    check(proto, ["8: b0.0 w0.1 w1.2 w2.1"], sizes)


def test_a_fixed_tensor_that_is_tiled_to_the_batch():
    g = Dynamic(17)
    g.inputs.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4, 6]))
    x = g.linear("x", 6, 8)
    queries = g.node("Tile", [g.normal(1, 4, 8), g.listed(g.size(x, 0), 1, 1)])
    x = g.node("Relu", [g.node("Mul", [x, queries])])
    proto = g.model(g.linear(x, 8, 5))
    sizes = [{"x": (n, 4, 6)} for n in (1, 2, 5)]
    check(proto, ["8: b0.0 w0.1 w1.2 w2.0"], sizes)


def test_two_inputs_of_lengths_of_their_own():
    """Cross attention of one head, where neither length is the other's."""
    g = Dynamic(17)
    for name, length in (("x", "T"), ("memory", "S")):
        g.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", length, 6]))
    q, k, v = (g.linear(name, 6, 8) for name in ("x", "memory", "memory"))
    scores = g.node("MatMul", [q, g.node("Transpose", [k], perm=[0, 2, 1])])
    h = g.node("MatMul", [g.node("Softmax", [scores], axis=-1), v])
    proto = g.model(g.linear(h, 8, 5))
    groups = ["8: b0.0 b1.0 w0.1 w1.1", "8: b2.0 w2.1 w3.0"]
    sizes = [{"x": (n, t, 6), "memory": (n, s, 6)} for n, t, s in ((1, 1, 1), (3, 5, 2), (2, 2, 9))]
    check(proto, groups, sizes)


def test_empty_parts():
    """A slice of no rows, and an empty tensor of the file's own, add nothing; channels go."""
    g = Dynamic(17)
    x = g.block(image(g), 3, 8)
    nothing = g.node("Slice", [x, g.ints([0]), g.ints([0]), g.ints([2])])
    x = g.node("Concat", [x, nothing], axis=2)
    empty = g.weight(np.zeros((0, 8, 1, 1), np.float32), "empty", "initializer")
    empty = g.node("Tile", [empty, g.listed(1, 1, g.size(x, 2), g.size(x, 3))])
    x = g.node("Concat", [x, empty], axis=0)
    check(g.model(g.conv(x, 8, 5)), ["8: b0.0 empty0.1 w0.0 w1.1"], IMAGES[:3])


# --- sizes that follow from values ----------------------------------------------------------------


def _points(g: Builder, source: str) -> str:
    """As many as the picture has positive entries: their number, shape (1,)."""
    zero = g.weight(np.float32(0), "zero")
    positive = g.node("Greater", [g.node("Reshape", [source, g.ints([-1])]), zero])
    return g.node("Shape", [g.node("NonZero", [positive])], start=1)


@pytest.mark.parametrize("way", ["ConstantOfShape", "Expand", "Reshape", "entries"])
def test_a_number_of_entries_that_follows_from_the_values(way):
    """Detectors count their boxes; a run's number must not end up in the file."""
    g = Builder(18, batch=1)
    source = g.input(3, 4, 4)
    a = g.conv(source, 3, 6)
    count = _points(g, source)
    rest = g.node("Shape", [a], start=1)
    if way == "entries":
        sizes = [g.node("Gather", [g.node("Shape", [a]), g.ints([k])]) for k in (1, 2, 3)]
        rest = g.node("Concat", sizes, axis=0)
    shape = g.node("Concat", [count, rest], axis=0)
    if way == "Expand":
        many = g.node("Expand", [a, shape])
    else:
        many = g.node("Add", [a, g.node("ConstantOfShape", [shape])])
    if way == "Reshape":
        flat = g.node("Reshape", [many, g.node("Concat", [count, g.ints([-1])], axis=0)])
        many = g.node("Reshape", [flat, shape])
    proto = g.model(g.conv(many, 6, 5))
    result = spa.prune(proto, ratio=0.5)
    assert result.proof.equal
    assert result.reached.rp > 1.5
    reference = zeroed_dense(proto, result.plan.to_json())
    lengths = set()
    for seed in range(4):
        x = np.random.default_rng(seed).normal(0.3 * seed, 1, (1, 3, 4, 4)).astype(np.float32)
        (name,) = (value.name for value in proto.graph.input)
        want, have = (run(p, {name: x}) for p in (reference, result.model))
        for output in want:
            np.testing.assert_allclose(have[output], want[output], rtol=1e-4, atol=1e-4)
            lengths.add(len(want[output]))
    assert len(lengths) > 2


@pytest.mark.parametrize("opset", [9, 13])
def test_a_part_of_a_shape_that_no_value_decides(opset):
    """Before opset 10, Slice has its bounds as attributes."""
    g = Builder(opset, batch=1)
    source = g.input(3, 4, 4)
    a = g.conv(source, 3, 6)
    shape = g.node("Shape", [a])
    bounds = {"starts": [1], "ends": [4]} if opset < 10 else {}
    more = [g.ints([1]), g.ints([4])] if opset >= 10 else []
    rest = g.node("Slice", [shape, *more], **bounds)
    target = g.node("Concat", [g.ints([-1]), rest], axis=0)
    proto = g.model(g.conv(g.node("Reshape", [a, target]), 6, 5))
    assert spa.load(proto).static_value(rest) is not None
    assert spa.prune(proto, ratio=0.5).proof.equal


def test_the_proof_sees_a_number_that_was_written_down():
    g = Builder(18, batch=1)
    source = g.input(3, 4, 4)
    a = g.conv(source, 3, 6)
    shape = g.node("Concat", [_points(g, source), g.ints([1, 1, 1])], axis=0)
    proto = g.model(g.conv(g.node("Add", [a, g.node("ConstantOfShape", [shape])]), 6, 5))
    model = spa.load(proto)
    groups = spa.find_groups(model)
    result = spa.prune(model, ratio=0.5)
    wrong = onnx.ModelProto()
    wrong.CopyFrom(result.model)
    (node,) = (node for node in wrong.graph.node if node.op_type == "ConstantOfShape")
    number = len(next(iter(run(proto, model.example).values())))
    fixed = onnx.numpy_helper.from_array(np.array([number, 1, 1, 1]), "fixed")
    wrong.graph.initializer.append(fixed)
    node.input[0] = "fixed"
    with pytest.raises(spa.VerificationError, match='weight "fixed"'):
        spa.verify(model, wrong, result.plan, groups)
    with pytest.raises(spa.VerificationError, match="has shape|does not run"):
        verify_outputs(model, wrong, cut_of(result.plan, groups.coupling), groups)
