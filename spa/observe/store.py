"""Activations of many batches: in memory up to a budget, in files of a temporary folder beyond.

What nobody holds any more is given back at once, in memory or on disk.
"""

from __future__ import annotations

import tempfile
import weakref
from pathlib import Path

import numpy as np

from spa.graph.model import Array


class Held:
    """One array of a store.

    Args:
        array: its value, where it is in memory.
        path: its file, where it is not.
    """

    __slots__ = ("__weakref__", "_array", "_dtype", "_path", "shape")

    def __init__(self, array: Array, path: Path | None) -> None:
        self.shape: tuple[int, ...] = getattr(array, "shape", ())
        self._dtype = getattr(array, "dtype", None)
        self._array = array if path is None else None
        self._path = path

    def get(self) -> Array:
        """The value; not to be written to."""
        if self._path is None:
            assert self._array is not None
            return self._array
        # Read, not mapped: pages of a mapped file count as this process's memory.
        return np.fromfile(self._path, self._dtype).reshape(self.shape)


class Store:
    """Keeps arrays.

    Args:
        budget: bytes in memory, at most.
    """

    def __init__(self, budget: int) -> None:
        self._budget, self._used, self._files = budget, 0, 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def put(self, array: Array) -> Held:
        """Takes an array; text and other objects stay in memory."""
        if not isinstance(array, np.ndarray):  # a sequence of tensors
            return Held(array, None)
        size = array.nbytes
        if self._used + size <= self._budget or array.dtype.hasobject:
            held = Held(array, None)
            self._used += size
            weakref.finalize(held, self._give_back, size)
            return held
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="spa-activations-")
        path = Path(self._folder.name) / str(self._files)
        self._files += 1
        np.ascontiguousarray(array).tofile(path)
        held = Held(array, path)
        weakref.finalize(held, path.unlink, missing_ok=True)
        return held

    def _give_back(self, size: int) -> None:
        self._used -= size
