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

from spa.errors import ModelError, RunError
from spa.graph.deferred import is_deferred
from spa.graph.execute import Array, fetch, run_in_stages, session
from spa.graph.nodes import DEFAULT_DOMAINS, set_nodes
from spa.graph.stages import handles_lists
from spa.graph.standins import show_through, stand_ins
from spa.graph.weightless import list_as_inputs, without_weights

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


@dataclass(frozen=True)
class Run:
    """What one run showed.

    Attributes:
        shapes: concrete shape of every tensor that is a plain tensor, initializers included.
        dtypes: element type of the others of these, of those that NumPy can hold.
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
        self._graph = proto.graph
        self._held = {tensor.name: tuple(tensor.dims) for tensor in proto.graph.initializer}
        self._deferred = [tensor for tensor in proto.graph.initializer if is_deferred(tensor)]
        self._stand_ins = stand_ins(self._deferred)
        self.peeks = not handles_lists(proto)
        try:
            self._open(proto)
        except ModelError:
            if not self.peeks:
                raise
            self.peeks = False
            self._open(proto)

    def _open(self, proto: onnx.ModelProto) -> None:
        """Makes a session that gives all tensors, or every tensor's shape and first entries.

        These are taken as soon as a tensor is made, so that it is held no longer than others need
        it. Weights that are not held are inputs.
        """
        self._opened, self._large = without_weights(proto)
        graph = self._opened.graph
        # Stale annotations of intermediate tensors would make the runtime refuse a good model.
        del graph.output[:], graph.value_info[:]
        self._outputs = list(self._names)
        if self.peeks:
            heads = _Heads(self._opened)
            set_nodes(graph, [new for node in graph.node for new in heads.after(node)])
            self._outputs = [output for name in self._names for output in heads.names(name)]
        graph.output.extend(onnx.ValueInfoProto(name=name) for name in self._outputs)
        free, _ = without_weights(self._opened)
        list_as_inputs(free.graph, self._deferred)
        there = [tensor for tensor in self._large if tensor.name not in self._stand_ins]
        self._session = session(free, there, optimize=False, once=True, in_order=self.peeks)

    def run(self, feeds: Mapping[str, Array]) -> Run:
        """Runs the model once.

        Raises:
            ModelError: it takes too long.
            RunError: it cannot be run on these inputs.
        """
        inputs = {name: ort.OrtValue.ortvalue_from_numpy(value) for name, value in feeds.items()}
        try:
            outputs = fetch(self._session, self._outputs, {**inputs, **self._stand_ins})
            run = self._recorded(feeds, outputs)
            if not self._deferred or not show_through(
                self._graph, self._stand_ins, run.dtypes, run.values
            ):
                return run
        except RunError:
            if not self._deferred:
                raise
        (outputs,), _owners = run_in_stages(
            self._opened,
            [inputs],
            self._outputs,
            weights=self._large,
            optimize=False,
            in_order=self.peeks,
        )
        return self._recorded(feeds, outputs)

    def _recorded(self, feeds: Mapping[str, Array], outputs: Sequence[ort.OrtValue]) -> Run:
        shapes = {**self._held, **{name: tuple(value.shape) for name, value in feeds.items()}}
        dtypes = {name: value.dtype for name, value in feeds.items()}
        values: dict[str, Array] = {}
        for name, shape, kind, head in self._seen(outputs):
            shapes[name] = shape
            if kind not in READABLE:
                continue
            dtypes[name] = np.dtype(READABLE[kind])
            size = math.prod(shape)
            if size <= MAX_KEPT_NUMBERS or (dtypes[name].kind in "iub" and size <= MAX_KEPT_VALUE):
                # A copy, so that nothing of the run's memory is held.
                values[name] = head.numpy().reshape(shape).copy()
        return Run(shapes, dtypes, values)

    def _seen(self, outputs: Sequence[ort.OrtValue]) -> Iterator[Seen]:
        if self.peeks:
            pairs = zip(outputs[::2], outputs[1::2], strict=True)
            for name, (shape, head) in zip(self._names, pairs, strict=True):
                yield name, tuple(shape.numpy().tolist()), head.data_type(), head
            return
        for name, output in zip(self._names, outputs, strict=True):
            if output.has_value() and output.is_tensor():
                yield name, tuple(output.shape()), output.data_type(), output


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
