"""Data sets that need a download, with a few pictures of noise in files of the real format."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
from PIL import Image


def write_cifar(root: Path, name: str, classes: int) -> None:
    """A CIFAR with five pictures in every batch, in the pickles that torchvision reads."""
    rng = np.random.default_rng(0)

    def dump(path, n):
        label = "labels" if classes == 10 else "fine_labels"
        data = rng.integers(0, 256, (n, 3072), dtype=np.uint8)
        path.write_bytes(
            pickle.dumps({"data": data, label: [int(i) % classes for i in range(n)]}, protocol=2)
        )

    folder = root / name
    folder.mkdir(parents=True)
    if classes == 10:
        for i in range(1, 6):
            dump(folder / f"data_batch_{i}", 5)
        dump(folder / "test_batch", 5)
        meta = {"label_names": [f"class {i}" for i in range(10)]}
        (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol=2))
    else:
        dump(folder / "train", 25)
        dump(folder / "test", 5)
        meta = {"fine_label_names": [f"class {i}" for i in range(100)]}
        (folder / "meta").write_bytes(pickle.dumps(meta, protocol=2))


def write_imagenet(root: Path) -> None:
    """Two classes, four pictures of each to train on and three to test on."""
    rng = np.random.default_rng(0)
    for part, n in (("train", 3), ("val", 2)):
        for name in ("n02", "n01"):
            folder = root / "imagenet" / part / name
            folder.mkdir(parents=True)
            for i in range(n):
                picture = rng.integers(0, 256, (40 + 10 * i, 60, 3), dtype=np.uint8)
                Image.fromarray(picture).save(folder / f"{i}.jpeg")
            Image.new("L", (30, 30)).save(folder / "grey.png")


def write_voc(root: Path) -> None:
    """Ten pictures to train on and three to test on: red on the left, of class 15, void beside."""
    folder = root / "VOCdevkit/VOC2012"
    for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / part).mkdir(parents=True)
    x, y = np.zeros((60, 80, 3), np.uint8), np.full((60, 80), 255, np.uint8)
    x[:, :40], y[:, :40] = (200, 100, 0), 15
    labels = Image.fromarray(y).convert("P")
    labels.putdata(y.ravel().tolist())
    for part, n in (("train", 10), ("val", 3)):
        names = [f"{part}_{i}" for i in range(n)]
        (folder / f"ImageSets/Segmentation/{part}.txt").write_text("\n".join([*names, ""]))
        for name in names:
            Image.fromarray(x).save(folder / f"JPEGImages/{name}.jpg", quality=95)
            labels.save(folder / f"SegmentationClass/{name}.png")
