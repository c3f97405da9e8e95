"""Pictures with a label for every pixel, which are turned and cut together.

N samples, C channels, H and W pixels. Pictures are float32 (N, C, H, W), normalised; labels are
int64 (N, H, W).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from experiments.data.base import ONE, Inputs, Scale
from experiments.data.pictures import hashed, normalise

# Of pixels that nobody labelled: spa.training.objective.IGNORED, which torch stands before.
IGNORED = -100


@dataclass(frozen=True)
class MaskedSplit:
    """Pictures and their labels, in memory; see `experiments.data.base.Split`.

    Attributes:
        images: (N, C, H, W) uint8.
        labels: (N, H, W) int64.
        scale: of the pictures in 0..1.
        turned: whether for training each is turned and mirrored in one of eight ways; squares only.
    """

    images: np.ndarray
    labels: np.ndarray
    scale: Scale
    turned: bool = False

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.labels)

    def take(
        self, index: np.ndarray, rng: np.random.Generator | None = None
    ) -> tuple[Inputs, np.ndarray]:
        """Read samples; with a generator they are augmented as for training."""
        x, y = self.images[index], self.labels[index]
        if rng is not None and self.turned:
            x, y = turn(x, y, rng.integers(8, size=len(y)))
        return {ONE: normalise(x.astype(np.float32) / 255, self.scale)}, y

    def fingerprint(self) -> str:
        """Hash all pictures and labels."""
        return hashed(self.images, self.labels)


def turn(x: np.ndarray, y: np.ndarray, how: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn square pictures (N, C, H, H) and their labels (N, H, H) alike.

    Args:
        x: pictures.
        y: labels.
        how: (N,), quarter turns; from 4 on of the mirrored picture.
    """
    x, y = x.copy(), y.copy()
    for i, way in enumerate(how):
        for array in (x, y):
            one = array[i, ..., ::-1] if way >= 4 else array[i]
            array[i] = np.rot90(one, way % 4, axes=(-2, -1)).copy()
    return x, y
