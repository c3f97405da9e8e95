"""From scores of parameters to the importance of coupled channels.

*Aggregation* folds the slices of one coupled set into a number: a member's slice counts the sum of
its elements, and members are folded by ``aggregate``. *Normalisation* then makes the channels of
one group comparable with those of others.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

# members: (members, channels) -> (channels,)
AGGREGATES: dict[str, Callable[[Values], Values]] = {
    "sum": lambda members: members.sum(axis=0),
    "mean": lambda members: members.mean(axis=0),
    "max": lambda members: members.max(axis=0),
    "prod": lambda members: members.prod(axis=0),
    "first": lambda members: members[0],
    "median": lambda members: np.median(members, axis=0),
}


def _by(scale: Callable[[Values], float]) -> Callable[[Values], Values]:
    def normalize(values: Values) -> Values:
        # Scores may have both signs (GraSP): the scale is that of their absolute values.
        size = scale(np.abs(values))
        return values / size if size > 0 else values

    return normalize


def _minmax(values: Values) -> Values:
    spread = float(np.ptp(values))
    return (values - values.min()) / spread if spread > 0 else np.zeros_like(values)


def _gaussian(values: Values) -> Values:
    deviation = float(values.std())
    return (values - values.mean()) / deviation if deviation > 0 else np.zeros_like(values)


# (channels,) -> (channels,), over the channels of one group
NORMALIZATIONS: dict[str, Callable[[Values], Values]] = {
    "none": lambda values: values,
    "sum": _by(lambda size: float(size.sum())),
    "mean": _by(lambda size: float(size.mean())),
    "max": _by(lambda size: float(size.max())),
    "minmax": _minmax,
    "gaussian": _gaussian,
}
