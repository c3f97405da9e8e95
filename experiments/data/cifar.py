"""CIFAR-10 and CIFAR-100: 50000 + 10000 pictures of 32x32 colour pixels, through torchvision.

Augmentation as everywhere: a random crop out of 4 pixels of padding, and a mirror.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from experiments.data.base import Dataset, Options, aside, dataset
from experiments.data.pictures import crop_and_flip, from_arrays
from spa.errors import InputError


@dataclass(frozen=True)
class Cifar(Options):
    """The options of both.

    Attributes:
        download: whether it is fetched when it is not there.
        verify: whether the files' sums are checked.
    """

    download: bool = aside(True)
    verify: bool = aside(True)


def _cifar(
    name: str,
    class_name: str,
    classes: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    options: Cifar,
    root: Path,
    workers: int,
) -> Dataset:
    train, test = (_split(class_name, root, part, options) for part in (True, False))
    return from_arrays(
        name,
        train,
        test,
        classes,
        mean=mean,
        std=std,
        augment=crop_and_flip,
        ood=options.ood,
    )


# Mean and standard deviation per channel of the training pictures.
dataset("cifar10", Cifar)(
    partial(_cifar, "cifar10", "CIFAR10", 10, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
)
dataset("cifar100", Cifar)(
    partial(_cifar, "cifar100", "CIFAR100", 100, (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))
)


def _split(
    class_name: str, root: Path, train: bool, options: Cifar
) -> tuple[np.ndarray, np.ndarray]:
    from spa.bridge.torchvision_shim import import_torchvision

    base = getattr(import_torchvision().datasets, class_name)
    verify = options.verify

    class Reader(base):  # type: ignore[misc]
        """torchvision's reader, which may be told to trust the files."""

        meta = base.meta if verify else {**base.meta, "md5": None}

        def _check_integrity(self) -> bool:
            if verify:
                return bool(super()._check_integrity())
            return (Path(root) / self.base_folder).is_dir()

    download = options.download
    try:
        try:
            data = Reader(root, train=train, download=False)
        except RuntimeError:  # torchvision's word for "missing or corrupted"
            if not download:
                raise
            data = Reader(root, train=train, download=True)
    except Exception as error:  # torchvision, urllib, tarfile, pickle: any of theirs means this
        raise InputError(
            f"{class_name} cannot be read from {root}: {error}. Without a network, unpack "
            f"{base.filename} there, or set data_root to the folder that holds {base.base_folder}"
        ) from error
    images = np.ascontiguousarray(np.asarray(data.data, np.uint8).transpose(0, 3, 1, 2))
    return images, np.asarray(data.targets, np.int64)
