"""What copies are spared before they are run: what ONNX Runtime refuses though it could run it.

1. It refuses an IR version or an opset beyond the newest that it knows, whatever the file holds.
   The copies say the newest known one instead. That changes nothing where no operator of the file
   changed in between; where one did, ONNX Runtime's refusal stands.
2. Without its optimiser it crashes where the last outputs of a BatchNormalization are left out by
   empty names. Such names mean nothing, and are dropped.
3. It crashes on com.microsoft's Attention without a bias, which gets one of zeros.
4. One rewrite of its optimiser moves quantisation along the graph and ends the whole process where
   it meets what a Loop's body reads from outside. Such models are run without that rewrite.
5. A GRU or LSTM over an empty batch, or over no steps, ends the whole process, and so does an
   Einsum of empty tensors. Two Reshapes that change nothing stand before each, and are refused
   where an axis is empty.
"""

from __future__ import annotations

import functools

import numpy as np
import onnx
import onnxruntime as ort

from spa.graph.nodes import DEFAULT_DOMAINS, all_nodes, set_nodes, subgraphs
from spa.graph.opsets import same_operators

# Every ONNX Runtime that SPA can be installed with knows these.
OLD_IR, OLD_OPSET = 10, 21
# Recurrent operators that must not meet an empty batch or sequence (5).
RECURRENT = frozenset({"GRU", "LSTM", "DynamicQuantizeLSTM"})


def make_runnable(proto: onnx.ModelProto) -> None:
    """Changes a copy, in place, as the module's text says."""
    _lower_versions(proto)  # 1
    for node in proto.graph.node:  # 2
        while node.output and not node.output[-1]:
            node.output.pop()
    if any(_lacks_bias(node) for node in proto.graph.node):  # 3
        _add_biases(proto.graph)
    refuse_empty(proto.graph)  # 5


def refuse_empty(graph: onnx.GraphProto) -> None:
    """Makes an error of what would end the process (5), in subgraphs too."""
    for node in graph.node:
        for attribute in node.attribute:
            for inner in subgraphs(attribute):
                refuse_empty(inner)
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        for i, rank in _never_empty(node):
            nodes += _refusing(node, i, rank)
        nodes.append(node)
    if len(nodes) > len(graph.node):
        set_nodes(graph, nodes)


def _never_empty(node: onnx.NodeProto) -> list[tuple[int, int]]:
    """Positions and ranks of the inputs that must not be empty."""
    if node.op_type in RECURRENT:
        return [(0, 3)]
    if node.op_type != "Einsum":
        return []
    (equation,) = (a.s.decode() for a in node.attribute if a.name == "equation")
    terms = equation.replace(" ", "").partition("->")[0].split(",")
    return [(i, len(term)) for i, term in enumerate(terms) if len(term) > 1 and "." not in term]


def _refusing(node: onnx.NodeProto, i: int, rank: int) -> list[onnx.NodeProto]:
    """Two Reshapes before an input: a -1 cannot be told beside an axis that is copied and empty."""
    stem, nodes = f"{next(filter(None, node.output))}/full_{i}", []
    for axis in (0, 1):
        target = np.zeros(rank, np.int64)
        target[axis] = -1
        names = f"{stem}/target_{axis}", f"{stem}/{axis}"
        value = onnx.numpy_helper.from_array(target)
        nodes += [
            onnx.helper.make_node("Constant", [], names[:1], value=value),
            onnx.helper.make_node("Reshape", [node.input[i], names[0]], names[1:]),
        ]
        node.input[i] = names[1]
    return nodes


def deadly_rewrites(proto: onnx.ModelProto) -> set[str]:
    """Names of ONNX Runtime's rewrites that must not see this model (4)."""
    nodes = list(all_nodes(proto.graph.node))
    quantised = any(node.op_type == "DequantizeLinear" for node in nodes)
    branching = any(subgraphs(attribute) for node in nodes for attribute in node.attribute)
    return {"QDQPropagationTransformer"} if quantised and branching else set()


def _lacks_bias(node: onnx.NodeProto) -> bool:
    attention = node.domain == "com.microsoft" and node.op_type == "Attention"
    return attention and (len(node.input) < 3 or not node.input[2])


def _add_biases(graph: onnx.GraphProto) -> None:
    """Fills them as the model runs, as large weights are not in the copy."""
    nodes = []
    for node in graph.node:
        if _lacks_bias(node):
            stem = f"{node.output[0]}/bias"
            one = onnx.numpy_helper.from_array(np.ones(1, np.int64))
            for op, inputs, attributes in (
                ("Constant", [], {"value": one}),
                ("Shape", [node.input[1]], {}),
                ("Gather", [f"{stem}/Shape", f"{stem}/Constant"], {}),
                ("ConstantOfShape", [f"{stem}/Gather"], {}),
            ):
                made = onnx.helper.make_node(op, inputs, [f"{stem}/{op}"], **attributes)
                nodes.append(made)
            inputs = [*node.input[:2], f"{stem}/ConstantOfShape", *node.input[3:]]
            del node.input[:]
            node.input.extend(inputs)
        nodes.append(node)
    set_nodes(graph, nodes)


def _lower_versions(proto: onnx.ModelProto) -> None:
    if proto.ir_version > OLD_IR:
        proto.ir_version = min(proto.ir_version, _newest()[0])
    for entry in proto.opset_import:
        if entry.domain not in DEFAULT_DOMAINS or entry.version <= OLD_OPSET:
            continue
        known = _newest()[1]
        # Of an opset that onnx does not know, nobody here knows what changed.
        if known < entry.version <= onnx.defs.onnx_opset_version() and same_operators(
            proto.graph.node, known, entry.version
        ):
            entry.version = known


@functools.cache
def _newest() -> tuple[int, int]:
    """The newest IR version and opset that ONNX Runtime takes."""
    ir = next(v for v in range(onnx.IR_VERSION, 0, -1) if v <= OLD_IR or _loads(v, OLD_OPSET))
    newest = onnx.defs.onnx_opset_version()
    opset = next(v for v in range(newest, 0, -1) if v <= OLD_OPSET or _loads(OLD_IR, v))
    return ir, opset


def _loads(ir: int, opset: int) -> bool:
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    proto = onnx.helper.make_model(
        onnx.helper.make_graph([node], "probe", value[:1], value[1:]),
        opset_imports=[onnx.helper.make_opsetid("", opset)],
        ir_version=ir,
    )
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception:  # ONNX Runtime's exceptions share no base but Exception.
        return False
    return True
