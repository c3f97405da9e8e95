"""Running a model once, with every tensor's concrete shape (and every small value) as the result.

Shape inference alone is not enough for real exports: targets of Reshape come out of arithmetic that
only a run resolves. All tensors of one run may take many times the memory that the run takes, so a
throw-away copy of the model gives of every tensor only

1. its shape, by a Shape node of its own, and
2. its first entries, by Reshape and Slice, which are all of a small tensor and tell the type.

Where ONNX Runtime lacks these operators for a tensor's type, or a model handles lists, which have
no shape, all tensors are outputs of the copy as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from spa.errors import ModelError
from spa.graph.execute import Array, bounded, session
from spa.graph.nodes import DEFAULT_DOMAINS, all_nodes, set_nodes
from spa.graph.weightless import without_weights

# Values up to this many elements are kept: shapes, axes, indices, Resize scales, slice bounds.
MAX_KEPT_VALUE = 4096
# Floating ones up to this many.
MAX_KEPT_NUMBERS = 16
# Element types that ONNX Runtime hands to NumPy; the others are no numbers, or NumPy lacks them.
READABLE = {
    "tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16",
    "tensor(bool)": "bool",
    **{f"tensor({s}int{n})": f"{s}int{n}" for s in ("", "u") for n in (8, 16, 32, 64)},
}  # fmt: skip
# Operators that make or hand on what is no tensor.
LISTS = ("Sequence", "Optional")


@dataclass(frozen=True)
class Run:
    """What one run showed.

    Attributes:
        shapes: concrete shape of every tensor that is a plain tensor.
        dtypes: element type of the same, of those that NumPy can hold.
        values: value of every integer or boolean tensor, and of every tiny floating one.
    """

    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, np.dtype[Any]]
    values: Mapping[str, Array]


# A tensor's name, its shape, the runtime's name of its type, and its first entries.
Seen = tuple[str, tuple[int, ...], str, ort.OrtValue]


class Observer:
    """Runs a model and records the shape of every tensor in its main graph.

    One session serves several runs, as loading the weights costs more than running them.

    Args:
        proto: the model; it is not changed.

    Attributes:
        peeks: whether it looks at shapes and first entries alone (see the module's text).

    Raises:
        ModelError: the model cannot be loaded.
    """

    def __init__(self, proto: onnx.ModelProto) -> None:
        self._names = [name for node in proto.graph.node for name in node.output if name]
        self.peeks = not _handles_lists(proto)
        try:
            self._session = _opened(proto, self._names, peek=self.peeks)
        except ModelError:
            if not self.peeks:
                raise
            self.peeks = False
            self._session = _opened(proto, self._names, peek=False)

    def run(self, feeds: Mapping[str, Array]) -> Run:
        """Runs the model once.

        Raises:
            ModelError: it takes too long.
            RunError: it cannot be run on these inputs.
        """
        shapes = {name: tuple(value.shape) for name, value in feeds.items()}
        dtypes = {name: value.dtype for name, value in feeds.items()}
        values: dict[str, Array] = {}
        for name, shape, kind, head in self._seen(feeds):
            shapes[name] = shape
            if kind not in READABLE:
                continue
            dtypes[name] = np.dtype(READABLE[kind])
            size = math.prod(shape)
            if size <= MAX_KEPT_NUMBERS or (dtypes[name].kind in "iub" and size <= MAX_KEPT_VALUE):
                # A copy, so that nothing of the run's memory is held.
                values[name] = head.numpy().reshape(shape).copy()
        return Run(shapes, dtypes, values)

    def _seen(self, feeds: Mapping[str, Array]) -> Iterator[Seen]:
        inputs = {name: ort.OrtValue.ortvalue_from_numpy(value) for name, value in feeds.items()}
        outputs = bounded(lambda options: self._session.run_with_ort_values(None, inputs, options))
        if self.peeks:
            pairs = zip(outputs[::2], outputs[1::2], strict=True)
            for name, (shape, head) in zip(self._names, pairs, strict=True):
                yield name, tuple(shape.numpy().tolist()), head.data_type(), head
            return
        for name, output in zip(self._names, outputs, strict=True):
            if output.has_value() and output.is_tensor():
                yield name, tuple(output.shape()), output.data_type(), output


def _handles_lists(proto: onnx.ModelProto) -> bool:
    nodes = list(all_nodes(proto.graph.node))
    return any(
        any(word in node.op_type for word in LISTS) or node.domain == "ai.onnx.ml" for node in nodes
    )


def _opened(proto: onnx.ModelProto, names: Sequence[str], *, peek: bool) -> ort.InferenceSession:
    """A session that gives all tensors, or every tensor's shape and first entries.

    These are taken as soon as a tensor is made, so that it is held no longer than others need it.
    """
    opened, large = without_weights(proto)
    # Stale annotations of intermediate tensors would make the runtime refuse a good model.
    del opened.graph.output[:], opened.graph.value_info[:]
    outputs = list(names)
    if peek:
        heads = _Heads(opened)
        set_nodes(opened.graph, [new for node in opened.graph.node for new in heads.after(node)])
        outputs = [output for name in names for output in heads.names(name)]
    opened.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    return session(opened, large, optimize=False, once=True, in_order=peek)


class _Heads:
    """Nodes that take a tensor's shape and first entries; their constants go to the model."""

    def __init__(self, opened: onnx.ModelProto) -> None:
        versions = [e.version for e in opened.opset_import if e.domain in DEFAULT_DOMAINS]
        self._sliced_by_attributes = min(versions, default=1) < 10
        for key, value in (("flat", -1), ("first", 0), ("end", MAX_KEPT_VALUE)):
            tensor = onnx.numpy_helper.from_array(np.array([value], np.int64), f"spa/{key}")
            opened.graph.initializer.append(tensor)
            if opened.ir_version < 4:
                value_info = onnx.helper.make_tensor_value_info(f"spa/{key}", tensor.data_type, [1])
                opened.graph.input.append(value_info)

    @staticmethod
    def names(name: str) -> tuple[str, str]:
        return f"spa/shape/{name}", f"spa/head/{name}"

    def after(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """A node, and those that look at its outputs."""
        yield node
        for name in filter(None, node.output):
            shape, head = self.names(name)
            flat = f"spa/flat/{name}"
            yield onnx.NodeProto(op_type="Shape", input=[name], output=[shape])
            yield onnx.NodeProto(op_type="Reshape", input=[name, "spa/flat"], output=[flat])
            if self._sliced_by_attributes:
                yield onnx.helper.make_node(
                    "Slice", [flat], [head], starts=[0], ends=[MAX_KEPT_VALUE]
                )
            else:
                inputs = [flat, "spa/first", "spa/end"]
                yield onnx.NodeProto(op_type="Slice", input=inputs, output=[head])
