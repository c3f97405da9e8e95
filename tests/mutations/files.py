"""Bugs in a pruned file: each takes a copy and changes it, or says that it does not apply.

Any of them makes another file than the plan says, so `spa.verify` must refuse it whether or not
the outputs on an example show it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests.graphs import attribute

# Changes the file in place; False where there is nothing to change.
Bug = Callable[[onnx.ModelProto, onnx.ModelProto, np.random.Generator], bool]
FILE_BUGS: dict[str, Bug] = {}

MULTIPLIES = {"Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "DequantizeLinear"}


def bug(function: Bug) -> Bug:
    """Registers a bug under its name in words."""
    FILE_BUGS[function.__name__.replace("_", " ")] = function
    return function


# --- reading and writing --------------------------------------------------------------------------


def tensors(proto: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    return {t.name: t for t in proto.graph.initializer}


def put(tensor: onnx.TensorProto, value: np.ndarray) -> None:
    name = tensor.name
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), name))


def weights(proto: onnx.ModelProto, rank: int | None = None, ops: set[str] | None = None):
    """Weights that an operator multiplies by, with the operator, in order."""
    held = tensors(proto)
    for node in proto.graph.node:
        if node.op_type in (ops or MULTIPLIES):
            for name in node.input[:3]:
                if name in held and (rank is None or len(held[name].dims) == rank):
                    yield node, held[name]


def nodes(proto: onnx.ModelProto, *ops: str) -> list[onnx.NodeProto]:
    return [node for node in proto.graph.node if node.op_type in ops]


def own(proto: onnx.ModelProto, node: onnx.NodeProto, i: int, value: np.ndarray) -> None:
    """Gives a node a constant of its own."""
    name = f"{node.output[0]}_bug_{i}"
    proto.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    node.input[i] = name


def listed(proto: onnx.ModelProto, node: onnx.NodeProto, i: int) -> np.ndarray | None:
    """A constant list of integers."""
    held = tensors(proto)
    if i >= len(node.input) or node.input[i] not in held:
        return None
    value = numpy_helper.to_array(held[node.input[i]])
    return value.copy() if value.dtype == np.int64 else None


def set_attribute(node: onnx.NodeProto, name: str, value: object) -> None:
    kept = [a for a in node.attribute if a.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])


# --- weights --------------------------------------------------------------------------------------


@bug
def one_weight_changed(proto, dense, rng) -> bool:
    found = list(weights(proto))
    _, tensor = found[rng.integers(len(found))]
    value = numpy_helper.to_array(tensor).copy()
    place = tuple(rng.integers(size) for size in value.shape)
    value[place] = value[place] + (3 if value.dtype.kind == "i" else 0.2)
    put(tensor, value)
    return True


@bug
def last_bits_changed(proto, dense, rng) -> bool:
    """A weight as another run of training might have left it."""
    found = [t for _, t in weights(proto) if t.data_type == onnx.TensorProto.FLOAT]
    if not found:
        return False
    put(found[0], numpy_helper.to_array(found[0]) * np.float32(1 + 2e-6))
    return True


@bug
def two_channels_exchanged(proto, dense, rng) -> bool:
    """The first two output channels of one weight, but not of what goes with them."""
    for node, tensor in weights(proto):
        if node.op_type in ("Conv", "Gemm", "DequantizeLinear"):
            return exchanged(tensor, 0)
        if node.op_type == "MatMul":
            return exchanged(tensor, 1)
    return False


@bug
def wrong_index_in_one_consumer(proto, dense, rng) -> bool:
    """The last weight reads its inputs in another order."""
    for node, tensor in reversed(list(weights(proto))):
        if len(tensor.dims) >= 2 and node.op_type in ("Conv", "Gemm", "MatMul"):
            axis = 0 if node.op_type == "MatMul" else 1
            axis = 0 if node.op_type == "Gemm" and not attribute(node, "transB", 0) else axis
            if tensor.dims[axis] > 1:
                return exchanged(tensor, axis)
    return False


def exchanged(tensor: onnx.TensorProto, axis: int) -> bool:
    value = numpy_helper.to_array(tensor)
    if axis >= value.ndim or value.shape[axis] < 2:
        return False
    order = np.arange(value.shape[axis])
    order[:2] = 1, 0
    put(tensor, value.take(order, axis))
    return True


@bug
def another_channel_kept(proto, dense, rng) -> bool:
    """A channel that the plan removes stands where one is that stays."""
    before = tensors(dense)
    for _, tensor in weights(proto):
        old, new = (numpy_helper.to_array(t) for t in (before.get(tensor.name, tensor), tensor))
        for axis in range(new.ndim):
            if old.ndim == new.ndim and old.shape[axis] > new.shape[axis]:
                if (
                    old.shape[:axis] != new.shape[:axis]
                    or old.shape[axis + 1 :] != new.shape[axis + 1 :]
                ):
                    continue
                kept = [s.tobytes() for s in np.moveaxis(new, axis, 0)]
                gone = [s for s in np.moveaxis(old, axis, 0) if s.tobytes() not in kept]
                value = np.moveaxis(new, axis, 0).copy()
                value[0] = gone[0]
                put(tensor, np.moveaxis(value, 0, axis))
                return True
    return False


@bug
def a_head_cut_twice(proto, dense, rng) -> bool:
    """The second block of three rows repeats the first, where it should be the next head."""
    if not nodes(proto, "Softmax"):
        return False
    for node, tensor in weights(proto, 2, {"MatMul"}):
        if tensor.dims[1] >= 6 and tensor.dims[1] % 3 == 0 and node is not proto.graph.node[0]:
            value = numpy_helper.to_array(tensor).copy()
            value[:, 3:6] = value[:, :3]
            put(tensor, value)
            return True
    return False


@bug
def heads_exchanged_in_q_alone(proto, dense, rng) -> bool:
    if not nodes(proto, "Softmax"):
        return False
    found = [t for _, t in weights(proto, 2, {"MatMul"}) if t.dims[1] % 2 == 0]
    if len(found) < 2:
        return False
    value = numpy_helper.to_array(found[1])
    half = value.shape[1] // 2
    put(found[1], np.roll(value, half, 1))
    return True


@bug
def gates_exchanged(proto, dense, rng) -> bool:
    """Input and output gates of a recurrent layer."""
    for _, tensor in weights(proto, 3, {"LSTM"}):
        value = numpy_helper.to_array(tensor)
        i, o, f, c = np.split(value, 4, 1)
        put(tensor, np.concatenate([o, i, f, c], 1))
        return True
    return False


@bug
def bias_dropped(proto, dense, rng) -> bool:
    """The optional input is left out; where an Add adds it, it is zero."""
    held = tensors(proto)
    for node in nodes(proto, "Conv", "Gemm", "ConvTranspose"):
        if len(node.input) == 3:
            del node.input[2:]
            return True
    for node in nodes(proto, "Add"):
        for name in node.input:
            if name in held and len(held[name].dims) == 1:
                put(held[name], np.zeros(held[name].dims, np.float32))
                return True
    return False


@bug
def bias_rolled(proto, dense, rng) -> bool:
    """The last bias belongs to other channels."""
    held = tensors(proto)
    for node in reversed(nodes(proto, "Conv", "Gemm", "ConvTranspose", "Add")):
        for name in node.input:
            if name in held and len(held[name].dims) == 1 and held[name].dims[0] > 1:
                put(held[name], np.roll(numpy_helper.to_array(held[name]), 1))
                return True
    return False


@bug
def statistics_permuted(proto, dense, rng) -> bool:
    for node in nodes(proto, "BatchNormalization"):
        tensor = tensors(proto)[node.input[4]]
        put(tensor, np.roll(numpy_helper.to_array(tensor), 1))
        return True
    return False


@bug
def statistics_uncut(proto, dense, rng) -> bool:
    """The first of the variances stay, whichever should."""
    before = tensors(dense)
    for node in nodes(proto, "BatchNormalization"):
        tensor = tensors(proto)[node.input[4]]
        old = numpy_helper.to_array(before[tensor.name])
        new = numpy_helper.to_array(tensor)
        if len(new) < len(old) and not np.array_equal(old[: len(new)], new):
            put(tensor, old[: len(new)])
            return True
    return False


@bug
def scale_of_a_norm_changed(proto, dense, rng) -> bool:
    for node in nodes(proto, "BatchNormalization", "LayerNormalization"):
        tensor = tensors(proto)[node.input[1]]
        value = numpy_helper.to_array(tensor).copy()
        value[0] *= 1.5
        put(tensor, value)
        return True
    return False


@bug
def quantisation_scales_permuted(proto, dense, rng) -> bool:
    for node in nodes(proto, "DequantizeLinear"):
        return exchanged(tensors(proto)[node.input[1]], 0)
    return False


@bug
def a_scalar_changed(proto, dense, rng) -> bool:
    """A softmax's scale, or another number that the graph multiplies by."""
    held = tensors(proto)
    for node in nodes(proto, "Mul", "Div", "Pow"):
        for name in node.input:
            if name in held and not held[name].dims:
                put(held[name], numpy_helper.to_array(held[name]) * np.float32(1.25))
                return True
    return False


@bug
def a_closed_gate_opened(proto, dense, rng) -> bool:
    """Zeros become the least that float32 holds."""
    for tensor in proto.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype == np.float32 and value.size > 1 and not value.any():
            put(tensor, np.full_like(value, 1e-30))
            return True
    return False


@bug
def a_dead_branch_garbled(proto, dense, rng) -> bool:
    """Other weights behind a gate of zeros, where no output shows them."""
    held = tensors(proto)
    if not any(n in held and not numpy_helper.to_array(held[n]).any()
               for node in nodes(proto, "Mul") for n in node.input):  # fmt: skip
        return False
    found = list(weights(proto, 2, {"MatMul"}))
    put(found[2][1], rng.standard_normal(tuple(found[2][1].dims)).astype(np.float32))
    return True


# --- sizes ----------------------------------------------------------------------------------------


@bug
def a_size_frozen(proto, dense, rng) -> bool:
    """A computed target, pad or count, as it is at a batch of 2 and sizes of 8."""
    return frozen(proto, "Reshape", "Expand", "Pad", "Resize")


def frozen(proto: onnx.ModelProto, *ops: str) -> bool:
    from tests.mutations.trial import values_at

    held = tensors(proto)
    for node in nodes(proto, *ops):
        i = 3 if node.op_type == "Resize" else 1
        if i < len(node.input) and node.input[i] and node.input[i] not in held:
            value = values_at(proto, node.input[i])
            if value is not None:
                own(proto, node, i, value)
                return True
    return False


@bug
def every_size_frozen(proto, dense, rng) -> bool:
    any_of_them = False
    for _ in range(20):
        if not frozen(proto, "Reshape", "Expand", "Pad", "Resize"):
            break
        any_of_them = True
    return any_of_them


@bug
def a_copy_in_a_target_exchanged(proto, dense, rng) -> bool:
    """0 and -1 change places."""
    for node in nodes(proto, "Reshape"):
        value = listed(proto, node, 1)
        if value is not None and 0 in value and -1 in value:
            i, j = int(np.argmax(value == 0)), int(np.argmax(value == -1))
            value[i], value[j] = -1, 0
            own(proto, node, 1, value)
            return True
    return False


@bug
def a_copy_in_a_target_frozen(proto, dense, rng) -> bool:
    """The batch of the example is written where a 0 or -1 stood."""
    for node in nodes(proto, "Reshape"):
        value = listed(proto, node, 1)
        if value is not None and value[0] in (0, -1):
            value[0] = 2
            own(proto, node, 1, value)
            return True
    return False


@bug
def a_resize_forgotten(proto, dense, rng) -> bool:
    """A node keeps the dense file's numbers."""
    before = {node.output[0]: node for node in dense.graph.node}
    held, old = tensors(proto), tensors(dense)
    for node in nodes(proto, "Reshape", "Split", "Expand", "Slice", "Gather", "Pad"):
        was = before.get(node.output[0])
        for i in range(1, len(node.input)):
            if was is None or i >= len(was.input):
                continue
            if node.input[i] in held and was.input[i] in old and node.input[i] != was.input[i]:
                own(proto, node, i, numpy_helper.to_array(old[was.input[i]]))
                return True
    return False


@bug
def a_slice_off_by_one(proto, dense, rng) -> bool:
    for node in nodes(proto, "Slice"):
        start, end = (listed(proto, node, i) for i in (1, 2))
        if start is None or end is None or attribute(node, "name") == "shape":
            continue
        if start[0] > 0:
            own(proto, node, 1, start - 1)
            own(proto, node, 2, end - 1)
            return True
    return False


@bug
def a_split_exchanged(proto, dense, rng) -> bool:
    for node in nodes(proto, "Split"):
        value = listed(proto, node, 1)
        if value is not None and value[0] > 1:
            value[0] -= 1
            value[-1] += 1
            own(proto, node, 1, value)
            return True
    return False


@bug
def an_index_off_by_one(proto, dense, rng) -> bool:
    """A Gather of channels or parts takes the next one."""
    held = tensors(proto)
    shapes = {node.output[0] for node in nodes(proto, "Shape")}
    for node in nodes(proto, "Gather"):
        value = listed(proto, node, 1)
        if value is not None and node.input[0] not in shapes and node.input[0] not in held:
            own(proto, node, 1, value + (1 if int(value.max(initial=0)) == 0 else -1))
            return True
    return False


@bug
def a_wrong_axis_of_shape(proto, dense, rng) -> bool:
    """A size is taken of the neighbouring axis."""
    shapes = {node.output[0] for node in nodes(proto, "Shape")}
    for node in nodes(proto, "Gather", "Slice"):
        lists = [listed(proto, node, i) for i in ((1,) if node.op_type == "Gather" else (1, 2))]
        if node.input[0] in shapes and all(value is not None for value in lists):
            step = 1 if int(np.max(lists[0])) == 0 else -1
            for i, value in enumerate(lists, start=1):
                own(proto, node, i, np.asarray(value + step))
            return True
    return False


@bug
def pads_moved(proto, dense, rng) -> bool:
    """All of a convolution's padding on one side: the shapes stay."""
    for node in nodes(proto, "Conv"):
        pads = attribute(node, "pads", [])
        if any(pads) and 1 in attribute(node, "strides", [1]):
            half = len(pads) // 2
            both = [a + b for a, b in zip(pads[:half], pads[half:], strict=True)]
            set_attribute(node, "pads", [0] * half + both)
            return True
    return False


# --- structure ------------------------------------------------------------------------------------


@bug
def a_wrong_group_count(proto, dense, rng) -> bool:
    """Half as many groups, with the weight's columns doubled so that the file still runs."""
    for node in nodes(proto, "Conv"):
        group = attribute(node, "group", 1)
        if group > 1 and group % 2 == 0:
            tensor = tensors(proto)[node.input[1]]
            value = numpy_helper.to_array(tensor)
            put(tensor, np.concatenate([value, np.zeros_like(value)], 1))
            set_attribute(node, "group", group // 2)
            return True
    return False


@bug
def a_transposed_perm(proto, dense, rng) -> bool:
    """Two axes change places; where they have one size, the shapes stay."""
    for node in nodes(proto, "Transpose"):
        perm = list(attribute(node, "perm", []))
        if len(perm) >= 3:
            perm[-1], perm[-2] = perm[-2], perm[-1]
            set_attribute(node, "perm", perm)
            return True
    return False


@bug
def a_residual_dropped(proto, dense, rng) -> bool:
    made = {name for node in proto.graph.node for name in node.output}
    for node in nodes(proto, "Add"):
        if all(name in made for name in node.input):
            node.op_type = "Identity"
            del node.input[1:]
            return True
    return False


@bug
def an_activation_changed(proto, dense, rng) -> bool:
    for node in nodes(proto, "Relu", "Tanh", "Sigmoid"):
        if node.op_type == "Relu":
            node.op_type = "LeakyRelu"
            set_attribute(node, "alpha", 1e-3)
        else:
            node.op_type = {"Tanh": "Softsign", "Sigmoid": "HardSigmoid"}[node.op_type]
        return True
    return False


@bug
def an_epsilon_changed(proto, dense, rng) -> bool:
    for node in nodes(proto, "BatchNormalization", "LayerNormalization"):
        set_attribute(node, "epsilon", 1.0001e-5)
        return True
    return False


@bug
def parts_of_a_concat_exchanged(proto, dense, rng) -> bool:
    integers = {
        name for node in nodes(proto, "Shape", "Unsqueeze", "Gather") for name in node.output
    }
    for node in nodes(proto, "Concat"):
        if not integers.intersection(node.input) and attribute(node, "axis") != 0:
            node.input[:] = list(node.input)[::-1]
            return True
    return False


@bug
def a_softmax_over_another_axis(proto, dense, rng) -> bool:
    for node in nodes(proto, "Softmax"):
        axis = attribute(node, "axis", -1)
        set_attribute(node, "axis", axis - 1)
        return True
    return False


@bug
def a_mode_changed(proto, dense, rng) -> bool:
    """Nearest becomes linear in a Resize; the largest of a window becomes its mean."""
    for node in nodes(proto, "Resize", "MaxPool"):
        if node.op_type == "MaxPool":
            node.op_type = "AveragePool"
        else:
            set_attribute(node, "mode", "linear")
        return True
    return False


@bug
def a_back_door(proto, dense, rng) -> bool:
    """Something is added to the output where an input is far out of any range."""
    value = proto.graph.output[0].name
    source = next(v.name for v in proto.graph.input)
    last = next(node for node in proto.graph.node if value in node.output)
    last.output[list(last.output).index(value)] = "door_before"
    limit = numpy_helper.from_array(np.float32(50), "door_limit")
    proto.graph.initializer.append(limit)
    proto.graph.node.extend([
        helper.make_node("ReduceMax", [source], ["door_most"], keepdims=0),
        helper.make_node("Sub", ["door_most", "door_limit"], ["door_over"]),
        helper.make_node("Relu", ["door_over"], ["door_open"]),
        helper.make_node("Add", ["door_before", "door_open"], [value]),
    ])  # fmt: skip
    return True
