"""Weights that are not held: each is read, or made, whenever somebody asks for its value.

In a ``ModelProto`` such a weight is an external tensor whose location is a word of this process's
own. The word is not to be guessed, so no file that comes in can name one. What stands behind it is
a maker: it reads a range of a file, or edits what another maker gives, and keeps nothing.
"""

from __future__ import annotations

import functools
import math
import secrets
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import onnx

Array = npt.NDArray[Any]
# By axis, which indices stay; None where all do.
Masks = tuple[npt.NDArray[np.bool_] | None, ...]
# Gives the value of a tensor. An array that may be written to is the caller's own.
Maker = Callable[[], Array]

# Whoever meets this in a file that another program wrote from the model learns what to do.
LOCATION = "held by SPA; write this model with spa.save"
# Makers are small (a place in a file, the masks of a cut), and stay as long as the process.
_MAKERS: dict[str, Maker] = {}


def defer(name: str, data_type: int, dims: Sequence[int], make: Maker) -> onnx.TensorProto:
    """A tensor whose value is made when it is asked for."""
    word = f"{LOCATION} ({secrets.token_hex(8)})"
    _MAKERS[word] = make
    tensor = onnx.TensorProto(
        name=name, data_type=data_type, dims=dims, data_location=onnx.TensorProto.EXTERNAL
    )
    tensor.external_data.add(key="location", value=word)
    return tensor


def is_deferred(tensor: onnx.TensorProto) -> bool:
    """Whether a tensor's value is made when it is asked for."""
    return _word(tensor) in _MAKERS


def maker(tensor: onnx.TensorProto) -> Maker:
    """What gives a deferred tensor's value, without the tensor."""
    return _MAKERS[_word(tensor)]


def array_of(tensor: onnx.TensorProto) -> Array:
    """The value of any tensor of a model that SPA has read."""
    if is_deferred(tensor):
        return maker(tensor)()
    return np.asarray(onnx.numpy_helper.to_array(tensor))


def own(array: Array) -> Array | None:
    """An array where nobody else holds it, as NumPy's ``out``; None for a new one.

    Large weights fill fresh memory more slowly than anything is computed with them.
    """
    return array if array.flags.writeable else None


def cut_slices(value: Array, masks: Masks) -> Array:
    """Takes the removed slices out of a value."""
    for axis, mask in enumerate(masks):
        if mask is not None:
            value = np.compress(mask, value, axis=axis)
    return value


@runtime_checkable
class Cuttable(Protocol):
    """A maker that can make what stays of a value without all of it."""

    def __call__(self) -> Array:
        """Makes the value."""

    def cut(self, masks: Masks) -> Array:
        """Makes what stays of it."""


def dtype_of(tensor: onnx.TensorProto) -> np.dtype[Any]:
    """The type of a tensor's elements in NumPy."""
    return _numpy_type(tensor.data_type)


@functools.cache
def _numpy_type(data_type: int) -> np.dtype[Any]:
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(data_type))


def size_of(tensor: onnx.TensorProto) -> int:
    """Bytes of a tensor's value."""
    return int(math.prod(tensor.dims)) * dtype_of(tensor).itemsize


def held(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model itself where nothing is deferred; else a copy that holds all weights."""
    if not any(is_deferred(tensor) for tensor in proto.graph.initializer):
        return proto
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for tensor in copy.graph.initializer:
        if is_deferred(tensor):
            tensor.CopyFrom(onnx.numpy_helper.from_array(array_of(tensor), tensor.name))
    return copy


def _word(tensor: onnx.TensorProto) -> str:
    if tensor.data_location != onnx.TensorProto.EXTERNAL or not tensor.external_data:
        return ""
    return str(tensor.external_data[0].value)
