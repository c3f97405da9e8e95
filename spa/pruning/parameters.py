"""Giving a model's parameters other values: the one place that writes initializers.

Surgery cuts slices out; the proof zeroes the same slices. Both go through `rewrite_parameters`,
which works on a copy, keeps names and types, and gives reads that must differ a tensor of their
own.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx

from spa.coupling.couple import Cut, Mask
from spa.graph.model import Array, Model
from spa.graph.nodes import Use
from spa.graph.read import names_in

Masks = tuple[Mask | None, ...]
# What becomes of a parameter's value, given by axis which indices stay, and what stands for zero
# (broadcasts to the value).
Edit = Callable[[Array, Masks, Array], Array]


def cut_slices(value: Array, masks: Masks, zero: Array) -> Array:
    """Takes the removed slices out."""
    for axis, mask in enumerate(masks):
        if mask is not None:
            value = np.compress(mask, value, axis=axis)
    return value


def zero_slices(value: Array, masks: Masks, zero: Array) -> Array:
    """Sets the removed slices to zero."""
    value, zeros = value.copy(), np.broadcast_to(zero, value.shape)
    for axis, mask in enumerate(masks):
        if mask is not None:
            place = (slice(None),) * axis + (~mask,)
            value[place] = zeros[place]
    return value


def rewrite_parameters(
    model: Model, proto: onnx.ModelProto, cut: Cut, edit: Edit, only: frozenset[str] | None = None
) -> None:
    """Edits every parameter that loses slices.

    Args:
        model: the dense model.
        proto: a copy of its proto; changed in place.
        cut: what goes.
        edit: `cut_slices` or `zero_slices`.
        only: parameters to edit; None for all.
    """
    private: dict[str, dict[Use, Masks]] = {}
    for use in cut.coupling.private_layers:
        root = model.root(model.graph.nodes[use.node].inputs[use.position])
        private.setdefault(root, {})[use] = cut.of_read(use)
    taken = set(names_in(proto.graph)) if private else set()
    for root in model.parameters:
        if only is not None and root not in only:
            continue
        reads = private.get(root)
        if reads is None:
            masks = cut.of_tensor(root)
            if any(mask is not None for mask in masks):
                set_parameter(
                    model, proto, root, edit(model.array(root), masks, _zero(model, root))
                )
            continue
        by_masks: dict[tuple[bytes | None, ...], list[Use]] = {}
        for use, masks in reads.items():
            key = tuple(None if mask is None else mask.tobytes() for mask in masks)
            by_masks.setdefault(key, []).append(use)
        if len(by_masks) == 1:
            masks = next(iter(reads.values()))
            if any(mask is not None for mask in masks):
                set_parameter(
                    model, proto, root, edit(model.array(root), masks, _zero(model, root))
                )
            continue
        for number, uses in enumerate(by_masks.values()):
            name = f"{root}__{number}"
            while name in taken:
                name += "_"
            value = edit(model.array(root), reads[uses[0]], _zero(model, root))
            add_initializer(proto, name, value)
            taken.add(name)
            for use in uses:
                proto.graph.node[use.node].input[use.position] = name


def _zero(model: Model, name: str) -> Array:
    """What stands for zero in a parameter: the zero point of integers that are dequantised."""
    if name in model.quantised:
        return model.quantised[name].zero_point
    return np.zeros((), dtype=model.array(name).dtype)


def add_initializer(proto: onnx.ModelProto, name: str, value: Array) -> None:
    """Adds an initializer; before IR version 4 it must be listed as an input too."""
    tensor = onnx.numpy_helper.from_array(value, name)
    proto.graph.initializer.append(tensor)
    if proto.ir_version < 4:
        proto.graph.input.append(
            onnx.helper.make_tensor_value_info(name, tensor.data_type, tensor.dims)
        )


def set_parameter(model: Model, proto: onnx.ModelProto, name: str, value: Array) -> None:
    """Gives a parameter of ``proto``, a copy of the model's, another value."""
    if name in model.graph.initializers:
        position = model.initializer_positions[name]
        proto.graph.initializer[position].CopyFrom(onnx.numpy_helper.from_array(value, name))
        return
    index = model.graph.producers[name].index
    node = proto.graph.node[index]
    if node.op_type == "Constant":
        del node.attribute[:]
        tensor = onnx.numpy_helper.from_array(value, name)
        node.attribute.append(onnx.helper.make_attribute("value", tensor))
    elif value.shape != model.shapes[name]:
        pass  # a filled tensor that was cut: its shape input follows (see rules/constants.py)
    else:
        node.CopyFrom(
            onnx.helper.make_node(
                "Constant", [], [name], name=node.name, value=onnx.numpy_helper.from_array(value)
            )
        )
