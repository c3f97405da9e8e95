"""A Keras model made smaller: the same layers, with smaller sizes, and what is left of the weights.

What goes of kernels is known. To know it of all other variables (norms, slopes), the model is run
on masks: a layer with a kernel gives a one for every channel that stays and a zero for every other,
a layer that works on every entry alone passes masks on, and what moves entries moves masks. Models
inside of a model are followed like it, layer by layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from common import Refusal, without
from keras.src.applications.convnext import LayerScale, StochasticDepth
from keras.src.layers.preprocessing.image_preprocessing import base_image_preprocessing_layer
from keras.src.ops import nn
from keras.src.ops import numpy as operations

L = keras.layers
# Layers with kernels: the variable, the axis of it that is the output's channels, and the field of
# the configuration that says how many.
KERNELS: dict[type, tuple[str, int, str]] = {
    L.Conv1D: ("kernel", -1, "filters"),
    L.Conv2D: ("kernel", -1, "filters"),
    L.Conv3D: ("kernel", -1, "filters"),
    L.Conv1DTranspose: ("kernel", -2, "filters"),
    L.Conv2DTranspose: ("kernel", -2, "filters"),
    L.Conv3DTranspose: ("kernel", -2, "filters"),
    L.DepthwiseConv1D: ("kernel", -2, ""),
    L.DepthwiseConv2D: ("kernel", -2, ""),
    L.SeparableConv1D: ("pointwise_kernel", -1, "filters"),
    L.SeparableConv2D: ("pointwise_kernel", -1, "filters"),
    L.Dense: ("kernel", -1, "units"),
    L.Embedding: ("embeddings", -1, "output_dim"),
}
# By variable's identity, the indices of each axis that go.
Removed = dict[int, list[tuple[int, list[int]]]]
# By layer, masks of its first input and of its output, as arrays of zeros and ones.
Masks = dict[Any, tuple[Any, Any]]
PASSES = (
    L.InputLayer, L.Activation, L.ReLU, L.LeakyReLU, L.PReLU, L.ELU, L.Softmax, L.Dropout,
    L.SpatialDropout1D, L.SpatialDropout2D, L.SpatialDropout3D, L.GaussianNoise,
    L.GaussianDropout, L.ActivityRegularization, L.BatchNormalization, L.LayerNormalization,
    L.RMSNormalization, L.GroupNormalization, L.Normalization, L.Rescaling, L.Identity,
    nn.Elu, nn.Gelu, nn.HardSigmoid, nn.HardSilu, nn.LeakyRelu, nn.Relu, nn.Relu6, nn.Sigmoid,
    nn.Silu, nn.Softmax, nn.Softplus, operations.Tanh, LayerScale, StochasticDepth,
    # Pictures are augmented in training alone.
    base_image_preprocessing_layer.BaseImagePreprocessingLayer,
)  # fmt: skip
MEETS = (L.Add, L.Multiply, L.Subtract, L.Average, L.Maximum, L.Minimum)
# What +, -, * and / make; one side may be a number.
ARITHMETIC = (
    operations.Add, operations.Subtract, operations.Multiply, operations.Divide,
    operations.TrueDivide,
)  # fmt: skip
MOVES = (
    L.Concatenate, L.Flatten, L.Reshape, L.Permute, L.RepeatVector, L.ZeroPadding1D,
    L.ZeroPadding2D, L.ZeroPadding3D, L.Cropping1D, L.Cropping2D, L.Cropping3D, L.UpSampling1D,
    L.UpSampling2D, L.UpSampling3D, L.MaxPooling1D, L.MaxPooling2D, L.MaxPooling3D,
    L.AveragePooling1D, L.AveragePooling2D, L.AveragePooling3D, L.GlobalMaxPooling1D,
    L.GlobalMaxPooling2D, L.GlobalMaxPooling3D, L.GlobalAveragePooling1D,
    L.GlobalAveragePooling2D, L.GlobalAveragePooling3D, L.CenterCrop, L.Resizing,
    operations.Concatenate, operations.ExpandDims, operations.GetItem, operations.Max,
    operations.Mean, operations.Squeeze, operations.Transpose,
)  # fmt: skip


def shrunk(model: Any, removed: dict[str, Any], groups: dict[str, int], example: Any) -> Any:
    """Makes a smaller model.

    Args:
        model: a functional or sequential model.
        removed: by name of a variable (`named`), what goes.
        groups: by name of a kernel's variable, how many groups a convolution has.
        example: inputs of the model.

    Raises:
        Refusal: a layer is not followed.
    """
    if not is_graph(model):
        raise Refusal(
            f"{type(model).__name__} is neither a functional nor a sequential model, so that its "
            "layers cannot be made anew"
        )
    names = named(model).items()
    gone: Removed = {id(v): removed[name] for name, v in names if name in removed}
    left = {id(v): groups[name] for name, v in names if name in groups}
    masks: Masks = {}
    _follow(model, [np.ones_like(array) for array in example], gone, masks)
    config = model.get_config()
    for entry, layer in _entries(config, model):
        _resize(entry, layer, gone, left, masks)
    smaller = type(model).from_config(config)
    for old, new in zip(layers_of(model), layers_of(smaller), strict=True):
        for before, after in zip(old.variables, new.variables, strict=True):
            array = _cut(old, before, gone, masks)
            if array.shape != tuple(after.shape):
                raise Refusal(
                    f"{type(old).__name__} {old.name} would have {after.path} of {after.shape}, "
                    f"but {array.shape} is left of it"
                )
            after.assign(array)
    return smaller


def named(model: Any) -> dict[str, Any]:
    """All variables by names of their own; paths recur where models are inside of a model."""
    found: dict[str, Any] = {}
    for variable in model.variables:
        name, number = variable.path, 1
        while name in found:
            number += 1
            name = f"{variable.path} {number}"
        found[name] = variable
    return found


def is_graph(layer: Any) -> bool:
    """Whether a layer is a model whose layers are known."""
    return hasattr(layer, "_run_through_graph") or isinstance(layer, keras.Sequential)


def layers_of(model: Any) -> list[Any]:
    """Layers that do something; of models inside of it, theirs."""
    found = []
    for layer in model.layers:
        if is_graph(layer):
            found += layers_of(layer)
        elif not isinstance(layer, L.InputLayer):
            found.append(layer)
    return found


def _entries(config: dict[str, Any], model: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """Configurations of layers, and the layers; inputs are layers too."""
    by_name = {layer.name: layer for layer in (*model.layers, *_inputs(model))}
    # Shapes of old; layers take what they are given.
    config.pop("build_input_shape", None)
    for entry in config["layers"]:
        entry.pop("build_config", None)
        layer = by_name.get(entry["config"].get("name"))
        if layer is not None and is_graph(layer):
            yield from _entries(entry["config"], layer)
        elif layer is not None:
            yield entry["config"], layer


def _inputs(model: Any) -> list[Any]:
    return [tensor._keras_history.operation for tensor in model.inputs]


def _follow(model: Any, inputs: list[Any], removed: Removed, masks: Masks) -> Any:
    """Runs a model on masks, and notes those of every layer."""

    def stand_in(layer: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            given = [np.asarray(a) for a in keras.tree.flatten(arguments)]
            if is_graph(layer):
                return _follow(layer, given, removed, masks)
            output = _passed(layer, given, arguments, options, removed)
            masks[layer] = (given[0], output)
            return keras.ops.convert_to_tensor(output)

        return call

    for layer, mask in zip(_inputs(model), inputs, strict=True):
        masks[layer] = (mask, mask)
    functional = model._functional if isinstance(model, keras.Sequential) else model
    tensors = [keras.ops.convert_to_tensor(mask) for mask in inputs]
    return functional._run_through_graph(tensors, operation_fn=stand_in)


def _passed(
    layer: Any, inputs: list[Any], arguments: Any, options: dict[str, Any], removed: Removed
) -> Any:
    """The mask that a layer gives."""
    known = kernel_of(layer)
    if known is not None:
        variable, axis, _ = known
        stays = np.ones(variable.shape[axis], np.float32)
        stays[_gone(variable, axis, removed)] = 0
        return np.broadcast_to(stays, np.asarray(layer(*arguments, **options)).shape)
    if isinstance(layer, PASSES):
        return inputs[0]
    if isinstance(layer, ARITHMETIC):
        inputs = [array for array in inputs if array.ndim]
    if isinstance(layer, (*MEETS, *ARITHMETIC)):
        result = inputs[0]
        for other in inputs[1:]:
            result = np.minimum(*np.broadcast_arrays(result, other))
        return result
    if isinstance(layer, MOVES):
        return (np.asarray(layer(*arguments, **options)) > 0).astype(np.float32)
    raise Refusal(
        f"{type(layer).__name__} {layer.name} is not followed, so that a smaller Keras model "
        "cannot be made"
    )


def kernel_of(layer: Any) -> tuple[Any, int, str] | None:
    """A layer's kernel, the axis of it that is the output's, and the field that says its size."""
    if isinstance(layer, L.MultiHeadAttention):
        return layer._output_dense.kernel, -1, ""
    known = KERNELS.get(type(layer))
    if known is None:
        return None
    name, axis, field = known
    return getattr(layer, name), axis, field


def _gone(variable: Any, axis: int, removed: Removed) -> list[int]:
    """Which indices along an axis go."""
    axis %= len(variable.shape)
    return next((indices for k, indices in removed.get(id(variable), ()) if k == axis), [])


def _kept(mask: Any, axis: int) -> Any:
    """Which indices along an axis stay."""
    return mask.any(axis=tuple(k for k in range(mask.ndim) if k != axis % mask.ndim))


def _resize(
    entry: dict[str, Any],
    layer: Any,
    removed: Removed,
    groups: dict[int, int],
    masks: Masks,
) -> None:
    """Sizes in a layer's configuration."""
    if isinstance(layer, L.InputLayer):
        _, *sizes = entry["batch_shape"]
        left = _sizes(masks[layer][0])
        entry["batch_shape"] = [
            None, *(None if old is None else new for old, new in zip(sizes, left, strict=True))
        ]  # fmt: skip
        return
    if isinstance(layer, L.MultiHeadAttention):  # kernels: (width, heads, size)
        query, value = layer._query_dense.kernel, layer._value_dense.kernel
        for field, kernel, axis in (
            ("num_heads", query, 1), ("key_dim", query, 2), ("value_dim", value, 2),
        ):  # fmt: skip
            entry[field] = kernel.shape[axis] - len(_gone(kernel, axis, removed))
        entry["output_shape"] = _sizes(masks[layer][1])[-1:]
        return
    known = kernel_of(layer)
    if known is not None:
        variable, axis, field = known
        if field:
            entry[field] = variable.shape[axis] - len(_gone(variable, axis, removed))
        if entry.get("groups", 1) != 1:
            entry["groups"] = groups.get(id(variable), entry["groups"])
    if isinstance(layer, L.GroupNormalization):  # whole groups may go
        kept = _kept(masks[layer][0], layer.axis).reshape(layer.groups, -1)
        entry["groups"] = int(kept.any(axis=1).sum())
    if isinstance(layer, LayerScale):
        entry["projection_dim"] = _sizes(masks[layer][0])[-1]
    if isinstance(layer, L.Reshape):
        left = _sizes(masks[layer][1])
        entry["target_shape"] = [
            -1 if old == -1 else new for old, new in zip(layer.target_shape, left, strict=True)
        ]


def _sizes(mask: Any) -> list[int]:
    """How many indices stay along every axis but the batch."""
    return [int(_kept(mask, k).sum()) for k in range(1, mask.ndim)]


def _cut(layer: Any, variable: Any, removed: Removed, masks: Masks) -> Any:
    """What is left of a variable."""
    array = np.asarray(variable)
    if id(variable) in removed:
        return without(array, removed[id(variable)])
    before, after = masks[layer]
    # A bias goes with the output, a norm's vectors and slopes with the input; both from the end.
    mask = after if kernel_of(layer) is not None else before
    for axis in range(-array.ndim, 0):
        if array.shape[axis] > 1 and -axis < mask.ndim and array.shape[axis] == mask.shape[axis]:
            array = np.compress(_kept(mask, axis), array, axis)
    return array
