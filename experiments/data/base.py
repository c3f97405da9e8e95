"""What a data set is to the harness.

N samples, C channels, H and W pixels. What leaves a split are arrays by the name of the input that
they are for, and targets. Pictures are float32 (N, C, H, W), normalised by the data set's mean and
standard deviation; labels are int64 (N,).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from experiments.ground.checked import checked
from experiments.ground.registry import Registry
from spa.errors import SettingError

Augment = Callable[[np.ndarray, np.random.Generator], np.ndarray]
# Arrays (N, ...) by the name of the network's input; of pictures there is one.
Inputs = dict[str, np.ndarray]
PICTURES = "input"


class Split(Protocol):
    """Samples that are read by index."""

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def take(
        self, index: np.ndarray, rng: np.random.Generator | None = None
    ) -> tuple[Inputs, np.ndarray]:
        """Read samples and their targets; with a generator they are augmented as for training."""
        ...

    def fingerprint(self) -> str:
        """Return a hash that another choice of samples, or another order, would change."""
        ...


@dataclass(frozen=True)
class ArraySplit:
    """Samples that fit in memory.

    Attributes:
        images: (N, C, H, W), uint8 in 0..255 or float32 in 0..1.
        labels: (N,) int64.
        mean: (C,) of the pictures in 0..1.
        std: (C,)
        augment: changes a batch of pictures in 0..1; None for a data set that needs none.
    """

    images: np.ndarray
    labels: np.ndarray
    mean: np.ndarray
    std: np.ndarray
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
        return {PICTURES: normalise(x, self.mean, self.std)}, self.labels[index]

    def fingerprint(self) -> str:
        """Hash all pictures and labels."""
        content = hashlib.sha256()
        for array in (self.images, self.labels):
            content.update(f"{array.dtype.str}{array.shape}".encode())
            content.update(np.ascontiguousarray(array).data)
        return content.hexdigest()


@dataclass(frozen=True)
class Dataset:
    """A data set, ready to train and test on.

    Attributes:
        shape: (C, H, W) of one picture.
        ood: where calibration inputs of another distribution come from: ``photos`` or the name
            of a data set.
        task: what is asked of networks, by its name.
    """

    name: str
    train: Split
    test: Split
    shape: tuple[int, int, int]
    classes: int
    mean: np.ndarray
    std: np.ndarray
    ood: str = "photos"
    task: str = "classification"

    def example(self) -> np.ndarray:
        """Return two pictures (2, C, H, W) as a network gets them."""
        return only(self.test.take(np.arange(2))[0])

    def fingerprint(self) -> str:
        """Hash what is trained and tested on; no augmentation, no normalisation."""
        return hashlib.sha256(
            f"{self.shape} {self.train.fingerprint()} {self.test.fingerprint()}".encode()
        ).hexdigest()


def aside(default: Any) -> Any:
    """Declare an option that says how data are read, or what else is at hand, not what they are."""
    return field(default=default, metadata={"aside": True})


@dataclass(frozen=True)
class Options:
    """The options that every data set has; what ``dataset.<key>`` takes.

    Attributes:
        ood: where calibration inputs of another distribution come from: ``photos`` or the name
            of a data set.
    """

    ood: str = aside("photos")


Loader = Callable[[Any, Path, int], Dataset]


@dataclass(frozen=True)
class Kind:
    """A registered data set.

    Attributes:
        load: takes its options, where data sets lie, and how many threads decode pictures.
        options: the dataclass of its options.
    """

    load: Loader
    options: type[Options]

    def __call__(self, chosen: Mapping[str, Any], root: Path, workers: int) -> Dataset:
        """Load it."""
        return self.load(self._made(chosen), root, workers)

    def checked(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """Return all options by name, with the data set's own name.

        Raises:
            SettingError: an option has no meaning, or is none of the data set's.
        """
        return {"name": chosen["name"], **vars(self._made(chosen))}

    def identity(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """Return what of the options says which data they are."""
        left_out = {f.name for f in fields(self.options) if f.metadata.get("aside")}
        return {key: value for key, value in chosen.items() if key not in left_out}

    def _made(self, chosen: Mapping[str, Any]) -> Options:
        own = {key: value for key, value in chosen.items() if key != "name"}
        return checked(self.options, own, "dataset")


DATASETS: Registry[Kind] = Registry("dataset", package="experiments.data")


def dataset(name: str, options: type[Options] = Options) -> Callable[[Loader], Loader]:
    """Register the decorated function as what loads a data set."""

    def decorate(load: Loader) -> Loader:
        DATASETS.register(name)(Kind(load, options))
        return load

    return decorate


def find_root(data_root: str | Path | None) -> Path:
    """Return the folder that data sets are looked for in and downloaded to."""
    default = os.environ.get("SPA_DATA") or Path.home() / ".cache" / "spa-data"
    return Path(data_root or default).expanduser()


def load(
    options: Mapping[str, Any], data_root: str | Path | None = None, workers: int = 1
) -> Dataset:
    """Load the data set that ``options["name"]`` names.

    Args:
        options: by name, the data set's own among them.
        data_root: where data sets lie; None: ``$SPA_DATA``, else a folder in the user's cache.
        workers: threads that decode pictures.

    Raises:
        SettingError: no data set has that name, or an option has no meaning.
        InputError: its files are missing or broken; the message says how to get them.
    """
    return DATASETS.get(str(options["name"]))(options, find_root(data_root), workers)


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
) -> Dataset:
    """Make a data set of two pairs of arrays (pictures, labels)."""
    mu, sigma = np.array(mean, np.float32), np.array(std, np.float32)
    _, c, h, w = train[0].shape
    return Dataset(
        name=name,
        train=ArraySplit(train[0], train[1].astype(np.int64), mu, sigma, augment),
        test=ArraySplit(test[0], test[1].astype(np.int64), mu, sigma),
        shape=(c, h, w),
        classes=classes,
        mean=mu,
        std=sigma,
        ood=ood,
    )


def normalise(x: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Bring pictures in 0..1 to zero mean and unit variance per channel; x: (N, C, H, W)."""
    scaled = (x - mean[:, None, None]) / std[:, None, None]
    return np.ascontiguousarray(scaled, dtype=np.float32)


def batches(
    split: Split, size: int, rng: np.random.Generator | None = None, first: int = 0
) -> Iterator[tuple[Inputs, np.ndarray]]:
    """Go through a split once: shuffled and augmented with a generator, in order without.

    Each batch is augmented with a generator of its own, so that those before the first one that is
    wanted need not be made. A last batch of a single sample is joined to the one before it when
    training: batch norm has no variance of one sample.
    """
    order = np.arange(len(split)) if rng is None else rng.permutation(len(split))
    starts = list(range(0, len(order), size))
    if rng is not None and len(starts) > 1 and len(order) - starts[-1] == 1:
        starts.pop()
    rngs = [None] * len(starts) if rng is None else rng.spawn(len(starts))
    bounds = zip(starts, [*starts[1:], len(order)], rngs, strict=True)
    for start, stop, own in islice(bounds, first, None):
        yield split.take(order[start:stop], own)


def only(inputs: Inputs) -> np.ndarray:
    """Return the one input of samples, for what takes no names.

    Raises:
        SettingError: there are several.
    """
    if len(inputs) != 1:
        raise SettingError(f"one input is needed, but the data have {', '.join(inputs)}")
    (x,) = inputs.values()
    return x


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
