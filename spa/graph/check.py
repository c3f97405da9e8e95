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
    for output in bare.graph.output:
        # Some exporters declare no shape; runtimes do not need one.
        if output.type.HasField("tensor_type"):
            output.type.tensor_type.shape.SetInParent()
    try:
        onnx.checker.check_model(bare, full_check=full)
    except FAILURES as error:
        return first_line(error)
    return None
