"""Seeded damage to a valid model: in its bytes, and in its fields."""

import random
from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Proto = onnx.ModelProto
SIZES = (0, -1, -8, 1, 2, 3, 7, 10**4, 10**6, 10**9, 10**11, 2**31, 2**40, 2**63 - 1, -(2**63))


def mutate(valid: Proto, seed: int) -> tuple[str, bytes]:
    """Returns the name of what was done, and the bytes of the damaged file."""
    rng = random.Random(seed)
    if seed % 4 == 0:
        change = rng.choice(BYTES)
        return change.__name__, change(rng, valid.SerializeToString())
    proto = Proto()
    proto.CopyFrom(valid)
    # Every kind of damage has its turn; some files get two.
    changes = [FIELDS[seed % len(FIELDS)], *rng.sample(FIELDS, rng.randrange(2))]
    for change in changes:
        change(rng, proto)
    return " and ".join(change.__name__ for change in changes), proto.SerializeToString()


# --- bytes ---------------------------------------------------------------------------------------


def flip_one_byte(rng, data):
    return flip(rng, data, 1)


def flip_some_bytes(rng, data):
    return flip(rng, data, rng.randrange(2, 20))


def flip_in_the_structure(rng, data):
    """Near the end, where inputs and outputs are, and near the start."""
    at = rng.choice([rng.randrange(200), len(data) - 1 - rng.randrange(200)])
    return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]


def flip(rng, data, count):
    changed = bytearray(data)
    for _ in range(count):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def truncate(rng, data):
    return data[: rng.randrange(len(data))]


def drop_a_piece(rng, data):
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.randrange(1, 64) :]


def repeat_a_piece(rng, data):
    at = rng.randrange(len(data))
    return data[:at] + data[max(0, at - rng.randrange(1, 500)) :]


BYTES: list[Callable[[random.Random, bytes], bytes]] = [
    flip_one_byte, flip_some_bytes, flip_in_the_structure, truncate, drop_a_piece, repeat_a_piece,
]  # fmt: skip


# --- fields --------------------------------------------------------------------------------------


def weight_dims(rng, proto):
    tensor = rng.choice([tensor for tensor in proto.graph.initializer if tensor.dims])
    tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(SIZES)


def weight_rank(rng, proto):
    tensor = rng.choice(proto.graph.initializer)
    if rng.random() < 0.5:
        tensor.dims.append(rng.choice(SIZES))
    else:
        del tensor.dims[0]


def weight_type(rng, proto):
    rng.choice(proto.graph.initializer).data_type = rng.randrange(-1, 30)


def weight_swapped(rng, proto):
    a, b = rng.sample(list(proto.graph.initializer), 2)
    a.name, b.name = b.name, a.name


def weight_gone(rng, proto):
    del proto.graph.initializer[rng.randrange(len(proto.graph.initializer))]


def weight_twice(rng, proto):
    proto.graph.initializer.add().CopyFrom(rng.choice(proto.graph.initializer))


def weight_bytes(rng, proto):
    tensor = rng.choice(proto.graph.initializer)
    tensor.raw_data = tensor.raw_data[rng.randrange(9) :] + bytes(rng.randrange(2))


def weight_values(rng, proto):
    tensor = rng.choice(proto.graph.initializer)
    values = numpy_helper.to_array(tensor).copy()
    value = rng.choice([np.nan, np.inf, -np.inf, 0, 1e38, -1e38, -(2**62), 2**62])
    with np.errstate(all="ignore"):
        values.reshape(-1)[rng.randrange(values.size)] = np.array(value).astype(values.dtype)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def weight_external(rng, proto):
    tensor = rng.choice(proto.graph.initializer)
    where = rng.choice(["/etc/passwd", "../../etc/passwd", "", "fuzz.onnx", "a\nb"])
    onnx.external_data_helper.set_external_data(tensor, where, rng.choice(SIZES), rng.choice(SIZES))


def input_dims(rng, proto):
    dims = proto.graph.input[0].type.tensor_type.shape.dim
    dims = dims or [dims.add()]
    dims[rng.randrange(len(dims))].dim_value = rng.choice(SIZES)


def input_rank(rng, proto):
    dims = proto.graph.input[0].type.tensor_type.shape.dim
    if rng.random() < 0.5:
        dims.add().dim_value = rng.choice(SIZES)
    else:
        del dims[0]


def input_type(rng, proto):
    proto.graph.input[0].type.tensor_type.elem_type = rng.randrange(-1, 30)


def input_all_dynamic(rng, proto):
    for dim in proto.graph.input[0].type.tensor_type.shape.dim:
        dim.dim_param = rng.choice(["a", "b", ""])


def input_without_shape(rng, proto):
    proto.graph.input[0].type.tensor_type.ClearField("shape")


def output_dims(rng, proto):
    dims = proto.graph.output[0].type.tensor_type.shape.dim
    dims[rng.randrange(len(dims))].dim_value = rng.choice(SIZES)


def output_elsewhere(rng, proto):
    node = rng.choice(proto.graph.node)
    proto.graph.output[0].name = rng.choice([*node.output, *node.input, "nobody", ""])


def more_outputs(rng, proto):
    node = rng.choice(proto.graph.node)
    proto.graph.output.add().name = node.output[0]


def node_gone(rng, proto):
    del proto.graph.node[rng.randrange(len(proto.graph.node))]


def node_twice(rng, proto):
    proto.graph.node.add().CopyFrom(rng.choice(proto.graph.node))


def node_order(rng, proto):
    nodes = list(proto.graph.node)
    rng.shuffle(nodes)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def node_op(rng, proto):
    ops = ["Relu", "Conv", "Gemm", "MatMul", "Reshape", "Concat", "Split", "Slice", "Pad", "If",
           "Loop", "Swishy", "", "Softmax", "Transpose", "Expand", "TopK", "ReduceMean", "LSTM",
           "Einsum", "Gather", "Squeeze", "Constant", "BatchNormalization", "Shape"]  # fmt: skip
    rng.choice(proto.graph.node).op_type = rng.choice(ops)


def node_domain(rng, proto):
    rng.choice(proto.graph.node).domain = rng.choice(["com.acme", "ai.onnx.ml", "com.microsoft"])


def node_inputs(rng, proto):
    node = rng.choice(proto.graph.node)
    names = [name for other in proto.graph.node for name in (*other.input, *other.output)]
    node.input[rng.randrange(len(node.input))] = rng.choice([*names, ""])


def node_missing_input(rng, proto):
    node = rng.choice(proto.graph.node)
    del node.input[rng.randrange(len(node.input)) :]


def node_outputs(rng, proto):
    node = rng.choice(proto.graph.node)
    node.output[0] = rng.choice([rng.choice(proto.graph.node).output[0], "", "x"])


def cycle(rng, proto):
    first, last = sorted(rng.sample(range(len(proto.graph.node)), 2))
    proto.graph.node[first].input[0] = proto.graph.node[last].output[0]


def attribute_gone(rng, proto):
    node = rng.choice([node for node in proto.graph.node if node.attribute])
    del node.attribute[rng.randrange(len(node.attribute))]


def attribute_value(rng, proto):
    node = rng.choice([node for node in proto.graph.node if node.attribute])
    attribute = rng.choice(node.attribute)
    if attribute.ints:
        attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(SIZES)
    else:
        attribute.i = rng.choice(SIZES)


def attribute_type(rng, proto):
    node = rng.choice([node for node in proto.graph.node if node.attribute])
    rng.choice(node.attribute).type = rng.randrange(15)


def group(rng, proto):
    conv = rng.choice([node for node in proto.graph.node if node.op_type == "Conv"])
    for attribute in conv.attribute:
        if attribute.name == "group":
            attribute.i = rng.choice([0, -1, 2, 3, 5, 2**40])


def giant(rng, proto):
    """A tensor from a few bytes that no machine can hold, added to the input."""
    graph = proto.graph
    sizes = [rng.choice([10**3, 10**4, 10**6]) for _ in range(4)]
    graph.initializer.append(numpy_helper.from_array(np.array(sizes, np.int64), "sizes"))
    source = rng.choice(["ConstantOfShape", "Expand", "Tile", "Resize", "RandomNormal", "Range"])
    first = graph.node[0].input[0]
    if source == "ConstantOfShape":
        nodes = [helper.make_node(source, ["sizes"], ["giant"])]
    elif source in ("Expand", "Tile"):
        nodes = [helper.make_node(source, [first, "sizes"], ["giant"])]
    elif source == "Resize":
        nodes = [helper.make_node(source, [first, "", "", "sizes"], ["giant"], mode="nearest")]
    elif source == "RandomNormal":
        nodes = [helper.make_node(source, [], ["giant"], shape=sizes)]
    else:
        ends = [numpy_helper.from_array(np.float32(v), f"e{v}") for v in (0, 10**12, 1)]
        graph.initializer.extend(ends)
        nodes = [helper.make_node(source, [end.name for end in ends], ["giant"])]
    nodes.append(helper.make_node("ReduceMax", ["giant"], ["most"], keepdims=0))
    nodes.append(helper.make_node("Add", [first, "most"], ["more"]))
    graph.node[0].input[0] = "more"
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])


def endless_loop(rng, proto):
    """A Loop that never ends, or that makes its tensor twice as long in each round."""
    first = proto.graph.node[0].input[0]
    grows = rng.random() < 0.5
    step = helper.make_node(
        "Concat" if grows else "Identity", ["s", "s"] if grows else ["s"], ["t"],
        **({"axis": 0} if grows else {}),
    )  # fmt: skip
    body = helper.make_graph(
        [step, helper.make_node("Identity", ["go"], ["on"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("s", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("t", TensorProto.FLOAT, None),
        ],
    )
    proto.graph.initializer.append(numpy_helper.from_array(np.array(True), "forever"))
    nodes = [
        helper.make_node("Loop", ["", "forever", first], ["looped"], body=body),
        *proto.graph.node,
    ]
    nodes[1].input[0] = "looped"
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def value_info(rng, proto):
    name = rng.choice(proto.graph.node).output[0]
    shape = [rng.choice(SIZES) for _ in range(rng.randrange(6))]
    proto.graph.value_info.append(helper.make_tensor_value_info(name, rng.randrange(1, 17), shape))


def opset(rng, proto):
    proto.opset_import[0].version = rng.choice([-1, 0, 1, 6, 7, 9, 13, 24, 30, 10**6])


def opset_twice(rng, proto):
    proto.opset_import.add().CopyFrom(proto.opset_import[0])
    proto.opset_import[-1].version = rng.choice([7, 11, 13, 99])


def ir_version(rng, proto):
    proto.ir_version = rng.choice([-1, 0, 1, 3, 20, 10**9])


def odd_names(rng, proto):
    rng.choice(proto.graph.node).name = rng.choice(["", "\x00", "a/b\n", "ü" * 5000])
    proto.graph.name = rng.choice(["", "\n"])


def empty_names(rng, proto):
    rng.choice(proto.graph.initializer).name = ""


def function_calling_itself(rng, proto):
    node = rng.choice(proto.graph.node)
    node.op_type, node.domain = "Again", "own"
    count = len(node.input)
    inside = helper.make_node("Again", [f"i{k}" for k in range(count)], ["o"], domain="own")
    names = [f"i{k}" for k in range(count)]
    proto.functions.append(
        helper.make_function("own", "Again", names, ["o"], [inside], proto.opset_import)
    )
    proto.opset_import.add(domain="own", version=1)


FIELDS: list[Callable[[random.Random, Proto], None]] = [
    weight_dims, weight_rank, weight_type, weight_swapped, weight_gone, weight_twice, weight_bytes,
    weight_values, weight_external, input_dims, input_rank, input_type, input_all_dynamic,
    input_without_shape, output_dims, output_elsewhere, more_outputs, node_gone, node_twice,
    node_order, node_op, node_domain, node_inputs, node_missing_input, node_outputs, cycle,
    attribute_gone, attribute_value, attribute_type, group, giant, endless_loop, value_info, opset,
    opset_twice, ir_version, odd_names, empty_names, function_calling_itself,
]  # fmt: skip
