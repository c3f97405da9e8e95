"""Small ONNX models for tests: a builder that knows how every opset writes an operator.

`Builder` emits nodes and weights one after another. `from_text` reads ONNX text and gives the named
inputs random weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STORAGES = ("initializer", "constant", "identity", "input")
IR_VERSION = 8


class Builder:
    """Collects the nodes and weights of one model.

    Args:
        opset: version of the standard operator set.
        batch: a fixed batch size, or a name for a dynamic one.
        seed: of the weights.
        storage: where weights live: plain initializers, Constant nodes, initializers behind
            Identity, or initializers that are listed as graph inputs too.
    """

    def __init__(
        self,
        opset: int = 17,
        batch: int | str = "N",
        seed: int = 0,
        storage: str = "initializer",
    ) -> None:
        self.opset = opset
        self.batch = batch
        self.storage = storage
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self._numbers: dict[str, int] = {}

    # --- naming, weights, nodes ------------------------------------------------------------------

    def fresh(self, stem: str) -> str:
        number = self._numbers.get(stem, 0)
        self._numbers[stem] = number + 1
        return f"{stem}{number}"

    def input(self, *shape: int | str, name: str = "x", dtype: int = TensorProto.FLOAT) -> str:
        """A graph input; the batch axis comes first."""
        self.inputs.append(helper.make_tensor_value_info(name, dtype, [self.batch, *shape]))
        return name

    def weight(self, array: np.ndarray, stem: str = "w", storage: str | None = None) -> str:
        name = self.fresh(stem)
        array = np.asarray(array)
        storage = storage or self.storage
        if storage == "constant":
            tensor = numpy_helper.from_array(array)
            self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
            return name
        self.initializers.append(numpy_helper.from_array(array, name))
        if storage == "input":
            self.inputs.append(
                helper.make_tensor_value_info(
                    name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
                )
            )
        if storage == "identity":
            return self.node("Identity", [name])
        return name

    def normal(self, *shape: int, stem: str = "w", storage: str | None = None) -> str:
        """A random weight, scaled so that activations keep their size."""
        fan = max(1, int(np.prod(shape[1:])))
        value = self.rng.standard_normal(shape) / np.sqrt(fan)
        return self.weight(value.astype(np.float32), stem, storage)

    def ints(self, values: Sequence[int] | int, stem: str = "k") -> str:
        return self.weight(np.asarray(values, dtype=np.int64), stem, "initializer")

    def node(self, op: str, inputs: Sequence[str], outputs: int | Sequence[str] = 1, **attrs):
        """Adds a node; returns its output's name, or a list of them."""
        names = (
            [self.fresh(op.lower() + "_") for _ in range(outputs)]
            if isinstance(outputs, int)
            else list(outputs)
        )
        attrs = {k: v for k, v in attrs.items() if v is not None}
        domain = attrs.pop("domain", "")
        first = next(name for name in names if name)
        self.nodes.append(
            helper.make_node(op, list(inputs), names, name=f"n_{first}", domain=domain, **attrs)
        )
        return names[0] if len(names) == 1 and isinstance(outputs, int) else names

    # --- operators that changed over the opsets --------------------------------------------------

    def conv(
        self, x: str, cin: int, cout: int, k: int = 3, *, group: int = 1, bias: bool = True,
        stride: int = 1, rank: int = 2, weight: str | None = None,
    ) -> str:  # fmt: skip
        w = weight or self.normal(cout, cin // group, *(k,) * rank)
        inputs = [x, w] + ([self.normal(cout, stem="b")] if bias else [])
        return self.node(
            "Conv", inputs, kernel_shape=[k] * rank, pads=[k // 2] * 2 * rank,
            strides=[stride] * rank, group=group,
        )  # fmt: skip

    def conv_transpose(
        self, x: str, cin: int, cout: int, k: int = 2, *, group: int = 1, bias: bool = True,
        stride: int = 1,
    ) -> str:  # fmt: skip
        w = self.normal(cin, cout // group, k, k)
        inputs = [x, w] + ([self.normal(cout, stem="b")] if bias else [])
        return self.node("ConvTranspose", inputs, strides=[stride] * 2, group=group)

    def gemm(self, x: str, cin: int, cout: int, *, trans: int = 1, bias: bool = True) -> str:
        w = self.normal(*((cout, cin) if trans else (cin, cout)))
        inputs = [x, w]
        if bias or self.opset < 11:
            inputs.append(self.normal(cout, stem="b"))
        return self.node("Gemm", inputs, transB=trans)

    def batch_norm(self, x: str, channels: int) -> str:
        vectors = [
            self.weight(self._vector(channels, 1.0), "scale"),
            self.weight(self._vector(channels, 0.0), "shift"),
            self.weight(self._vector(channels, 0.0), "mean"),
            self.weight(np.abs(self._vector(channels, 1.0)) + 0.5, "var"),
        ]
        return self.node("BatchNormalization", [x, *vectors])

    def _vector(self, channels: int, centre: float) -> np.ndarray:
        return (centre + 0.3 * self.rng.standard_normal(channels)).astype(np.float32)

    def _axes(self, op: str, x: str, axes: Sequence[int], since: int, **attrs) -> str:
        if self.opset >= since:
            return self.node(op, [x, self.ints(list(axes))], **attrs)
        return self.node(op, [x], axes=list(axes), **attrs)

    def squeeze(self, x: str, axes: Sequence[int]) -> str:
        return self._axes("Squeeze", x, axes, 13)

    def unsqueeze(self, x: str, axes: Sequence[int]) -> str:
        return self._axes("Unsqueeze", x, axes, 13)

    def reduce(self, op: str, x: str, axes: Sequence[int], keepdims: int = 1) -> str:
        since = 13 if op == "ReduceSum" else 18
        return self._axes(op, x, axes, since, keepdims=keepdims)

    def split(self, x: str, sizes: Sequence[int], axis: int = 1) -> list[str]:
        if self.opset >= 13:
            return self.node("Split", [x, self.ints(list(sizes))], len(sizes), axis=axis)
        return self.node("Split", [x], len(sizes), axis=axis, split=list(sizes))

    def slice(self, x: str, start: int, end: int, axis: int = 1, step: int = 1) -> str:
        if self.opset >= 10:
            return self.node("Slice", [x, *(self.ints([v]) for v in (start, end, axis, step))])
        assert step == 1
        return self.node("Slice", [x], starts=[start], ends=[end], axes=[axis])

    def pad(self, x: str, pads: Sequence[int], mode: str = "constant") -> str:
        if self.opset >= 11:
            return self.node("Pad", [x, self.ints(list(pads))], mode=mode)
        return self.node("Pad", [x], pads=list(pads), mode=mode)

    def clip(self, x: str, low: float, high: float) -> str:
        if self.opset >= 11:
            bounds = [self.weight(np.float32(v), "bound", "initializer") for v in (low, high)]
            return self.node("Clip", [x, *bounds])
        return self.node("Clip", [x], min=low, max=high)

    def resize(self, x: str, factor: int = 2, *, sizes: Sequence[int] | None = None) -> str:
        scales = self.weight(np.array([1, 1, factor, factor], np.float32), "scales", "initializer")
        if self.opset < 10:
            return self.node("Upsample", [x, scales], mode="nearest")
        if self.opset < 11:
            return self.node("Resize", [x, scales], mode="nearest")
        if sizes is not None:
            none = "" if self.opset >= 13 else self.weight(np.zeros(0, np.float32), "none",
                                                           "initializer")  # fmt: skip
            return self.node("Resize", [x, none, none, self.ints(list(sizes))], mode="nearest")
        # Before opset 13 the region of interest is not optional.
        roi = "" if self.opset >= 13 else self.weight(np.zeros(0, np.float32), "roi", "initializer")
        return self.node("Resize", [x, roi, scales], mode="nearest")

    def reshape(self, x: str, shape: Sequence[int]) -> str:
        return self.node("Reshape", [x, self.ints(list(shape))])

    # --- the model -------------------------------------------------------------------------------

    def model(
        self, *outputs: str, dims: Sequence[Sequence[int | str | None]] = ()
    ) -> onnx.ModelProto:
        """The finished model; declared output sizes come from ``dims`` where given."""
        declared = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, dims[i] if dims else None)
            for i, name in enumerate(outputs)
        ]
        domains = {node.domain for node in self.nodes if node.domain}
        return helper.make_model(
            helper.make_graph(self.nodes, "g", self.inputs, declared, self.initializers),
            opset_imports=[helper.make_opsetid("", self.opset)]
            + [helper.make_opsetid(domain, 1) for domain in sorted(domains)],
            ir_version=IR_VERSION if self.opset <= 18 else 10,
        )


def from_text(text: str, weights: dict[str, Sequence[int] | np.ndarray], *, opset: int = 17,
              seed: int = 0) -> onnx.ModelProto:  # fmt: skip
    """Reads the text of a graph; ``weights`` (a shape, or an array) become initializers.

    The text has the form ``g (float[N,3,8,8] x) => (float[N,4,8,8] y) { ... }``; weights are not
    listed among the inputs.
    """
    rng = np.random.default_rng(seed)
    ir = IR_VERSION if opset <= 18 else 10
    proto = onnx.parser.parse_model(f'<ir_version: {ir}, opset_import: ["" : {opset}]>\n{text}')
    for name, value in weights.items():
        if not isinstance(value, np.ndarray):
            fan = max(1, int(np.prod(tuple(value)[1:])))
            value = (rng.standard_normal(tuple(value)) / np.sqrt(fan)).astype(np.float32)
        proto.graph.initializer.append(numpy_helper.from_array(value, name))
    for i, node in enumerate(proto.graph.node):
        node.name = node.name or f"{node.op_type}_{i}"
    return proto


def initializer(proto: onnx.ModelProto, name: str) -> np.ndarray:
    """Value of an initializer, or of a Constant node's output."""
    for tensor in proto.graph.initializer:
        if tensor.name == name:
            return numpy_helper.to_array(tensor)
    for node in proto.graph.node:
        if node.op_type == "Constant" and node.output[0] == name:
            value = helper.get_attribute_value(node.attribute[0])
            is_tensor = isinstance(value, onnx.TensorProto)
            return numpy_helper.to_array(value) if is_tensor else np.asarray(value)
    raise KeyError(name)


def node_of(proto: onnx.ModelProto, op: str, number: int = 0) -> onnx.NodeProto:
    """The ``number``-th node of an operator type."""
    return [node for node in proto.graph.node if node.op_type == op][number]


def attribute(node: onnx.NodeProto, name: str, default=None):
    for entry in node.attribute:
        if entry.name == name:
            return helper.get_attribute_value(entry)
    return default


def classifier(
    *, opset: int = 17, batch: int | str = "N", seed: int = 0, storage: str = "initializer",
    widths: tuple[int, int, int] = (8, 12, 16),
) -> onnx.ModelProto:  # fmt: skip
    """A residual net of three stages with batch norm and a linear head: the default test model."""
    a, b, c = widths
    g = Builder(opset, batch, seed, storage)
    x = g.input(3, 8, 8)
    x = g.node("Relu", [g.batch_norm(g.conv(x, 3, a, bias=False), a)])
    y = g.node("Relu", [g.batch_norm(g.conv(x, a, a, bias=False), a)])
    y = g.batch_norm(g.conv(y, a, a, bias=False), a)
    x = g.node("Relu", [g.node("Add", [x, y])])
    x = g.node("Relu", [g.conv(x, a, b, stride=2)])
    x = g.node("Relu", [g.conv(x, b, c)])
    x = g.node("Flatten", [g.node("GlobalAveragePool", [x])])
    y = g.gemm(x, c, 5)
    return g.model(y, dims=[[batch, 5]])
