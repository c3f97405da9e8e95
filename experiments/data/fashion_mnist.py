"""Fashion-MNIST: 60000 + 10000 pictures of 28x28 grey pixels, 10 kinds of clothing.

Xiao, Rasul and Vollgraf (arXiv 1708.07747). Read from the four idx files of Debian's package
``dataset-fashion-mnist`` (MIT), which need not be installed: where there is apt it is downloaded
and unpacked the first time (31 MB).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from experiments.data import idx
from experiments.data.base import Dataset, Fetched, dataset
from experiments.data.pictures import crop_and_flip, from_arrays
from experiments.ground.packages import Package, fetch_folder
from spa.errors import InputError

PACKAGE = Package(
    "dataset-fashion-mnist",
    "0.0~git20200523.55506a9-1",
    "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
)
_INSIDE = Path("usr/share/datasets/fashion-mnist")
_PROBE = "train-images-idx3-ubyte"


@dataset("fashion_mnist", Fetched)
def fashion_mnist(options: Fetched, root: Path, workers: int) -> Dataset:
    """Load it from ``data_root`` or from where the package installs it."""
    folder = find(root, options.download)
    return from_arrays(
        "fashion_mnist",
        read(folder, "train"),
        read(folder, "t10k"),
        10,
        mean=(0.2860,),
        std=(0.3530,),
        augment=partial(crop_and_flip, pad=2),
        ood=options.ood,
    )


def find(root: Path, download: bool) -> Path:
    """Find the folder with the files, or fetch it.

    Raises:
        InputError: they are nowhere; the message says how to get them.
    """
    folders = (root, root / "fashion-mnist", root / "fashion_mnist", root / _INSIDE, "/" / _INSIDE)
    for folder in folders:
        if (folder / f"{_PROBE}.gz").is_file() or (folder / _PROBE).is_file():
            return folder
    try:
        return fetch_folder(PACKAGE, str(_INSIDE), root / "fashion-mnist", download)
    except InputError as error:
        raise InputError(
            f"Fashion-MNIST is neither under {root} nor in /{_INSIDE}, and {error}. Get it "
            f"(Debian, 31 MB, no root needed) with: apt-get download {PACKAGE.name} && "
            f"dpkg-deb -x {PACKAGE.name}_*.deb {root}"
        ) from error


def read(folder: Path, which: str) -> tuple[np.ndarray, np.ndarray]:
    """Read a split, ``train`` or ``t10k``.

    Returns:
        pictures (N, 1, 28, 28) uint8 and labels (N,) int64.

    Raises:
        InputError: a file is missing or broken.
    """
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
