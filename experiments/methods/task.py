"""What a method may ask of a run's data, read only when it asks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from experiments.config.settings import Settings
from experiments.data import Dataset, calibration_inputs
from experiments.ground.seeds import generator


@dataclass(frozen=True)
class Task:
    """A data set and how much of it may be seen."""

    data: Dataset
    settings: Settings

    def gradient_samples(self) -> tuple[np.ndarray, np.ndarray]:
        """Return labelled training samples, x (n, C, H, W) and y (n,)."""
        rng = generator(self.settings.seed, "gradient samples")
        index = rng.permutation(len(self.data.train))[: self.settings.gradient_samples]
        return self.data.train.take(np.sort(index))

    def calibration(self) -> np.ndarray | str:
        """Return OBSPA's inputs (n, C, H, W), or the name of a data-free kind."""
        assert self.settings.calibration is not None
        return calibration_inputs(
            self.settings.calibration,
            self.data,
            self.settings.calibration_samples,
            self.settings.seed,
            self.settings.data_root,
        )
