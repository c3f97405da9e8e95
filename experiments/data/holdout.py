"""Training samples that nothing is trained on, so that settings can be chosen by them."""

from __future__ import annotations

import numpy as np


def hold_out(labels: np.ndarray, share: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Part training samples into those to train on and those to choose settings on.

    Every label gives the same share, rounded, of its samples; which they are never changes.

    Args:
        labels: (N,)
        share: what is held out.

    Returns:
        the indices of both, in order.
    """
    rng = np.random.default_rng(0)
    held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        mine = np.flatnonzero(labels == label)
        held[rng.permutation(mine)[: round(share * len(mine))]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)
