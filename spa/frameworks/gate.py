"""The gate that every export passes.

All exporters were seen to write a wrong or unloadable file without any error. So: stale shapes of
tensors within go, the full checker, the inputs that were expected and no others, and ONNX Runtime
equal to the framework's own outputs, at two batch sizes, on norms that do something (a worker sends
a probe with random ones where the model's are fresh).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from spa.errors import FrameworkError, ModelError
from spa.graph.check import check
from spa.graph.execute import run
from spa.graph.nodes import real_inputs

Array = npt.NDArray[Any]

# Largest difference, as a share of the output's largest value.
TOLERANCE = 1e-4
# The same where numbers in half precision are computed with, which round by 5e-4 at every step.
HALF_TOLERANCE = 1e-2


def tidied(proto: onnx.ModelProto) -> onnx.ModelProto:
    """An exported model without what exporters write wrongly, in place.

    Shapes of tensors within are dropped (jax2onnx leaves those of another layout), and weights are
    no inputs (MXNet lists them). Sizes of outputs that say 0 are free (MXNet again). Zeros around
    what a MaxPool reads (Keras's ResNetV2) are the smallest numbers above: ONNX Runtime makes
    zeros that pool's own padding, which is below all numbers.
    """
    graph = proto.graph
    del graph.value_info[:]
    inputs = real_inputs(graph)
    del graph.input[:]
    graph.input.extend(inputs)
    for value in graph.output:
        for dim in value.type.tensor_type.shape.dim:
            if dim.HasField("dim_value") and dim.dim_value == 0:
                dim.Clear()
    _set_zeros_apart(graph)
    return proto


def _set_zeros_apart(graph: onnx.GraphProto) -> None:
    pooled = {node.input[0] for node in graph.node if node.op_type == "MaxPool"}
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        given = list(node.input[2:3])
        if (
            node.op_type != "Pad"
            or node.output[0] not in pooled
            or not set(given) <= {"", *tensors}
        ):
            continue
        zero = np.zeros((), np.float32)
        if any(given):
            zero = onnx.numpy_helper.to_array(tensors[given[0]])
        if zero.dtype.kind != "f" or zero.any():
            continue
        tiny = np.full(zero.shape, np.finfo(zero.dtype).tiny, zero.dtype)
        graph.initializer.append(onnx.numpy_helper.from_array(tiny, f"{node.output[0]}/zero"))
        node.input[:] = [*node.input[:2], graph.initializer[-1].name, *node.input[3:]]


def passed(
    proto: onnx.ModelProto,
    examples: Sequence[Sequence[Array]],
    outputs: Sequence[Sequence[Array]],
    what: str,
) -> onnx.ModelProto:
    """Holds an export to its framework's own outputs.

    Args:
        proto: what an exporter wrote; it is tidied in place.
        examples: inputs in order, for each example.
        outputs: the framework's own outputs in order, for each example.
        what: what was exported, for messages.

    Returns:
        The same model.

    Raises:
        FrameworkError: it is not what the framework computes; the message says how.
    """
    tidied(proto)
    problem = check(proto, full=True)
    if problem is not None:
        raise FrameworkError(f"The export of {what} is not valid ONNX: {problem}")
    names = [value.name for value in real_inputs(proto.graph)]
    if len(names) != len(examples[0]):
        raise FrameworkError(
            f"The export of {what} has {len(names)} inputs ({', '.join(names)}), but the model "
            f"takes {len(examples[0])}: the exporter made inputs of constants."
        )
    for inputs, wanted in zip(examples, outputs, strict=True):
        try:
            found = run(proto, dict(zip(names, inputs, strict=True)))
        except ModelError as error:
            raise FrameworkError(f"The export of {what} does not run: {error}") from error
        if len(found) != len(wanted):
            raise FrameworkError(
                f"The export of {what} gives {len(found)} outputs, the model {len(wanted)}."
            )
        for i, (have, want) in enumerate(zip(found, wanted, strict=True)):
            _agree(have, want, f"Output {i} of the export of {what}", tolerance_of(proto))
    return proto


def tolerance_of(proto: onnx.ModelProto) -> float:
    """How far two runtimes may be apart on a model, as a share of the scale."""
    half = onnx.TensorProto.FLOAT16
    types = [tensor.data_type for tensor in proto.graph.initializer]
    types += [a.i for n in proto.graph.node if n.op_type == "Cast" for a in n.attribute]
    types += [v.type.tensor_type.elem_type for v in (*proto.graph.input, *proto.graph.output)]
    return HALF_TOLERANCE if half in types else TOLERANCE


def _agree(have: Array, want: Array, what: str, allowed: float) -> None:
    if have.shape != want.shape:
        raise FrameworkError(f"{what} has shape {have.shape}, but the model gives {want.shape}.")
    scale = float(np.abs(want).max()) if want.size else 0.0
    gap = float(np.abs(have - want).max()) / (scale or 1.0) if want.size else 0.0
    if not gap <= allowed:
        raise FrameworkError(
            f"{what} differs from the model's own by {gap:.1e} of its scale; {allowed:g} is "
            "allowed."
        )
