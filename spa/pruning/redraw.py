"""The same structure with random weights: proves what a constant output cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import starmap
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import onnx

from spa.coupling.couple import Cut
from spa.coupling.zeros import contracted_parameters
from spa.errors import VerificationError
from spa.graph.deferred import Maker, Masks, array_of, cut_slices, defer, is_deferred, maker
from spa.graph.model import Array, Model
from spa.graph.quantised import SCALING
from spa.graph.weightless import copy_lacking
from spa.pruning.parameters import are_same, hold_filled, lost_slices, set_parameter
from spa.pruning.surgery import cut_model


def randomised(model: Model, names: frozenset[str], seed: int = 0, cut: Cut | None = None) -> Model:
    """The same structure with random values of the named parameters.

    Variances, divisors and the like stay positive. Integers that are dequantised are drawn too;
    their scales stay, as what is rounded by them would leave its range. What the cut takes of large
    weights that are contracted is zero: it will be zeroed, or cut, anyhow.
    """
    names = frozenset(n for n in names if _is_drawn(model, n))
    contracted = contracted_parameters(model)
    stays = {} if cut is None else lost_slices(model, cut, contracted)[0]

    parts = {name: masks for name, masks in stays.items() if name not in model.quantised}
    return _edited(model, names, lambda name, i: _Draw((seed, i), name not in contracted), parts)


def nudged(model: Model) -> Model:
    """The same model, each weight that is contracted a last bit larger or smaller.

    What that changes is about what rounding may: a sum's terms are all off by so much.
    """
    names = (n for n in contracted_parameters(model) if model.dtype(n).kind == "f")
    return _edited(model, frozenset(names), lambda _, number: _Nudge((2, number)))


def _edited(
    model: Model,
    names: frozenset[str],
    edit: Callable[[str, int], _Edit],
    parts: Mapping[str, Masks] = MappingProxyType({}),
) -> Model:
    """The same structure with other values of some parameters.

    Args:
        model: the model.
        names: the parameters.
        edit: gives each name, with its number, what changes it.
        parts: what is to stay of some; where it is not held, the rest becomes zero.
    """
    proto = copy_lacking(model.proto, names)
    for number, name in enumerate(sorted(names)):
        source, change = model.maker(name), edit(name, number)
        if source is None:
            tensor = onnx.numpy_helper.from_array(change.like(model.array(name)), name)
        else:
            shape, kind = model.shapes[name], model.data_type(name)
            if name in parts:
                make: Maker = _Part(change, shape, model.dtype(name), parts[name])
            else:
                source = source if change.reads else _stand_in(shape, model.dtype(name))
                make = _later(change.like, source)
            tensor = defer(name, kind, shape, make)
        set_parameter(model, proto, name, tensor)
    return model.with_weights(proto)


def _later(like: Callable[[Array], Array], source: Maker) -> Maker:
    """The same of a tensor that is not held."""
    return lambda: like(source())


def _stand_in(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Maker:
    """An array of a tensor's type and shape, without its values."""
    return lambda: np.broadcast_to(np.zeros((), dtype), shape)


class _Edit(Protocol):
    @property
    def reads(self) -> bool:
        """Whether the other array's values matter; else only its type and shape do."""

    def like(self, old: Array) -> Array:
        """Values that can stand in another array's place."""


@dataclass(frozen=True)
class _Nudge:
    """A last bit up or down.

    Attributes:
        seed: of a generator of its own.
    """

    seed: tuple[int, int]
    reads: bool = True

    def like(self, old: Array) -> Array:
        signs = np.random.default_rng(self.seed).choice(np.array([-1, 1], np.int8), old.shape)
        eps = np.finfo(old.dtype).eps
        return np.asarray(old * (1 + eps * signs).astype(old.dtype), old.dtype)


@dataclass(frozen=True)
class _Draw:
    """Random values, the same ones each time.

    Attributes:
        seed: of a generator of its own.
        may_be_scale: whether what is positive should stay so.
    """

    seed: tuple[int, int]
    may_be_scale: bool

    @property
    def reads(self) -> bool:
        """See `_Edit`."""
        return self.may_be_scale

    def like(self, old: Array) -> Array:
        """Values that can stand in another array's place."""
        rng = np.random.default_rng(self.seed)
        if old.dtype.kind in "iu":
            return _drawn_integers(old, rng)
        # Even (a normal distribution takes ten times as long), and in the type itself where it can
        # be: a large weight takes seconds. Its variance is one over the number of terms of a sum.
        kind = old.dtype if old.dtype in (np.float32, np.float64) else np.dtype(np.float64)
        bound = kind.type(np.sqrt(3 / max(1, int(np.prod(old.shape[1:])))))
        value = rng.random(old.shape, dtype=kind.type)
        value *= 2 * bound
        value -= bound
        if self.may_be_scale and (old >= 0).all():
            # It may be a variance, a divisor or under a root.
            value = np.abs(value) + 0.5
        return value.astype(old.dtype, copy=False)


@dataclass(frozen=True, eq=False)
class _Part:
    """Makes random values in what stays and zeros elsewhere: to draw gigabytes takes seconds.

    Attributes:
        draw: what draws them.
        shape: of the whole.
        dtype: of its elements.
        stays: by axis, which indices stay.
    """

    draw: _Edit
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stays: Masks

    def __call__(self) -> Array:
        """Makes the whole."""
        result = np.zeros(self.shape, self.dtype)
        result[np.ix_(*self._kept())] = self._drawn()
        return result

    def cut(self, masks: Masks) -> Array:
        """Makes what stays, or as much of the whole."""
        same = all(starmap(are_same, zip(masks, self.stays, strict=True)))
        return self._drawn() if same else cut_slices(self(), masks)

    def _drawn(self) -> Array:
        return self.draw.like(_stand_in(tuple(map(len, self._kept())), self.dtype)())

    def _kept(self) -> list[Array]:
        return [
            np.arange(size) if mask is None else np.flatnonzero(mask)
            for size, mask in zip(self.shape, self.stays, strict=True)
        ]


def _is_drawn(model: Model, name: str) -> bool:
    if name in model.quantised:
        return True
    uses = model.graph.uses.get(name, ())
    scales = name in model.scaling or any(
        model.graph.nodes[use.node].op in SCALING and use.position for use in uses
    )
    return not scales and model.dtype(name).kind not in "iub"


def _drawn_integers(old: Array, rng: np.random.Generator) -> Array:
    """Over half of the range of 8 bits; wider ones (biases) over that of 16 bits."""
    low, high = np.iinfo(old.dtype).min, np.iinfo(old.dtype).max
    if old.itemsize > 1:
        low, high = max(low, -(2**15)), min(high, 2**15)
    quarter = (high - low) // 4
    return rng.integers(low + quarter, high - quarter, old.shape).astype(old.dtype)


def with_random_weights(
    model: Model, pruned: onnx.ModelProto, cut: Cut, seed: int = 0
) -> tuple[Model, onnx.ModelProto]:
    """A dense and a pruned model with random weights, the pruned one's cut from the dense one's."""
    labelled = frozenset(axis.tensor for axis in cut.coupling.axes if axis.is_parameter)
    other = randomised(model, labelled, seed, cut)
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
            hold_filled(filled, node, values[name])
    return other, filled


def compare_weights(pruned: onnx.ModelProto, expected: onnx.ModelProto) -> None:
    """Compares weights of the same name.

    Raises:
        VerificationError: one differs.
    """
    values = dict(_weights(expected))
    for name, tensor in _weights(pruned):
        if name not in values or _is_same(tensor, values[name]):
            continue
        have, want = (array_of(t) for t in (tensor, values[name]))
        if have.shape != want.shape or have.dtype != want.dtype or not (have == want).all():
            raise VerificationError(f'Weight "{name}" is not what the plan leaves of it.')
    fills = _fills(expected)
    for name, node in _fills(pruned).items():
        want = fills.get(name, node)
        if (list(node.input), list(node.attribute)) != (list(want.input), list(want.attribute)):
            raise VerificationError(f'Filled weight "{name}" is not what the plan leaves of it.')


def _is_same(a: onnx.TensorProto, b: onnx.TensorProto) -> bool:
    """Whether two weights are not held and made in one way, so that none need be made."""
    return is_deferred(a) and is_deferred(b) and maker(a) == maker(b)


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
