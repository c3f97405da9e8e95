"""A Llama-shaped graph in ONNX with external weights, written without ever holding them.

N examples, T tokens, h heads, g heads of keys and values, d head size. The weights are one draw
that is repeated through all of them: what matters is their size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# Positions that the rotary tables and the mask hold.
POSITIONS = 64
BLOCK = 2**22 + 7


@dataclass(frozen=True)
class Shape:
    """Sizes of a Llama; those of Llama-7B where nothing else is said."""

    layers: int
    width: int = 4096
    heads: int = 32
    kv_heads: int = 32
    hidden: int = 11008
    vocabulary: int = 32000
    dtype: str = "float16"


def write_llama(path: Path, shape: Shape, seed: int = 0) -> int:
    """Writes ``path`` and ``<path>.bin``; returns the number of parameters."""
    with path.with_name(path.name + ".bin").open("wb") as data:
        maker = _Maker(shape, data, seed)
        maker.build()
    inputs = [helper.make_tensor_value_info("tokens", TensorProto.INT64, ["N", "T"])]
    outputs = [helper.make_tensor_value_info("logits", maker.kind, ["N", "T", shape.vocabulary])]
    graph = helper.make_graph(maker.nodes, "llama", inputs, outputs, maker.weights)
    opsets = [helper.make_opsetid("", 17)]
    path.write_bytes(
        helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    )
    return maker.params


class _Maker:
    def __init__(self, shape: Shape, data, seed: int) -> None:  # type: ignore[no-untyped-def]
        self.shape = shape
        self.kind = helper.np_dtype_to_tensor_dtype(np.dtype(shape.dtype))
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.params = 0
        self._data = data
        self._block = np.random.default_rng(seed).standard_normal(BLOCK).astype(shape.dtype)
        self._place = 0
        self._constants: dict[str, str] = {}

    def build(self) -> None:
        s = self.shape
        d = s.width // s.heads
        angles = np.outer(np.arange(POSITIONS), 10000.0 ** (-np.arange(0, d, 2) / d))
        angles = np.concatenate([angles, angles], axis=1)[None, None]  # (1, 1, T, d)
        self.held("cos", np.cos(angles).astype(s.dtype))
        self.held("sin", np.sin(angles).astype(s.dtype))
        mask = np.triu(np.full((POSITIONS, POSITIONS), -1e4, s.dtype), 1)
        self.held("mask", mask[None, None])
        sizes = self.node("Shape", ["tokens"])
        length = self.node("Gather", [sizes, self.ints(1)])
        for name, axes in (("cos", [2]), ("sin", [2]), ("mask", [2, 3])):
            ends = length if len(axes) == 1 else self.node("Concat", [length, length], axis=0)
            starts = self.ints(*[0] * len(axes))
            setattr(self, name, self.node("Slice", [name, starts, ends, self.ints(*axes)]))
        x = self.node("Gather", [self.weight("embed", s.vocabulary, s.width), "tokens"])
        for i in range(s.layers):
            x = self.node(
                "Add", [x, self.attention(f"layers.{i}.", self.norm(f"layers.{i}.n1", x))]
            )
            x = self.node("Add", [x, self.mlp(f"layers.{i}.", self.norm(f"layers.{i}.n2", x))])
        head = self.weight("head", s.width, s.vocabulary)
        self.node("MatMul", [self.norm("norm", x), head], to="logits")

    def attention(self, stem: str, x: str) -> str:
        """q: (N, T, h*d) to (N, h, T, d); k and v are repeated from g to h heads."""
        s = self.shape
        d, repeats = s.width // s.heads, s.heads // s.kv_heads
        parts = {}
        for name, heads in (("q", s.heads), ("k", s.kv_heads), ("v", s.kv_heads)):
            y = self.node("MatMul", [x, self.weight(stem + name, s.width, heads * d)])
            y = self.node("Reshape", [y, self.ints(0, 0, heads, d)])
            y = self.node("Transpose", [y], perm=[0, 2, 1, 3])
            y = y if name == "v" else self.rotary(y, d)
            if heads < s.heads:
                y = self.node("Unsqueeze", [y, self.ints(2)])
                y = self.node("Expand", [y, self.ints(1, 1, repeats, 1, 1)])
                y = self.node("Transpose", [y], perm=[0, 3, 1, 2, 4])  # (N, T, g, repeats, d)
                y = self.node("Reshape", [y, self.ints(0, 0, s.heads, d)])
                y = self.node("Transpose", [y], perm=[0, 2, 1, 3])
            parts[name] = y
        k = self.node("Transpose", [parts["k"]], perm=[0, 1, 3, 2])
        scores = self.node("MatMul", [parts["q"], k])
        scores = self.node("Mul", [scores, self.number(1 / math.sqrt(d))])
        scores = self.node("Softmax", [self.node("Add", [scores, self.mask])], axis=-1)
        y = self.node("Transpose", [self.node("MatMul", [scores, parts["v"]])], perm=[0, 2, 1, 3])
        y = self.node("Reshape", [y, self.ints(0, 0, s.width)])
        return self.node("MatMul", [y, self.weight(stem + "o", s.width, s.width)])

    def rotary(self, x: str, d: int) -> str:
        low = self.node("Slice", [x, self.ints(0), self.ints(d // 2), self.ints(3)])
        high = self.node("Slice", [x, self.ints(d // 2), self.ints(d), self.ints(3)])
        turned = self.node("Concat", [self.node("Neg", [high]), low], axis=3)
        return self.node(
            "Add", [self.node("Mul", [x, self.cos]), self.node("Mul", [turned, self.sin])]
        )

    def mlp(self, stem: str, x: str) -> str:
        s = self.shape
        gate = self.node("MatMul", [x, self.weight(stem + "gate", s.width, s.hidden)])
        gate = self.node("Mul", [gate, self.node("Sigmoid", [gate])])
        up = self.node("MatMul", [x, self.weight(stem + "up", s.width, s.hidden)])
        y = self.node("Mul", [gate, up])
        return self.node("MatMul", [y, self.weight(stem + "down", s.hidden, s.width)])

    def norm(self, name: str, x: str) -> str:
        """RMSNorm as exporters write it, in single precision."""
        self.held(name, np.ones(self.shape.width, self.shape.dtype))
        self.params += self.shape.width
        wide = self.node("Cast", [x], to_type=TensorProto.FLOAT)
        square = self.node("Pow", [wide, self.number(2.0, "float32")])
        mean = self.node("ReduceMean", [square], axes=[-1], keepdims=1)
        root = self.node("Sqrt", [self.node("Add", [mean, self.number(1e-5, "float32")])])
        y = self.node("Cast", [self.node("Div", [wide, root])], to_type=self.kind)
        return self.node("Mul", [y, name])

    def node(
        self, op: str, inputs: list[str], to: str = "", to_type: int = 0, **attrs: object
    ) -> str:
        """Adds a node; returns its output."""
        output = to or f"{op}_{len(self.nodes)}"
        if to_type:
            attrs["to"] = to_type
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attrs))
        return output

    def ints(self, *values: int) -> str:
        return self._constant(np.array(values, np.int64))

    def number(self, value: float, dtype: str = "") -> str:
        return self._constant(np.array(value, dtype or self.shape.dtype))

    def _constant(self, value: np.ndarray) -> str:
        name = f"{value.dtype}_{'_'.join(map(str, value.reshape(-1).tolist()))}"
        if name not in self._constants:
            self._constants[name] = self.held(name, value)
        return name

    def held(self, name: str, value: np.ndarray) -> str:
        """A tensor in the model's own file."""
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def weight(self, name: str, rows: int, columns: int) -> str:
        """A matrix in the external file, of standard deviation 1 / sqrt(rows)."""
        tensor = TensorProto(name=name, data_type=self.kind, dims=[rows, columns])
        tensor.data_location = TensorProto.EXTERNAL
        offset, left = self._data.tell(), rows * columns
        self.params += left
        while left:
            piece = self._block[self._place :][:left]
            (piece / np.sqrt(rows)).astype(self.shape.dtype).tofile(self._data)
            self._place = (self._place + piece.size) % BLOCK
            left -= piece.size
        entries = {
            "location": Path(self._data.name).name,
            "offset": offset,
            "length": self._data.tell() - offset,
        }
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=str(value))
        self.weights.append(tensor)
        return name
