"""scikit-learn's digits: 1797 pictures of 8x8 grey pixels in 0..16, 10 classes.

The split never changes: a fixed permutation, the first 1400 to train, the other 397 to test.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.data.base import DATASETS, Dataset, from_arrays, resize
from spa.errors import MissingExtra, SettingError

N_TRAIN = 1400


@DATASETS.register("digits")
def digits(options: Mapping[str, Any], root: Path, workers: int) -> Dataset:
    """Load the digits that scikit-learn carries; needs no file."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtra("scikit-learn", "experiments", "the digits data set") from error

    size = options.get("size", 8)
    if not isinstance(size, int) or size < 8 or size % 8:
        raise SettingError(f"dataset.size of digits is a multiple of 8, but is {size!r}")
    bunch = load_digits()
    images = resize((bunch.images / 16).astype(np.float32)[:, None], size, size)
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
        ood=str(options.get("ood", "photos")),
    )
