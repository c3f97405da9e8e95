"""New weights of a walk: in memory while they are few, in files of a temporary folder beyond.

The files live as long as a model that was made of them does.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx

from spa.graph.deferred import defer
from spa.graph.model import Array, Model
from spa.graph.weightless import LARGE

# Bytes of new weights that are held.
HELD = 2**28


@dataclass(frozen=True, eq=False)
class _File:
    """Reads a weight.

    Attributes:
        path: where it is.
        dtype: of its elements.
        shape: its shape.
        folder: what must not go before.
    """

    path: Path
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    folder: tempfile.TemporaryDirectory[str] = field(repr=False)

    def __call__(self) -> Array:
        return np.fromfile(self.path, self.dtype).reshape(self.shape)


class Kept:
    """Weights by name.

    Args:
        model: whose parameters they are.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._values: dict[str, Array | _File] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._held = 0

    @property
    def names(self) -> tuple[str, ...]:
        """Parameters that have a new value."""
        return tuple(self._values)

    def put(self, name: str, value: Array) -> None:
        """Takes a parameter's new value."""
        value = np.ascontiguousarray(value)
        if self._held + value.nbytes <= HELD or value.size < LARGE:
            self._held += value.nbytes
            self._values[name] = value
            return
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="spa-weights-")
        path = Path(self._folder.name) / str(len(self._values))
        value.tofile(path)
        self._values[name] = _File(path, value.dtype, value.shape, self._folder)

    def get(self, name: str) -> Array | None:
        """A parameter's new value; None where it has none."""
        value = self._values.get(name)
        return value() if isinstance(value, _File) else value

    def tensor(self, name: str) -> onnx.TensorProto:
        """The new value as a tensor of a model."""
        value = self._values[name]
        if isinstance(value, _File):
            return defer(name, self._model.data_type(name), value.shape, value)
        return onnx.numpy_helper.from_array(value, name)
