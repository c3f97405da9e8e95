"""Giving a model's parameters other values: the one place that writes initializers.

Surgery cuts slices out; the proof zeroes the same slices. Both go through `rewrite_parameters`,
which works on a copy, keeps names and types, and gives reads that must differ a tensor of their
own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx

from spa.coupling.couple import Cut
from spa.graph.deferred import Cuttable, Maker, Masks, cut_slices, defer, own
from spa.graph.model import Array, Model
from spa.graph.nodes import Use
from spa.graph.read import names_in
from spa.graph.weightless import copy_lacking

# What becomes of a parameter's value, given by axis which indices stay, and what stands for zero
# (broadcasts to the value).
Edit = Callable[[Array, Masks, Array], Array]


def take_slices(value: Array, masks: Masks, zero: Array) -> Array:
    """Takes the removed slices out."""
    return cut_slices(value, masks)


def zero_slices(value: Array, masks: Masks, zero: Array) -> Array:
    """Sets the removed slices to zero, in place where the value may be written to."""
    result = value.copy() if own(value) is None else value
    if zero.size > 1:  # a zero point for every channel
        for axis, mask in enumerate(masks):
            if mask is not None:
                shape = [-1 if k == axis else 1 for k in range(value.ndim)]
                np.copyto(result, zero, where=~mask.reshape(shape))
        return result
    first, *others = masks
    if first is not None:
        result[~first] = zero
    gone = [(k, np.flatnonzero(~mask)) for k, mask in enumerate(others) if mask is not None]
    rows: list[int] = np.flatnonzero(np.ones(len(result)) if first is None else first).tolist()
    # Row by row: several times as fast as along an axis of all rows at once.
    for row in rows if gone else ():
        for axis, some in gone:
            result[row][(slice(None),) * axis + (some,)] = zero
    return result


def rewrite_parameters(
    model: Model, cut: Cut, edit: Edit, only: frozenset[str] | None = None
) -> onnx.ModelProto:
    """Copies a model and edits every parameter that loses slices.

    Args:
        model: the dense model.
        cut: what goes.
        edit: `take_slices` or `zero_slices`.
        only: parameters to edit; None for all.
    """
    whole, parted = lost_slices(model, cut, only)
    proto = copy_lacking(model.proto, whole)
    for root, masks in whole.items():
        set_parameter(model, proto, root, _edited(model, root, masks, edit, root))
    taken = set(names_in(proto.graph)) if parted else set()
    for root, parts in parted.items():
        for number, (masks, uses) in enumerate(parts):
            name = f"{root}__{number}"
            while name in taken:
                name += "_"
            add_tensor(proto, _edited(model, root, masks, edit, name))
            taken.add(name)
            for use in uses:
                proto.graph.node[use.node].input[use.position] = name
    return proto


def lost_slices(
    model: Model, cut: Cut, only: frozenset[str] | None
) -> tuple[dict[str, Masks], dict[str, list[tuple[Masks, list[Use]]]]]:
    """Parameters that lose the same slices at every read, and those that come apart."""
    private: dict[str, dict[Use, Masks]] = {}
    for use in cut.coupling.private_layers:
        root = model.root(model.graph.nodes[use.node].inputs[use.position])
        private.setdefault(root, {})[use] = cut.of_read(use)
    whole: dict[str, Masks] = {}
    parted: dict[str, list[tuple[Masks, list[Use]]]] = {}
    for root in model.parameters:
        if only is not None and root not in only:
            continue
        by_masks: dict[tuple[bytes | None, ...], tuple[Masks, list[Use]]] = {}
        for use, masks in private.get(root, {}).items():
            key = tuple(None if mask is None else mask.tobytes() for mask in masks)
            by_masks.setdefault(key, (masks, []))[1].append(use)
        if len(by_masks) > 1:
            parted[root] = list(by_masks.values())
            continue
        masks = next(iter(by_masks.values()))[0] if by_masks else cut.of_tensor(root)
        if any(mask is not None for mask in masks):
            whole[root] = masks
    return whole, parted


def _edited(model: Model, root: str, masks: Masks, edit: Edit, name: str) -> onnx.TensorProto:
    """A parameter's new value; zero is the zero point where integers are dequantised."""
    if root in model.quantised:
        zero = model.quantised[root].zero_point
    else:
        zero = np.zeros((), dtype=model.dtype(root))
    source = model.maker(root)
    if source is None:
        return onnx.numpy_helper.from_array(edit(model.array(root), masks, zero), name)
    # How an edit changes a shape shows along each axis, without the values.
    dims = [
        edit(np.zeros((size,), zero.dtype), (mask,), np.zeros((), zero.dtype)).size
        for size, mask in zip(model.shapes[root], masks, strict=True)
    ]
    return defer(name, model.data_type(root), dims, Edited(edit, source, masks, zero))


@dataclass(frozen=True, eq=False)
class Edited:
    """Makes an edited parameter; equal makers make equal values.

    Attributes:
        edit: how.
        source: what makes the value.
        masks: by axis, which indices stay.
        zero: what stands for zero.
    """

    edit: Edit
    source: Maker
    masks: Masks
    zero: Array

    def __call__(self) -> Array:
        """Makes it."""
        if self.edit is take_slices and isinstance(self.source, Cuttable):
            return self.source.cut(self.masks)
        return self.edit(self.source(), self.masks, self.zero)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Edited)
            and (self.edit, self.source) == (other.edit, other.source)
            and all(map(are_same, (*self.masks, self.zero), (*other.masks, other.zero)))
        )

    def __hash__(self) -> int:
        return hash((self.edit, self.source))


def are_same(a: Array | None, b: Array | None) -> bool:
    """Whether two arrays are equal, or there is neither."""
    return a is b is None or (a is not None and b is not None and np.array_equal(a, b))


def add_initializer(proto: onnx.ModelProto, name: str, value: Array) -> None:
    """Adds an initializer with a value."""
    add_tensor(proto, onnx.numpy_helper.from_array(value, name))


def add_tensor(proto: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    """Adds an initializer; before IR version 4 it must be listed as an input too."""
    proto.graph.initializer.append(tensor)
    if proto.ir_version < 4:
        proto.graph.input.append(
            onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )


def set_parameter(
    model: Model, proto: onnx.ModelProto, name: str, tensor: onnx.TensorProto
) -> None:
    """Gives a parameter of ``proto``, a copy of the model's, another value."""
    if name in model.graph.initializers:
        position = model.initializer_positions[name]
        proto.graph.initializer[position].CopyFrom(tensor)
        return
    index = model.graph.producers[name].index
    node = proto.graph.node[index]
    if node.op_type == "Constant":
        del node.attribute[:]
        node.attribute.append(onnx.helper.make_attribute("value", tensor))
    elif tuple(tensor.dims) != model.shapes[name]:
        pass  # a filled tensor that was cut: its shape input follows (see rules/constants.py)
    else:
        hold_filled(proto, node, tensor)


def hold_filled(proto: onnx.ModelProto, node: onnx.NodeProto, tensor: onnx.TensorProto) -> None:
    """Makes a filled tensor of ``proto`` an initializer of another value, cut or not.

    An initializer can be handed over as it lies in memory, or not be held; a Constant would be
    copied time and again. The node that filled it fills what nobody reads from then on, so that
    other nodes keep their places.
    """
    add_tensor(proto, tensor)
    taken, spare = set(names_in(proto.graph)), f"{tensor.name}__filled"
    while spare in taken:
        spare += "_"
    node.output[0] = spare
