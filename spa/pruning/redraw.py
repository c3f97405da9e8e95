"""The same structure with random weights: proves what a constant output cannot."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx

from spa.coupling.couple import Cut
from spa.coupling.zeros import contracted_parameters
from spa.errors import VerificationError
from spa.graph.model import Array, Model
from spa.graph.quantised import SCALING
from spa.graph.weightless import copy_lacking
from spa.pruning.parameters import set_parameter
from spa.pruning.surgery import cut_model


def randomised(model: Model, names: frozenset[str], seed: int = 0) -> Model:
    """The same structure with random values of the named parameters.

    Variances, divisors and the like stay positive. Integers that are dequantised are drawn too;
    their scales stay, as what is rounded by them would leave its range.
    """
    rng = np.random.default_rng(seed)
    names = frozenset(n for n in names if _is_drawn(model, n))
    proto = copy_lacking(model.proto, names)
    contracted = contracted_parameters(model)
    for name in sorted(names):
        old = model.array(name)
        if old.dtype.kind in "iu":
            set_parameter(model, proto, name, _drawn_integers(old, rng))
            continue
        value = rng.standard_normal(old.shape) / np.sqrt(max(1, int(np.prod(old.shape[1:]))))
        if name not in contracted and (old >= 0).all():
            # It may be a variance, a divisor or under a root.
            value = np.abs(value) + 0.5
        set_parameter(model, proto, name, value.astype(old.dtype))
    return model.with_weights(proto)


def _is_drawn(model: Model, name: str) -> bool:
    if name in model.quantised:
        return True
    uses = model.graph.uses.get(name, ())
    scales = any(model.graph.nodes[use.node].op in SCALING and use.position for use in uses)
    return not scales and model.array(name).dtype.kind not in "iub"


def _drawn_integers(old: Array, rng: np.random.Generator) -> Array:
    """Over half of the range of 8 bits; wider ones (biases) over that of 16 bits."""
    low, high = np.iinfo(old.dtype).min, np.iinfo(old.dtype).max
    if old.itemsize > 1:
        low, high = max(low, -(2**15)), min(high, 2**15)
    quarter = (high - low) // 4
    return rng.integers(low + quarter, high - quarter, old.shape).astype(old.dtype)


def with_random_weights(
    model: Model, pruned: onnx.ModelProto, cut: Cut
) -> tuple[Model, onnx.ModelProto]:
    """A dense and a pruned model with random weights, the pruned one's cut from the dense one's."""
    labelled = frozenset(axis.tensor for axis in cut.coupling.axes if axis.is_parameter)
    other = randomised(model, labelled)
    values = dict(_weights(cut_model(other, cut)))
    filled = onnx.ModelProto()
    filled.CopyFrom(pruned)
    for name, tensor in _weights(filled):
        if name in values:
            stem = tensor.name
            tensor.CopyFrom(values[name])
            tensor.name = stem
    for name, node in _fills(filled).items():
        if name in values:
            node.CopyFrom(onnx.helper.make_node("Constant", [], [name], value=values[name]))
    return other, filled


def compare_weights(pruned: onnx.ModelProto, expected: onnx.ModelProto) -> None:
    """Compares weights of the same name.

    Raises:
        VerificationError: one differs.
    """
    values = dict(_weights(expected))
    for name, tensor in _weights(pruned):
        if name not in values:
            continue
        have, want = (onnx.numpy_helper.to_array(t) for t in (tensor, values[name]))
        if have.shape != want.shape or have.dtype != want.dtype or not (have == want).all():
            raise VerificationError(f'Weight "{name}" is not what the plan leaves of it.')
    fills = _fills(expected)
    for name, node in _fills(pruned).items():
        want = fills.get(name, node)
        if (list(node.input), list(node.attribute)) != (list(want.input), list(want.attribute)):
            raise VerificationError(f'Filled weight "{name}" is not what the plan leaves of it.')


def _weights(proto: onnx.ModelProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    """Initializers, and the tensors of Constant nodes by the name of their output."""
    for tensor in proto.graph.initializer:
        yield tensor.name, tensor
    for node in proto.graph.node:
        if node.op_type == "Constant" and node.attribute[0].HasField("t"):
            yield node.output[0], node.attribute[0].t


def _fills(proto: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """The nodes that make filled tensors, by the name of their output."""
    return {n.output[0]: n for n in proto.graph.node if n.op_type == "ConstantOfShape"}
