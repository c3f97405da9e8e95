"""Batches for a worker that trains, as files that it takes away one after another.

    folder/feed.json          batch size, parts of an epoch, learning rates (epochs, batches)
    folder/EEEEE-PPPPP.npz    part P of epoch E: x (n, ...), y (n,); one input
    folder/broken             why there will be no more

All frameworks train on the same batches in the same order, with the same learning rate in every
step, and no framework needs our data sets' code. At most `AHEAD` parts lie there at a time.
"""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from spa.errors import SettingError

Array = npt.NDArray[Any]
# Of n samples: an input (n, ...), or several by name; targets (n, ...).
Batch = tuple[Array | Mapping[str, Array], Array]

AHEAD = 3
PART_BATCHES = 32


@dataclass(frozen=True)
class Feed:
    """What to train on.

    Attributes:
        epoch: called with an epoch's number; its batches, all of one size but for the last.
        rate: called with an epoch's number and the batch's in it; the learning rate.
        epochs: how many.
        steps: batches in an epoch.
        batch: samples in a batch.
        rest: called with an epoch's number and a batch's in it; that epoch's batches from there
            on. Where left out, those before are made and thrown away.
    """

    epoch: Callable[[int], Iterable[Batch]]
    rate: Callable[[int, int], float]
    epochs: int
    steps: int
    batch: int
    rest: Callable[[int, int], Iterable[Batch]] | None = None

    def after(self, epoch: int, step: int) -> Iterable[Batch]:
        """An epoch's batches without the first so many."""
        if self.rest is None:
            return islice(self.epoch(epoch), step, None)
        return self.rest(epoch, step)


@contextmanager
def fed(feed: Feed, folder: Path) -> Iterator[None]:
    """Puts a feed's files into a folder while the body runs."""
    head = {
        "batch": feed.batch,
        "parts": math.ceil(feed.steps / PART_BATCHES),
        "rates": [[feed.rate(e, i) for i in range(feed.steps)] for e in range(feed.epochs)],
    }
    (folder / "feed.json").write_text(json.dumps(head))
    over = threading.Event()
    thread = threading.Thread(target=_put, args=(feed, folder, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _put(feed: Feed, folder: Path, over: threading.Event) -> None:
    try:
        for epoch in range(feed.epochs):
            batches = iter(feed.epoch(epoch))
            for part in range(math.ceil(feed.steps / PART_BATCHES)):
                some = list(islice(batches, PART_BATCHES))
                while len(list(folder.glob("*.npz"))) >= AHEAD:
                    if over.wait(0.02):
                        return
                _write(folder / f"{epoch:05d}-{part:05d}.npz", some)
    except Exception as error:  # the worker would wait for ever
        with _appearing(folder / "broken") as file:
            file.write(f"{type(error).__name__}: {error}".encode())
        raise


def _write(path: Path, batches: list[Batch]) -> None:
    x = np.concatenate([_only(x) for x, _ in batches])
    y = np.concatenate([y for _, y in batches])
    with _appearing(path) as file:
        np.savez(file, x=x, y=y)


def _only(x: Array | Mapping[str, Array]) -> Array:
    """The one input.

    Raises:
        SettingError: there are several; workers know of one.
    """
    if not isinstance(x, Mapping):
        return x
    if len(x) != 1:
        raise SettingError(
            f"Frameworks other than PyTorch train networks of one input, but the data have {len(x)}"
            f" ({', '.join(x)}); train in PyTorch."
        )
    return next(iter(x.values()))


@contextmanager
def _appearing(path: Path) -> Iterator[BinaryIO]:
    """A file that appears when it is whole: the worker looks for it all the time."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        yield file
    os.replace(partial, path)
