"""A folder of pictures per class, as ImageNet is unpacked: <root>/imagenet/{train,val}/<class>/.

Pictures are decoded when they are asked for, by a few threads. Training: a random crop of 8 to
100 % of the area, mirrored at random. Test: the shorter side to 256/224 of the size, the centre.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from PIL import Image
from pydantic import Field

from experiments.data.base import ONE, Dataset, Inputs, Options, Scale, dataset
from experiments.data.pictures import decoded, normalise
from spa.errors import InputError

SCALE = Scale(
    np.array((0.485, 0.456, 0.406), np.float32), np.array((0.229, 0.224, 0.225), np.float32)
)
_PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}


@dataclass(frozen=True)
class FolderSplit:
    """Pictures on the disk; see `experiments.data.base.Split`."""

    files: tuple[Path, ...]
    labels: np.ndarray
    size: int
    workers: int

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.files)

    def take(
        self, index: np.ndarray, rng: np.random.Generator | None = None
    ) -> tuple[Inputs, np.ndarray]:
        """Decode samples; with a generator they are augmented as for training."""
        pictures = decoded(self._read, [self.files[i] for i in index], rng, self.workers)
        x = np.stack(pictures).astype(np.float32).transpose(0, 3, 1, 2) / 255
        return {ONE: normalise(x, SCALE)}, self.labels[index]

    def fingerprint(self) -> str:
        """Hash the names and labels; reading a hundred gigabytes would take hours."""
        lines = (
            f"{path.parent.name}/{path.name} {label}\n"
            for path, label in zip(self.files, self.labels, strict=True)
        )
        content = hashlib.sha256(f"{self.size}\n".encode())
        for line in lines:
            content.update(line.encode())
        return content.hexdigest()

    def _read(self, path: Path, rng: np.random.Generator | None) -> np.ndarray:
        try:
            with Image.open(path) as file:
                picture = file.convert("RGB")
        except OSError as error:
            raise InputError(f"cannot read the picture {path}: {error}") from error
        box = _centre(picture, self.size) if rng is None else _random(picture, rng)
        side = (self.size, self.size)
        x = np.asarray(picture.resize(side, Image.Resampling.BILINEAR, box=box))
        return x[:, ::-1] if rng is not None and rng.random() < 0.5 else x


def _centre(picture: Image.Image, size: int) -> tuple[float, float, float, float]:
    side = min(picture.size) * 224 / 256
    left, top = (picture.width - side) / 2, (picture.height - side) / 2
    return left, top, left + side, top + side


def _random(picture: Image.Image, rng: np.random.Generator) -> tuple[float, float, float, float]:
    for _ in range(10):
        area = picture.width * picture.height * rng.uniform(0.08, 1)
        aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
        w, h = np.sqrt(area * aspect), np.sqrt(area / aspect)
        if w <= picture.width and h <= picture.height:
            left, top = rng.uniform(0, picture.width - w), rng.uniform(0, picture.height - h)
            return left, top, left + w, top + h
    return _centre(picture, 224)


@dataclass(frozen=True)
class Pictures(Options):
    """The options of folders of pictures.

    Attributes:
        size: pixels per side.
    """

    size: Annotated[int, Field(ge=8)] = 224


@dataset("imagenet", Pictures)
def imagenet(options: Pictures, root: Path, workers: int) -> Dataset:
    """List the folders; nothing is decoded yet."""
    size = options.size
    folder = root / "imagenet" if (root / "imagenet").is_dir() else root
    names = sorted(path.name for path in folder.glob("train/*") if path.is_dir())
    if not names:
        raise InputError(
            f"there are no class folders in {folder / 'train'}; data_root should hold "
            "imagenet/train/<class>/<picture> and imagenet/val/<class>/<picture>"
        )
    train, test = (_split(folder / part, names, size, workers) for part in ("train", "val"))
    return Dataset(
        name="imagenet",
        train=train,
        test=test,
        classes=len(names),
        scale=SCALE,
        ood=options.ood,
    )


def _split(folder: Path, names: list[str], size: int, workers: int) -> FolderSplit:
    files, labels = [], []
    for label, name in enumerate(names):
        here = sorted(p for p in folder.glob(f"{name}/*") if p.suffix.lower() in _PICTURES)
        files += here
        labels += [label] * len(here)
    if not files:
        raise InputError(f"there are no pictures in {folder}/<class>/")
    return FolderSplit(tuple(files), np.array(labels, np.int64), size, workers)
