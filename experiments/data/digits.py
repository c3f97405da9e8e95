"""scikit-learn's digits: 1797 pictures of 8x8 grey pixels in 0..16, 10 classes.

The split never changes: a fixed permutation, the first 1400 to train, the other 397 to test.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from experiments.data.base import Dataset, Options, dataset
from experiments.data.pictures import from_arrays, resize
from spa.errors import MissingExtra

N_TRAIN = 1400


@dataclass(frozen=True)
class Digits(Options):
    """The options of digits.

    Attributes:
        size: pixels per side; larger ones repeat pixels.
    """

    size: Annotated[int, Field(ge=8, multiple_of=8)] = 8


@dataset("digits", Digits)
def digits(options: Digits, root: Path, workers: int) -> Dataset:
    """Load the digits that scikit-learn carries; needs no file."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtra("scikit-learn", "experiments", "the digits data set") from error

    bunch = load_digits()
    images = resize((bunch.images / 16).astype(np.float32)[:, None], options.size, options.size)
    labels = bunch.target.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(labels))
    train, test = order[:N_TRAIN], order[N_TRAIN:]
    return from_arrays(
        "digits",
        (images[train], labels[train]),
        (images[test], labels[test]),
        10,
        mean=(0.305,),
        std=(0.376,),
        ood=options.ood,
    )
