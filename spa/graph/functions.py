"""Model-local functions are inlined, call by call, as the sizes inside follow each call's own.

onnx does that, but for three things:
1. It forgets an attribute's default where the call leaves the attribute out.
2. It leaves alone functions of another opset than the model's. Where no operator in them differs
   between the two, the model's is as good.
3. It works on the serialised model, which large weights must not be part of.
"""

from __future__ import annotations

import onnx
from onnx import inliner

from spa.graph.function_size import check_inlined_size
from spa.graph.nodes import DEFAULT_DOMAINS, all_nodes
from spa.graph.opsets import same_operators
from spa.graph.weightless import copy_lacking, without_weights


def inlined(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a model without model-local functions.

    Raises:
        ModelError: it would become too large, or never end.
        Exception: several kinds, of onnx's own, for functions that are damaged.
    """
    _, large = without_weights(proto)
    copy = copy_lacking(proto, {tensor.name for tensor in large})  # 3
    check_inlined_size(copy)
    _fill_defaults(copy)  # 1
    _align_opsets(copy)  # 2
    result = inliner.inline_local_functions(copy)
    places = {tensor.name: tensor for tensor in result.graph.initializer}
    for tensor in large:
        places[tensor.name].CopyFrom(tensor)
    return result


def _fill_defaults(proto: onnx.ModelProto) -> None:
    defaults = {(f.domain, f.name, f.overload): f.attribute_proto for f in proto.functions}
    for nodes in (proto.graph.node, *(function.node for function in proto.functions)):
        for node in all_nodes(nodes):
            given = {attribute.name for attribute in node.attribute}
            for default in defaults.get((node.domain, node.op_type, node.overload), ()):
                if default.name not in given:
                    node.attribute.append(default)


def _align_opsets(proto: onnx.ModelProto) -> None:
    versions = {entry.domain: entry.version for entry in proto.opset_import}
    for function in proto.functions:
        for entry in function.opset_import:
            old, new = entry.version, versions.get(entry.domain, entry.version)
            if entry.domain in DEFAULT_DOMAINS and same_operators(function.node, old, new):
                entry.version = new
