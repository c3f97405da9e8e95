"""`dataset=npz dataset.path=data.npz`: arrays in files of a user's own.

A file holds ``x`` (or arrays by the names of the network's inputs), whose first axis is the sample,
and ``y``, the targets, as `spa prune --data` takes them; they are taken as they are. Where no file
is tested on, or chosen by, a share of the samples of every label is held out, the same ones always.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from experiments.data.base import ONE, ArraySplit, Dataset, Options, aside, dataset
from experiments.data.holdout import hold_out
from experiments.ground import files
from spa.errors import InputError, SettingError

MOST = 16 * 2**30  # bytes of a file's arrays together
Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True)
class Npz(Options):
    """The options of npz.

    Attributes:
        path: the file that is trained on.
        test: that which is tested on; None: a share of ``path``.
        validation: that by which settings are chosen; None: a share of what is trained on.
        test_share: of the samples of ``path``, where there is no file to test on.
        validation_share: of what is left; 0: there is no validation split.
        task: what is asked of networks.
        classes: how many labels there are; None: the largest label says.
    """

    path: str | None = aside(None)
    test: str | None = aside(None)
    validation: str | None = aside(None)
    test_share: Share = 0.2
    validation_share: Share = 0.1
    task: str = "classification"
    classes: Annotated[int, Field(ge=1)] | None = None

    def content(self) -> dict[str, str]:
        """The files by their content, not by where they lie."""
        named = {"path": self.path, "test": self.test, "validation": self.validation}
        return {f"{key}_sha256": _hashed(Path(file)) for key, file in named.items() if file}


@dataset("npz", Npz)
def npz(options: Npz, root: Path, workers: int) -> Dataset:
    """Arrays of your own: dataset.path=data.npz holds x, or arrays by input names, and y."""
    if options.path is None:
        raise SettingError("dataset=npz needs a file: dataset.path=data.npz, with arrays x and y")
    train = read(Path(options.path))
    if options.test is None:
        train, test = _parted(train, options.test_share, "test_share")
    else:
        test = read(Path(options.test))
    validation = None
    if options.validation is not None:
        validation = read(Path(options.validation))
    elif options.validation_share:
        train, validation = _parted(train, options.validation_share, "validation_share")
    for other in filter(None, (test, validation)):
        _alike(train, other)
    splits = [train, test, *filter(None, [validation])]
    found = 1 + max(int(split.targets.max(initial=0)) for split in splits)
    if options.classes is not None and options.classes < found:
        raise InputError(f"dataset.classes is {options.classes}, but labels go up to {found - 1}")
    return Dataset(
        name="npz",
        train=train,
        test=test,
        classes=options.classes or found,
        task=options.task,
        ood=options.ood,
        validation=validation,
    )


def read(path: Path) -> ArraySplit:
    """Read a file.

    Raises:
        InputError: it is none, or its arrays do not fit together; the message names them.
    """
    try:
        size = sum(entry.file_size for entry in zipfile.ZipFile(path).infolist())
        if size > MOST:
            raise InputError(
                f"{path} holds {size / 2**30:.0f} GiB; at most {MOST // 2**30} are read"
            )
        with np.load(path, allow_pickle=False) as held:
            arrays = {name: held[name] for name in held.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, MemoryError) as error:
        raise InputError(f"{path} is no file of arrays (numpy.savez): {error}") from error
    targets = arrays.pop("y", None)
    if targets is None or not arrays:
        held_names = ", ".join([*arrays, *(() if targets is None else ["y"])]) or "nothing"
        raise InputError(
            f"{path} holds {held_names}, but needs x, or arrays by the names of the inputs, and y"
        )
    counts = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    counts["y"] = len(targets) if targets.ndim else 0
    if len(set(counts.values())) > 1 or not counts["y"]:
        raise InputError(f"{path}: arrays have as many samples each, but these have {counts}")
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf" or not np.isfinite(array).all():
            raise InputError(f"{path}: {name} ({array.dtype}) holds what is no finite number")
    if targets.dtype.kind not in "iu":
        raise InputError(f"{path}: y holds labels, whole numbers, but is {targets.dtype}")
    inputs = {ONE: _plain(arrays["x"])} if set(arrays) == {"x"} else None
    return ArraySplit(
        inputs or {name: _plain(array) for name, array in arrays.items()}, targets.astype(np.int64)
    )


def _plain(array: np.ndarray) -> np.ndarray:
    """Floats as networks compute with them; whole numbers are tokens."""
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    return array if array.dtype.kind == "b" else array.astype(np.int64)


def _parted(split: ArraySplit, share: float, option: str) -> tuple[ArraySplit, ArraySplit]:
    first = split.targets if split.targets.ndim == 1 else np.zeros(len(split), np.int64)
    kept, held = hold_out(first, share)
    if not len(kept) or not len(held):
        raise InputError(
            f"dataset.{option} is {share:g}, which of {len(split)} samples leaves "
            f"{len(kept)} and {len(held)}; name a file for each, or change it"
        )
    return _taken(split, kept), _taken(split, held)


def _taken(split: ArraySplit, index: np.ndarray) -> ArraySplit:
    return ArraySplit(*split.take(index))


def _alike(one: ArraySplit, two: ArraySplit) -> None:
    shapes = [{name: x.shape[1:] for name, x in split.inputs.items()} for split in (one, two)]
    if shapes[0] != shapes[1]:
        raise InputError(f"samples to train on are {shapes[0]}, but others are {shapes[1]}")


def _hashed(path: Path) -> str:
    try:
        found = path.stat()
    except OSError as error:
        raise SettingError(f"dataset=npz: cannot read {path}: {error.strerror}") from error
    if not path.is_file():
        raise SettingError(f"dataset=npz: {path} is no file")
    return _hash_of(path, found.st_size, found.st_mtime_ns)


@cache
def _hash_of(path: Path, size: int, changed: int) -> str:
    """Hash a file once, as long as it is the same."""
    return files.sha256(path)
