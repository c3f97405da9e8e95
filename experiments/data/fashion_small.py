"""A small Fashion-MNIST on which methods differ: 10,000 + 10,000 pictures of 16x16 grey pixels.

Of the official 60,000 training pictures 1,000 of every class are trained on and 200 others are the
validation split; which ones never changes. All official test pictures are tested on. A picture of
28x28 gets two pixels of nothing on every side, and each four pixels become their mean.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from experiments.data.base import Dataset, Fetched, dataset
from experiments.data.fashion_mnist import find, read
from experiments.data.holdout import hold_out
from experiments.data.pictures import crop_and_flip, from_arrays, resize

SIDE = 16
# Shares of the training pictures: a fifth is taken, a sixth of which is held out.
TAKEN, HELD = 1 / 5, 1 / 6


@dataset("fashion_small", Fetched)
def fashion_small(options: Fetched, root: Path, workers: int) -> Dataset:
    """Load it from Fashion-MNIST's files."""
    folder = find(root, options.download)
    x, y = read(folder, "train")
    _, taken = hold_out(y, TAKEN)
    x, y = shrunk(x[taken]), y[taken]
    kept, held = hold_out(y, HELD)
    tests, labels = read(folder, "t10k")
    return from_arrays(
        "fashion_small",
        (x[kept], y[kept]),
        (shrunk(tests), labels),
        10,
        validation=(x[held], y[held]),
        mean=(float(x[kept].mean()),),
        std=(float(x[kept].std()),),
        augment=partial(crop_and_flip, pad=1),
        ood=options.ood,
    )


def shrunk(x: np.ndarray) -> np.ndarray:
    """Make (N, 1, 28, 28) bytes (N, 1, 16, 16) float32 in 0..1."""
    pad = (2 * SIDE - x.shape[2]) // 2
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    return resize(padded.astype(np.float32) / 255, SIDE, SIDE)
