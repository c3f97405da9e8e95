"""Running a model once, with every tensor's concrete shape (and every small value) as the result.

Shape inference alone is not enough for real exports: targets of Reshape come out of arithmetic that
only a run resolves. So every intermediate tensor is made a graph output of a throw-away copy.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from spa.errors import ModelError, RunError
from spa.graph.read import first_line

Array = npt.NDArray[Any]

# Values up to this many elements are kept: shapes, axes, indices, Resize scales, slice bounds.
MAX_KEPT_VALUE = 4096

ort.set_default_logger_severity(4)


@dataclass(frozen=True)
class Run:
    """What one run showed.

    Attributes:
        shapes: concrete shape of every tensor that is a plain tensor.
        dtypes: element type of the same.
        values: value of every integer or boolean tensor, and of every tiny floating one.
    """

    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, np.dtype[Any]]
    values: Mapping[str, Array]


def session(
    proto: onnx.ModelProto, *, optimize: bool = True, threads: int = 0
) -> ort.InferenceSession:
    """Makes a silent CPU session.

    Raises:
        ModelError: ONNX Runtime refuses the model.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
    try:
        return ort.InferenceSession(
            proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime's exceptions share no base but Exception.
        raise ModelError(f"ONNX Runtime cannot load the model: {_clean(error)}") from error


def run(
    proto: onnx.ModelProto, feeds: Mapping[str, Array], *, optimize: bool = True
) -> list[Array]:
    """Runs a model and returns its outputs in order.

    Raises:
        ModelError: the model cannot be loaded.
        RunError: it cannot be run on these inputs.
    """
    return run_session(session(proto, optimize=optimize), feeds)


def run_session(runner: ort.InferenceSession, feeds: Mapping[str, Array]) -> list[Array]:
    """Runs a session that is there already; errors as in `run`."""
    try:
        outputs: list[Array] = runner.run(None, dict(feeds))
    except Exception as error:  # ONNX Runtime's exceptions share no base but Exception.
        raise RunError(f"ONNX Runtime cannot run the model: {_clean(error)}") from error
    return outputs


def observe(proto: onnx.ModelProto, feeds: Mapping[str, Array]) -> Run:
    """Runs a model and records the shape of every tensor in its main graph.

    Args:
        proto: the model; it is not changed.
        feeds: example inputs by name.

    Raises:
        ModelError: the model cannot be loaded.
        RunError: it cannot be run on these inputs.
    """
    with _every_tensor_as_output(proto) as (open_proto, names):
        runner = session(open_proto, optimize=False)
        inputs = {name: ort.OrtValue.ortvalue_from_numpy(value) for name, value in feeds.items()}
        try:
            outputs = runner.run_with_ort_values(names, inputs)
        except Exception as error:  # ONNX Runtime's exceptions share no base but Exception.
            raise RunError(f"ONNX Runtime cannot run the model: {_clean(error)}") from error
    shapes: dict[str, tuple[int, ...]] = {name: value.shape for name, value in feeds.items()}
    dtypes: dict[str, np.dtype[Any]] = {name: value.dtype for name, value in feeds.items()}
    values: dict[str, Array] = {}
    for name, output in zip(names, outputs, strict=True):
        if not output.has_value() or not output.is_tensor():
            continue
        shapes[name] = tuple(output.shape())
        if output.data_type() == "tensor(string)":
            continue
        size = int(np.prod(shapes[name], dtype=np.int64))
        if output.data_type() == "tensor(bfloat16)":
            continue
        if size <= MAX_KEPT_VALUE:
            array = output.numpy()
            dtypes[name] = array.dtype
            if array.dtype.kind in "iub" or size <= 16:
                values[name] = array
    return Run(shapes, dtypes, values)


@contextlib.contextmanager
def _every_tensor_as_output(proto: onnx.ModelProto) -> Iterator[tuple[onnx.ModelProto, list[str]]]:
    names = [name for node in proto.graph.node for name in node.output if name]
    opened = onnx.ModelProto()
    opened.CopyFrom(proto)
    del opened.graph.output[:]
    # Stale annotations of intermediate tensors would make the runtime refuse a good model.
    del opened.graph.value_info[:]
    opened.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    yield opened, names


def _clean(error: Exception) -> str:
    """ONNX Runtime's own sentence without its source paths and codes."""
    text = first_line(error)
    for mark in ("Status Message: ", " : FAIL : ", "INVALID_ARGUMENT : ", "INVALID_GRAPH : "):
        text = text.rpartition(mark)[2]
    return text[:400]
