"""What criteria give: scores of elements, of axes, of tensors, or of channels. Higher means keep.

Each says its kind, and `spa.importance.fold` brings all of them to the channels of groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from spa.graph.model import Array

Values: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Elements:
    """One score for every element of a parameter.

    Attributes:
        of: by parameter, an array of its shape.
        shifts: whether biases of layers and shifts of norms count, too.
    """

    of: Mapping[str, Array]
    shifts: bool = True


@dataclass(frozen=True)
class Axes:
    """One score for every index of a parameter's axis.

    Attributes:
        of: by parameter and axis, shape (size,).
    """

    of: Mapping[tuple[str, int], Values]


@dataclass(frozen=True)
class Tensors:
    """One score for every index of any tensor's axis: of feature maps.

    Attributes:
        of: by tensor and axis, shape (size,). Of several indices of one channel the mean counts.
    """

    of: Mapping[tuple[str, int], Values]


@dataclass(frozen=True)
class Channels:
    """One score for every set of coupled channels, folded by the criterion itself.

    Attributes:
        of: by component, shape (components,); NaN where it gives none.
    """

    of: Values


Scored: TypeAlias = Elements | Axes | Tensors | Channels


class EachTime(Mapping[str, Array]):
    """Scores that are computed whenever they are asked for, as all at once may fill the memory."""

    def __init__(self, names: Iterable[str], score: Callable[[str], Array]) -> None:
        self._names = dict.fromkeys(names)
        self._score = score

    def __getitem__(self, name: str) -> Array:
        if name not in self._names:
            raise KeyError(name)
        return self._score(name)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
