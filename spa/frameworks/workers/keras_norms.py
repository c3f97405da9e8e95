"""Vectors of a Keras model as its export has them, and back.

    x = kernel(z) + bias
    y = gamma * (x - mean) / sqrt(variance + epsilon) + beta = scale * x + shift

An export has a norm's scale and shift, or a kernel that was multiplied by the scale, whose bias is
then scale * bias + shift. Where these are other than the model's own (they were trained, or
refitted), the kernel becomes that kernel, and the norm what is left: a scale of one, and the shift.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import keras
import numpy as np
from common import Refusal
from keras_shrinking import KERNELS, kernel_of, layers_of, named

L = keras.layers
Turn = Callable[[Any], Any]
PASSED = (L.Dropout, L.SpatialDropout1D, L.SpatialDropout2D, L.SpatialDropout3D, L.Identity)
# Largest difference of what is the same, as a share of the largest value.
SAME = 1e-5


def exported(model: Any) -> dict[str, Any]:
    """All that may be a weight of an export, by name: variables, and norms' vectors."""
    found = {name: np.asarray(v) for name, v in named(model).items() if _is_float(v)}
    norms = _norms(model)
    for norm, name in norms.items():
        scale, shift = _line(norm)
        found |= {f"{name}:scale": scale, f"{name}:shift": shift}
    for layer, norm in _folded(model):
        if getattr(layer, "bias", None) is not None:
            scale, shift = _line(norm)
            found[f"{norms[norm]}:shift and bias"] = scale * np.asarray(layer.bias) + shift
    return found | {name: turn(np.asarray(v)) for name, v, turn, _ in _turned(model)}


def mark_all(model: Any) -> None:
    """Gives all variables random values, which do not cancel in a norm's shift."""
    rng = np.random.default_rng(1)
    for variable in model.variables:
        if not _is_float(variable):
            continue
        draw = rng.uniform(0.5, 1.5, variable.shape)
        if len(variable.shape) > 1:
            draw = rng.standard_normal(variable.shape)
        variable.assign(-draw if variable.name == "moving_mean" else draw)


def told_apart(model: Any) -> dict[str, Any]:
    """Changes the last bits of variables whose entries are all equal; returns the old ones by name.

    TensorFlow drops zeros that are added and ones that are multiplied, and makes equal vectors one:
    a fresh model's export would have no biases, and one shift for all norms, to be trained.
    """
    rng = np.random.default_rng(2)
    variables = named(model)
    old = {name: np.asarray(v) for name, v in variables.items() if _is_float(v)}
    old = {k: a for k, a in old.items() if a.ndim and a.size and (a == a.flat[0]).all()}
    # Next to zero it is far below what a sum notices; in half precision less is zero.
    half = any(layer.compute_dtype == "float16" for layer in model._flatten_layers())
    least = 1.0 if half else 1e-14
    for name, value in old.items():
        change = rng.uniform(1.0, 2.0, value.shape) * 1e-6
        variables[name].assign(value * (1 + change) if value.any() else change * least)
    return old


def restore(model: Any, old: Mapping[str, Any]) -> None:
    """Puts old values back."""
    variables = named(model)
    for name, value in old.items():
        variables[name].assign(value)


def put(model: Any, old: Any, values: Mapping[str, Any], scaled: set[str]) -> None:
    """Gives a smaller model the values that its export has.

    Args:
        model: the smaller model.
        old: the model that it was made from, whose names the values go by.
        values: by name, as in `exported`.
        scaled: names of the kernels that were multiplied by the scale of a norm.
    """
    names = dict(zip(named(old), model.variables, strict=True))
    labels = _norms(model)
    lines = {name: _line(norm) for norm, name in labels.items()}
    wanted = {
        name: [values.get(f"{name}:{what}", line[i]) for i, what in enumerate(("scale", "shift"))]
        for name, line in lines.items()
    }
    norms = {id(kernel_of(layer)[0]): (layer, norm) for layer, norm in _folded(model)}
    for name, variable in names.items():
        if name not in values:
            continue
        value, own = values[name], np.asarray(variable)
        if name in scaled:
            if id(variable) not in norms:
                continue  # no norm did it: what comes out is judged
            layer, norm = norms[id(variable)]
            own = _times(layer, own, lines[labels[norm]][0])
            if not _same(value, own):
                wanted[labels[norm]][0] = np.ones_like(lines[labels[norm]][0])
        if not _same(value, own):
            variable.assign(value)
    for layer, norm in _folded(model):
        whole = values.get(f"{labels[norm]}:shift and bias")
        if whole is not None:
            wanted[labels[norm]][1] = whole - wanted[labels[norm]][0] * np.asarray(layer.bias)
    for name, variable, turn, back in _turned(model):
        if name in values and not _same(values[name], turn(np.asarray(variable))):
            variable.assign(back(values[name]))
    for norm, name in labels.items():
        if not all(map(_same, wanted[name], lines[name])):
            _set_line(norm, *wanted[name])


def _turned(model: Any) -> Iterator[tuple[str, Any, Turn, Turn]]:
    """Variables that an export has otherwise: a name for that, the variable, there and back."""
    for number, layer in enumerate(layers_of(model)):
        label = f"{number} {layer.name}"
        if isinstance(layer, L.PReLU):
            yield f"{label}:negative", layer.alpha, np.negative, np.negative
        if isinstance(layer, L.GroupNormalization):
            # (C,) -> (groups, C / groups)
            apart = partial(_shaped, shape=(layer.groups, -1))
            for what in ("gamma", "beta"):
                if getattr(layer, what) is not None:
                    yield f"{label}:{what} by groups", getattr(layer, what), apart, np.ravel


def _shaped(array: Any, shape: tuple[int, ...]) -> Any:
    return array.reshape(shape)


def _norms(model: Any) -> dict[Any, str]:
    """Batch norms, with names that are the same in a smaller model."""
    return {
        layer: f"{number} {layer.name}"
        for number, layer in enumerate(layers_of(model))
        if isinstance(layer, L.BatchNormalization)
    }


def _line(norm: Any) -> tuple[Any, Any]:
    """Scale and shift of a batch norm."""
    scale = 1 / np.sqrt(np.asarray(norm.moving_variance) + norm.epsilon)
    if norm.gamma is not None:
        scale = scale * np.asarray(norm.gamma)
    shift = -np.asarray(norm.moving_mean) * scale
    if norm.beta is not None:
        shift = shift + np.asarray(norm.beta)
    return scale, shift


def _set_line(norm: Any, scale: Any, shift: Any) -> None:
    """Makes a batch norm one of this scale and shift; what has no gamma or beta says it otherwise.

    The variance stays where gamma can say it all, and the mean is zero where beta can.
    """
    if norm.gamma is not None:
        norm.gamma.assign(scale * np.sqrt(np.asarray(norm.moving_variance) + norm.epsilon))
    elif (scale <= 0).any() or (scale**-2.0 < norm.epsilon).any():
        raise Refusal(
            f"BatchNormalization {norm.name} has no gamma, and cannot scale by numbers that were "
            f"trained to lie from {scale.min():.3g} to {scale.max():.3g}; make it with scale=True"
        )
    else:
        norm.moving_variance.assign(scale**-2.0 - norm.epsilon)
    if norm.beta is not None:
        norm.moving_mean.assign(np.zeros_like(shift))
        norm.beta.assign(shift)
    else:
        norm.moving_mean.assign(-shift / np.where(scale == 0, 1, scale))


def _folded(model: Any) -> Iterator[tuple[Any, Any]]:
    """Layers with kernels that a batch norm follows and nothing else reads, and that norm."""
    for layer in layers_of(model):
        if type(layer) not in KERNELS:
            continue
        after = layer
        while True:
            readers = {id(node.operation): node.operation for node in after._outbound_nodes}
            if len(readers) != 1:
                break
            (after,) = readers.values()
            if isinstance(after, L.BatchNormalization):
                yield layer, after
            if not isinstance(after, PASSED):
                break


def _times(layer: Any, kernel: Any, scale: Any) -> Any:
    """A kernel whose output is multiplied by a scale, channel by channel."""
    variable, axis, field = kernel_of(layer)
    if not field:  # depthwise: (k..., C, multiplier)
        return kernel * scale.reshape(kernel.shape[-2:])
    shape = [1] * kernel.ndim
    shape[axis] = -1
    return kernel * scale.reshape(shape)


def _same(value: Any, own: Any) -> bool:
    if value.shape != own.shape:
        return False  # it cannot be given, and what comes out is judged
    return bool(np.abs(value - own).max(initial=0) <= SAME * np.abs(own).max(initial=0) + 1e-12)


def _is_float(variable: Any) -> bool:
    return str(variable.dtype).startswith(("float", "bfloat"))
