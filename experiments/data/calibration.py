"""Inputs from data for OBSPA: of the task itself (id), or of something else (ood).

The three data-free kinds (bn, noise, uniform) are made by the library; they need no file here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from experiments.data.base import Dataset, Inputs, load, only
from experiments.data.pictures import normalise, resize, restore
from experiments.ground.seeds import generator
from spa.errors import SettingError


def calibration_inputs(
    kind: str, data: Dataset, n: int, seed: int, data_root: str | Path | None
) -> Inputs | str:
    """Return ``n`` inputs as networks get them; a data-free kind as it is.

    Args:
        kind: ``id`` (training samples), ``ood`` (``data.ood``; pictures, normalised like the
            task's), or a data-free kind, passed on.
        data: the task.
        n: how many; fewer when there are fewer.
        seed: which.
        data_root: where another data set lies.

    Raises:
        SettingError: pictures of something else are asked for, where the task has none.
    """
    rng = generator(seed, "calibration")
    if kind == "id":
        return data.train.take(_some(len(data.train), n, rng))[0]
    if kind != "ood":
        return kind
    if data.scale is None:
        raise SettingError(
            f"calibration=ood takes other pictures, but {data.name} has none; use calibration=id, "
            "or one of the kinds without data"
        )
    c, h, w = data.shape
    if data.ood == "photos":
        x = photo_patches(n, h, w, rng)
    else:
        other = load({"name": data.ood}, data_root)
        if other.scale is None:
            raise SettingError(f"dataset.ood={data.ood} has no pictures; name a data set that has")
        x = only(other.train.take(_some(len(other.train), n, rng))[0])
        x = resize(restore(x, other.scale), h, w)
    return {next(iter(data.shapes)): normalise(_channels(x, c), data.scale)}


def photo_patches(n: int, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Cut square patches in 0..1 out of the two photographs that scikit-learn carries.

    A patch is three times as wide as the picture it becomes, so that it shows something.
    """
    from sklearn.datasets import load_sample_image

    photos = [load_sample_image(name) for name in ("china.jpg", "flower.jpg")]  # (427, 640, 3)
    side = min(3 * max(height, width), min(photos[0].shape[:2]))
    out = np.empty((n, 3, side, side), np.float32)
    for patch in out:
        photo = photos[rng.integers(len(photos))]
        top, left = (rng.integers(size - side + 1) for size in photo.shape[:2])
        patch[:] = photo[top : top + side, left : left + side].transpose(2, 0, 1) / 255
    return resize(out, height, width)


def _some(have: int, n: int, rng: np.random.Generator) -> np.ndarray:
    return np.sort(rng.permutation(have)[:n])


def _channels(x: np.ndarray, wanted: int) -> np.ndarray:
    if x.shape[1] == wanted:
        return x
    grey = x.mean(axis=1, keepdims=True)
    return np.repeat(grey, wanted, axis=1)
