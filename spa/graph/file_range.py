"""Weights that lie in a file, read whenever they are asked for."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spa.errors import ModelError
from spa.graph.deferred import Array, Masks, cut_slices

# Bytes of a weight that are read at once where parts of it are wanted.
BLOCK_BYTES = 2**22


@dataclass(frozen=True)
class FileRange:
    """Reads a tensor out of a file, which must be the one that was there before.

    It is read rather than mapped: pages that are mapped count as this process's memory as long as
    the mapping, and end the process when somebody shortens the file.

    Attributes:
        path: the file.
        offset: where the tensor begins, in bytes.
        dtype: its type.
        shape: its shape.
        stamp: which file it was, and when last changed; see `stamp`.
    """

    path: Path
    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    stamp: tuple[int, ...]

    def __call__(self) -> Array:
        """Reads it.

        Raises:
            ModelError: the file is gone, or not what it was.
        """
        (array,) = self._filled([np.empty(self.shape, self._stored)])
        return array

    def cut(self, masks: Masks) -> Array:
        """Reads what stays of it, block by block; errors as in a call."""
        left = [
            size if mask is None else np.count_nonzero(mask)
            for size, mask in zip(self.shape, masks, strict=True)
        ]
        result = np.empty(left, self._stored)
        row_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize
        step = max(1, BLOCK_BYTES // max(1, row_bytes))
        block = np.empty((step, *self.shape[1:]), self._stored)
        starts = range(0, self.shape[0], step)
        blocks = self._filled(block[: self.shape[0] - start] for start in starts)
        first, *others = masks
        end = 0
        for start, rows in zip(starts, blocks, strict=True):
            stays = None if first is None else first[start : start + step]
            part = cut_slices(rows, (stays, *others))
            result[end : end + len(part)] = part
            end += len(part)
        return result

    @property
    def _stored(self) -> np.dtype[Any]:
        return self.dtype.newbyteorder("<")

    def _filled(self, arrays: Iterable[Array]) -> Iterator[Array]:
        """Fills arrays from the file, one after another."""
        try:
            with self.path.open("rb", buffering=0) as file:
                same = stamp(os.fstat(file.fileno())) == self.stamp
                file.seek(self.offset)
                for array in arrays:
                    rest = array.reshape(-1).view(np.uint8).data
                    while same and rest:
                        count = file.readinto(rest)
                        same, rest = bool(count), rest[count or 0 :]
                    if not same:
                        raise ModelError(
                            f"{self.path} was changed while SPA was at work; start again."
                        )
                    yield array
        except OSError as error:
            raise ModelError(f"{self.path} cannot be read: {error.strerror}.") from error


def stamp(status: os.stat_result) -> tuple[int, ...]:
    """What tells a file from another one in its place."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
