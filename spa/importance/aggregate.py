"""From scores of parameters to the importance of coupled channels.

*Aggregation* folds the slices of one coupled set into a number: a member's slice counts the sum of
its elements, and members are folded by ``aggregate``. *Normalisation* then makes the channels of
one group comparable with those of others.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from spa.errors import SettingError

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


def _lamp(values: Values) -> Values:
    """Each value over the sum of it and all larger ones; the largest of a group gives 1.

    Source: Lee et al. 2021, Layer-Adaptive Sparsity, eq. 2, on the importance of channels; ties
    stand in order of index.

    Raises:
        SettingError: a value is negative, so that shares of sums mean nothing.
    """
    if (values < 0).any():
        raise SettingError(
            f"The normaliser lamp takes shares of sums, so scores must not be negative; "
            f"{values.min():.3g} was given. Use another one, such as mean."
        )
    order = np.argsort(values, kind="stable")
    larger = np.cumsum(values[order][::-1])[::-1]
    result = np.zeros_like(values)
    result[order] = np.divide(values[order], larger, out=np.zeros_like(values), where=larger > 0)
    return result


# (channels,) -> (channels,), over the channels of one group
NORMALIZATIONS: dict[str, Callable[[Values], Values]] = {
    "none": lambda values: values,
    "sum": _by(lambda size: float(size.sum())),
    "mean": _by(lambda size: float(size.mean())),
    "max": _by(lambda size: float(size.max())),
    "minmax": _minmax,
    "gaussian": _gaussian,
    "lamp": _lamp,
}
