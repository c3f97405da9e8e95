"""Pictures: how they are held, normalised, augmented and resized.

N samples, C channels, H and W pixels. Pictures are float32 (N, C, H, W), normalised by the data
set's mean and standard deviation; labels are int64 (N,).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from experiments.data.base import ONE, Dataset, Inputs, Scale

Augment = Callable[[np.ndarray, np.random.Generator], np.ndarray]
File = TypeVar("File")
Decoded = TypeVar("Decoded")


@dataclass(frozen=True)
class PictureSplit:
    """Pictures that fit in memory; see `experiments.data.base.Split`.

    Attributes:
        images: (N, C, H, W), uint8 in 0..255 or float32 in 0..1.
        labels: (N,) int64.
        scale: of the pictures in 0..1.
        augment: changes a batch of pictures in 0..1; None for a data set that needs none.
    """

    images: np.ndarray
    labels: np.ndarray
    scale: Scale
    augment: Augment | None = None

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.labels)

    def take(
        self, index: np.ndarray, rng: np.random.Generator | None = None
    ) -> tuple[Inputs, np.ndarray]:
        """Read samples; with a generator they are augmented as for training."""
        x = self.images[index]
        x = x.astype(np.float32) / 255 if x.dtype == np.uint8 else x
        if rng is not None and self.augment is not None:
            x = self.augment(x, rng)
        return {ONE: normalise(x, self.scale)}, self.labels[index]

    def fingerprint(self) -> str:
        """Hash all pictures and labels."""
        return hashed(self.images, self.labels)


def from_arrays(
    name: str,
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    classes: int,
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    augment: Augment | None = None,
    ood: str = "photos",
    validation: tuple[np.ndarray, np.ndarray] | None = None,
) -> Dataset:
    """Make a data set of pairs of arrays (pictures, labels); only training ones are augmented."""
    scale = Scale(np.array(mean, np.float32), np.array(std, np.float32))

    def split(pair: tuple[np.ndarray, np.ndarray], how: Augment | None = None) -> PictureSplit:
        return PictureSplit(pair[0], pair[1].astype(np.int64), scale, how)

    return Dataset(
        name=name,
        train=split(train, augment),
        test=split(test),
        classes=classes,
        scale=scale,
        ood=ood,
        validation=None if validation is None else split(validation),
    )


def hashed(*arrays: np.ndarray) -> str:
    """Hash arrays with their types and shapes."""
    content = hashlib.sha256()
    for array in arrays:
        content.update(f"{array.dtype.str}{array.shape}".encode())
        content.update(np.ascontiguousarray(array).data)
    return content.hexdigest()


def decoded(
    read: Callable[[File, np.random.Generator | None], Decoded],
    files: Sequence[File],
    rng: np.random.Generator | None,
    workers: int,
) -> list[Decoded]:
    """Read files in threads; with a generator each is augmented as for training."""
    # One generator per picture, so that the threads' order does not matter.
    rngs = [None] * len(files) if rng is None else rng.spawn(len(files))
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(read, files, rngs))


def normalise(x: np.ndarray, scale: Scale) -> np.ndarray:
    """Bring pictures in 0..1 to zero mean and unit variance per channel; x: (N, C, H, W)."""
    scaled = (x - scale.mean[:, None, None]) / scale.std[:, None, None]
    return np.ascontiguousarray(scaled, dtype=np.float32)


def restore(x: np.ndarray, scale: Scale) -> np.ndarray:
    """The way back from `normalise`."""
    return np.asarray(x * scale.std[:, None, None] + scale.mean[:, None, None])


def crop_and_flip(
    x: np.ndarray, rng: np.random.Generator, *, pad: int = 4, flip: bool = True
) -> np.ndarray:
    """Shift every picture by up to ``pad`` pixels, zeros coming in, and mirror half of them."""
    n, _, h, w = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (h, w), axis=(2, 3))
    top, left = rng.integers(0, 2 * pad + 1, size=(2, n))
    out = windows[np.arange(n), :, top, left]
    if flip:
        mirrored = rng.random(n) < 0.5
        out[mirrored] = out[mirrored, :, :, ::-1]
    return out


def resize(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize (N, C, H, W) by nearest pixels where it grows and by area where it shrinks."""
    for axis, size in ((2, height), (3, width)):
        have = x.shape[axis]
        if size >= have:
            x = np.take(x, np.arange(size) * have // size, axis=axis)
        else:
            edges = np.arange(size + 1) * have // size
            sums = np.add.reduceat(x, edges[:-1], axis=axis)
            counts = np.diff(edges).reshape([-1 if i == axis else 1 for i in range(4)])
            x = sums / counts
    return x
