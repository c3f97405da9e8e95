"""onnx.checker, on a copy without what is no fault of the graph's: stale or missing annotations."""

from __future__ import annotations

import onnx

from spa.graph.read import first_line

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
    bare = onnx.ModelProto()
    bare.CopyFrom(proto)
    del bare.graph.value_info[:]
    unshaped = [
        output.type.tensor_type
        for output in bare.graph.output
        if output.type.HasField("tensor_type") and not output.type.tensor_type.HasField("shape")
    ]
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
