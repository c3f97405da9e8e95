"""onnx.checker, on a copy without what is no fault of the graph's: stale or missing annotations."""

from __future__ import annotations

import onnx

from spa.graph.deferred import is_deferred
from spa.graph.nodes import DEFAULT_DOMAINS
from spa.graph.read import first_line, wrong_size
from spa.graph.weightless import list_as_inputs, without_weights

DEPRECATED = "spa.deprecated"

FAILURES = (
    onnx.checker.ValidationError,
    onnx.shape_inference.InferenceError,
    ValueError,
)


def check(proto: onnx.ModelProto, *, full: bool = False) -> str | None:
    """Returns what is wrong with a model in one line, or None.

    Args:
        proto: the model; it is not changed.
        full: check shapes too.
    """
    bare, large = without_weights(proto)
    for tensor in large:
        problem = _size_problem(tensor)
        if problem is not None:
            return problem
    # The checker sees large weights as inputs of the same type and shape.
    list_as_inputs(bare.graph, large)
    del bare.graph.value_info[:]
    unshaped = [
        output.type.tensor_type
        for output in bare.graph.output
        if output.type.HasField("tensor_type") and not output.type.tensor_type.HasField("shape")
    ]
    _set_aside_deprecated(bare)
    try:
        # Some exporters declare no shape for an output. Runtimes need none; the checker does, but
        # inference would take the empty one for that of a scalar.
        for kind in unshaped:
            kind.shape.SetInParent()
        onnx.checker.check_model(bare)
        for kind in unshaped:
            kind.ClearField("shape")
        if full:
            onnx.shape_inference.infer_shapes(bare, check_type=True, strict_mode=True)
    except FAILURES as error:
        return first_line(error)
    return None


def _set_aside_deprecated(proto: onnx.ModelProto) -> None:
    """Gives deprecated operators a domain that the checker does not know.

    The checker refuses them, yet runtimes may know them still: GroupNormalization of opset 18 was
    deprecated from its first day on. Where they do not, the first run says so.
    """
    domains = {entry.domain: entry.version for entry in proto.opset_import}
    opset = domains.get("", domains.get("ai.onnx", 1))
    aside = False
    for node in proto.graph.node:
        if node.domain in DEFAULT_DOMAINS and _is_deprecated(node.op_type, opset):
            node.domain = DEPRECATED
            aside = True
    if aside:
        proto.opset_import.append(onnx.helper.make_opsetid(DEPRECATED, 1))


def _is_deprecated(op: str, opset: int) -> bool:
    try:
        return bool(onnx.defs.get_schema(op, opset).deprecated)
    except onnx.defs.SchemaError:
        return False


def _size_problem(tensor: onnx.TensorProto) -> str | None:
    """Says when a tensor's bytes are not what its type and shape need."""
    return None if is_deferred(tensor) else wrong_size(tensor, len(tensor.raw_data))
