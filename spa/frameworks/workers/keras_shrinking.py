"""A Keras model made smaller: the same layers, with smaller sizes, and what is left of the weights.

What goes of kernels is known. To know it of all other variables (norms, slopes), the model is run
on masks: a layer with a kernel gives a one for every channel that stays and a zero for every other,
a layer that works on every entry alone passes masks on, and what moves entries moves masks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from common import Refusal, without
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
PASSES = (
    L.InputLayer, L.Activation, L.ReLU, L.LeakyReLU, L.PReLU, L.ELU, L.Softmax, L.Dropout,
    L.SpatialDropout1D, L.SpatialDropout2D, L.SpatialDropout3D, L.GaussianNoise,
    L.GaussianDropout, L.ActivityRegularization, L.BatchNormalization, L.LayerNormalization,
    L.RMSNormalization, L.GroupNormalization, L.Normalization, L.Rescaling, L.Identity,
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
    L.GlobalAveragePooling2D, L.GlobalAveragePooling3D,
)  # fmt: skip


def shrunk(model: Any, removed: dict[str, Any], groups: dict[str, int], example: Any) -> Any:
    """Makes a smaller model.

    Args:
        model: a functional or sequential model.
        removed: by path of a kernel's variable, what goes.
        groups: by path of a kernel's variable, how many groups a convolution has.
        example: inputs of the model.

    Raises:
        Refusal: a layer is not followed.
    """
    if not hasattr(model, "_run_through_graph") and not isinstance(model, keras.Sequential):
        raise Refusal(
            f"{type(model).__name__} is neither a functional nor a sequential model, so that its "
            "layers cannot be made anew"
        )
    masks = _masks(model, removed, example)
    config = model.get_config()
    for entry, layer in _entries(config, model):
        _resize(entry, layer, removed, groups, masks)
    smaller = type(model).from_config(config)
    for old, new in zip(layers_of(model), layers_of(smaller), strict=True):
        for before, after in zip(old.variables, new.variables, strict=True):
            array = _cut(old, before, removed, masks)
            if array.shape != tuple(after.shape):
                raise Refusal(
                    f"{type(old).__name__} {old.name} would have {after.path} of {after.shape}, "
                    f"but {array.shape} is left of it"
                )
            after.assign(array)
    return smaller


def layers_of(model: Any) -> list[Any]:
    """Layers that do something."""
    return [layer for layer in model.layers if not isinstance(layer, L.InputLayer)]


def _entries(config: dict[str, Any], model: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """Configurations of layers, and the layers."""
    by_name = {layer.name: layer for layer in layers_of(model)}
    for entry in config["layers"]:
        entry.pop("build_config", None)  # shapes of old; layers take what they are given
        name = entry["config"].get("name")
        if name in by_name:
            yield entry["config"], by_name[name]


def _masks(model: Any, removed: dict[str, Any], example: Any) -> dict[str, tuple[Any, Any]]:
    """By layer, masks of its first input and of its output, as arrays of zeros and ones."""
    masks: dict[str, tuple[Any, Any]] = {}

    def stand_in(layer: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            inputs = [np.asarray(a) for a in keras.tree.flatten(arguments)]
            output = _passed(layer, inputs, arguments, removed)
            masks[layer.name] = (inputs[0], output)
            return keras.ops.convert_to_tensor(output)

        return call

    functional = model._functional if isinstance(model, keras.Sequential) else model
    inputs = [keras.ops.convert_to_tensor(np.ones_like(array)) for array in example]
    functional._run_through_graph(inputs, operation_fn=stand_in)
    return masks


def _passed(layer: Any, inputs: list[Any], arguments: Any, removed: dict[str, Any]) -> Any:
    """The mask that a layer gives."""
    known = kernel_of(layer)
    if known is not None:
        variable, axis, _ = known
        stays = np.ones(variable.shape[axis], np.float32)
        for where, indices in removed.get(variable.path, ()):
            if where == axis % len(variable.shape):
                stays[indices] = 0
        return np.broadcast_to(stays, np.asarray(layer(*arguments)).shape)
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
        return (np.asarray(layer(*arguments)) > 0).astype(np.float32)
    raise Refusal(
        f"{type(layer).__name__} {layer.name} is not followed, so that a smaller Keras model "
        "cannot be made"
    )


def kernel_of(layer: Any) -> tuple[Any, int, str] | None:
    """A layer's kernel, the axis of it that is the output's, and the field that says its size."""
    known = KERNELS.get(type(layer))
    if known is None:
        return None
    name, axis, field = known
    return getattr(layer, name), axis, field


def _kept(mask: Any, axis: int) -> Any:
    """Which indices along an axis stay."""
    return mask.any(axis=tuple(k for k in range(mask.ndim) if k != axis % mask.ndim))


def _resize(
    entry: dict[str, Any],
    layer: Any,
    removed: dict[str, Any],
    groups: dict[str, int],
    masks: dict[str, tuple[Any, Any]],
) -> None:
    """Sizes in a layer's configuration."""
    known = kernel_of(layer)
    if known is not None:
        variable, axis, field = known
        if field:
            gone = dict((k, v) for k, v in removed.get(variable.path, ()))
            entry[field] = variable.shape[axis] - len(gone.get(axis % len(variable.shape), ()))
        if entry.get("groups", 1) != 1:
            entry["groups"] = groups.get(variable.path, entry["groups"])
    if isinstance(layer, L.GroupNormalization):  # whole groups may go
        kept = _kept(masks[layer.name][0], layer.axis).reshape(layer.groups, -1)
        entry["groups"] = int(kept.any(axis=1).sum())
    if isinstance(layer, L.Reshape):
        output = masks[layer.name][1]
        entry["target_shape"] = [int(_kept(output, k).sum()) for k in range(1, output.ndim)]


def _cut(layer: Any, variable: Any, removed: dict[str, Any], masks: dict[str, Any]) -> Any:
    """What is left of a variable."""
    array = np.asarray(variable)
    if variable.path in removed:
        return without(array, removed[variable.path])
    before, after = masks[layer.name]
    # A bias goes with the output, a norm's vectors and slopes with the input; both from the end.
    mask = after if kernel_of(layer) is not None else before
    for axis in range(-array.ndim, 0):
        if array.shape[axis] > 1 and -axis < mask.ndim and array.shape[axis] == mask.shape[axis]:
            array = np.compress(_kept(mask, axis), array, axis)
    return array
