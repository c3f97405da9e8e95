"""VOC 2012: which pixels are of 20 kinds of things, or none; 1,318 + 146 + 1,449 pictures.

Everingham et al., "The PASCAL Visual Object Classes Challenge" (IJCV 2010); through torchvision,
from <root>/VOCdevkit/VOC2012. The official validation set is tested on, as papers do (the test
set's labels are not public); a tenth of the official training set is the validation split.

A sample is a square of ``dataset.size`` pixels. Training: a picture made 0.5 to 2 times as large as
the square, a random part of it, mirrored at random. Test: the longer side to the square's, in its
top left corner; mIoU is measured at that size. What is left over of a square, and the edges that
are marked as void (255), are `IGNORED`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from PIL import Image
from pydantic import Field

from experiments.data.base import ONE, Dataset, Inputs, Options, aside, dataset
from experiments.data.holdout import hold_out
from experiments.data.imagenet import SCALE
from experiments.data.masked import IGNORED
from experiments.data.pictures import decoded, normalise
from spa.errors import InputError

CLASSES, VOID = 21, 255
INSIDE = "VOCdevkit/VOC2012"


@dataclass(frozen=True)
class Voc(Options):
    """The options of voc2012.

    Attributes:
        size: pixels of a square's side.
        download: whether it is fetched when it is not there (2 GB).
    """

    size: Annotated[int, Field(ge=32)] = 480
    download: bool = aside(True)


@dataset("voc2012", Voc)
def voc2012(options: Voc, root: Path, workers: int) -> Dataset:
    """Find the pictures below <root>/VOCdevkit/VOC2012."""
    train, test = (_files(root, part, options.download) for part in ("train", "val"))
    kept, held = hold_out(np.zeros(len(train), np.int64))

    def split(found: list[tuple[Path, Path]]) -> VocSplit:
        return VocSplit(tuple(found), options.size, workers)

    return Dataset(
        "voc2012",
        split([train[i] for i in kept]),
        split(test),
        CLASSES,
        task="segmentation",
        scale=SCALE,
        ood=options.ood,
        validation=split([train[i] for i in held]) if len(held) else None,
    )


@dataclass(frozen=True)
class VocSplit:
    """Pictures and their labels on the disk; see `experiments.data.base.Split`."""

    files: tuple[tuple[Path, Path], ...]
    size: int
    workers: int

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.files)

    def take(
        self, index: np.ndarray, rng: np.random.Generator | None = None
    ) -> tuple[Inputs, np.ndarray]:
        """Decode samples; with a generator they are augmented as for training."""
        pairs = decoded(self._read, [self.files[i] for i in index], rng, self.workers)
        x = np.stack([picture for picture, _ in pairs])  # (N, H, W, C)
        inside = np.stack([labels for _, labels in pairs])
        x = normalise(x.transpose(0, 3, 1, 2).astype(np.float32) / 255, SCALE)
        return {ONE: x}, inside

    def fingerprint(self) -> str:
        """Hash the names and the size; reading two gigabytes would take minutes."""
        content = hashlib.sha256(f"{self.size}\n".encode())
        for picture, labels in self.files:
            content.update(f"{picture.name} {labels.name}\n".encode())
        return content.hexdigest()

    def _read(
        self, files: tuple[Path, Path], rng: np.random.Generator | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """A picture (size, size, 3) in 0..255 and its labels (size, size)."""
        opened = []
        for path in files:
            try:
                with Image.open(path) as file:
                    file.load()
                    opened.append(file)
            except (OSError, SyntaxError) as error:
                raise InputError(f"cannot read the picture {path}: {error}") from error
        picture, labels = opened[0].convert("RGB"), opened[1]
        if labels.mode not in ("P", "L") or labels.size != picture.size:
            raise InputError(
                f"{files[1]} is to hold a label for every pixel of {files[0].name}, "
                f"{picture.size}, but is {labels.mode} of {labels.size}"
            )
        share = self.size / max(picture.size)
        if rng is not None:
            share = self.size / min(picture.size) * rng.uniform(0.5, 2)
        sides = [max(1, round(side * share)) for side in picture.size]
        x = np.asarray(picture.resize(sides, Image.Resampling.BILINEAR))
        y = np.asarray(labels.resize(sides, Image.Resampling.NEAREST)).astype(np.int64)
        y = np.where(y == VOID, IGNORED, y)
        if y.max() >= CLASSES:
            raise InputError(f"{files[1]} has the label {y.max()}; they go to {CLASSES - 1}")
        if rng is not None:
            top, left = (rng.integers(max(0, side - self.size) + 1) for side in y.shape)
            x, y = (each[top : top + self.size, left : left + self.size] for each in (x, y))
            if rng.random() < 0.5:
                x, y = x[:, ::-1], y[:, ::-1]
        x, y = x[: self.size, : self.size], y[: self.size, : self.size]
        whole = np.broadcast_to(SCALE.mean * 255, (self.size, self.size, 3)).astype(np.float32)
        wanted = np.full((self.size, self.size), IGNORED, np.int64)
        whole[: x.shape[0], : x.shape[1]] = x
        wanted[: y.shape[0], : y.shape[1]] = y
        return whole, wanted


def _files(root: Path, part: str, download: bool) -> list[tuple[Path, Path]]:
    """Pictures and their labels, in the order of the official list.

    Raises:
        InputError: they are not there, or not all.
    """
    from spa.bridge.torchvision_shim import import_torchvision

    reader = import_torchvision().datasets.VOCSegmentation
    here = all((root / INSIDE / folder).is_dir() for folder in ("JPEGImages", "SegmentationClass"))
    try:
        found = reader(root, year="2012", image_set=part, download=download and not here)
        files = [(Path(x), Path(y)) for x, y in zip(found.images, found.masks, strict=True)]
    except Exception as error:  # torchvision, urllib, tarfile: any of theirs means this
        raise InputError(
            f"VOC 2012 cannot be read from {root / INSIDE}: {error}. Without a network, unpack "
            f"VOCtrainval_11-May-2012.tar in {root}, or set data_root to the folder that holds "
            "VOCdevkit"
        ) from error
    if lost := next((path for pair in files for path in pair if not path.is_file()), None):
        raise InputError(f"VOC 2012 is not whole: there is no {lost}; unpack its archive again")
    if len(files) < 2:
        raise InputError(f"VOC 2012's list {part} in {root / INSIDE} has {len(files)} pictures")
    return files
