"""Fashion-MNIST: 60000 + 10000 pictures of 28x28 grey pixels, 10 kinds of clothing.

Read from the four idx files of Debian's package ``dataset-fashion-mnist``, which need not be
installed: unpacking it is enough.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from experiments.data import idx
from experiments.data.base import Dataset, Options, dataset
from experiments.data.pictures import crop_and_flip, from_arrays
from spa.errors import InputError

_INSIDE = Path("usr/share/datasets/fashion-mnist")
_PROBE = "train-images-idx3-ubyte"


@dataset("fashion_mnist")
def fashion_mnist(options: Options, root: Path, workers: int) -> Dataset:
    """Load it from ``data_root`` or from where the package installs it."""
    folder = find(root)
    return from_arrays(
        "fashion_mnist",
        _split(folder, "train"),
        _split(folder, "t10k"),
        10,
        mean=(0.2860,),
        std=(0.3530,),
        augment=partial(crop_and_flip, pad=2),
        ood=options.ood,
    )


def find(root: Path) -> Path:
    """Find the folder with the files.

    Raises:
        InputError: they are nowhere; the message says how to get them.
    """
    folders = (root, root / "fashion-mnist", root / "fashion_mnist", root / _INSIDE, "/" / _INSIDE)
    for folder in folders:
        if (folder / f"{_PROBE}.gz").is_file() or (folder / _PROBE).is_file():
            return folder
    raise InputError(
        f"Fashion-MNIST is neither under {root} nor in /{_INSIDE}. Get it (Debian, 31 MB, no root "
        "needed) with: apt-get download dataset-fashion-mnist && "
        f"dpkg-deb -x dataset-fashion-mnist_*.deb {root}"
    )


def _split(folder: Path, which: str) -> tuple[np.ndarray, np.ndarray]:
    images = idx.read(_file(folder, f"{which}-images-idx3-ubyte"), rank=3)
    labels = idx.read(_file(folder, f"{which}-labels-idx1-ubyte"), rank=1)
    if len(images) != len(labels) or (len(labels) and labels.max() > 9):
        raise InputError(
            f"{folder} holds {len(images)} pictures and {len(labels)} labels for {which}, "
            "or a label above 9"
        )
    return images[:, None], labels.astype(np.int64)


def _file(folder: Path, name: str) -> Path:
    plain, packed = folder / name, folder / f"{name}.gz"
    return plain if plain.is_file() else packed
