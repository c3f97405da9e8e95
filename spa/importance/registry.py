"""The registry of criteria.

Two kinds. An *element* criterion gives every parameter an array of scores of the parameter's own
shape. A *channel* criterion gives one value per index of a parameter's axis. Neither knows of
groups: aggregation and normalisation turn any of them into a structured criterion. Higher means
keep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from spa.errors import SettingError, unknown
from spa.graph.model import Array, Model

ElementScores = Mapping[str, Array]
ChannelScores = Mapping[tuple[str, int], npt.NDArray[np.float64]]

# Any integer is a seed; NumPy takes those from 0 up to here.
SEEDS = 2**64


@dataclass(frozen=True)
class Context:
    """What a criterion may use besides the model.

    Attributes:
        data: inputs (N, ...) and integer labels (N,), for criteria that need gradients; None draws
            noise and takes the model's own predictions as labels.
        seed: for whatever is drawn.
    """

    data: tuple[Array, Array] | None = None
    seed: int = 0


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


@dataclass(frozen=True)
class Criterion:
    """A registered criterion, with the aggregation and normalisation that it takes by default."""

    name: str
    kind: Literal["element", "channel"]
    function: Callable[[Model, Context], Any]
    aggregate: str
    normalize: str


_CRITERIA: dict[str, Criterion] = {}


def criterion(
    kind: Literal["element", "channel"], *, aggregate: str = "sum", normalize: str = "mean"
) -> Callable[[Callable[[Model, Context], Any]], Callable[[Model, Context], Any]]:
    """Registers a function under its own name (a trailing underscore is dropped)."""

    def register(function: Callable[[Model, Context], Any]) -> Callable[[Model, Context], Any]:
        name = function.__name__.rstrip("_")
        assert name not in _CRITERIA, f"two criteria named {name}"
        _CRITERIA[name] = Criterion(name, kind, function, aggregate, normalize)
        return function

    return register


def names() -> tuple[str, ...]:
    """Names of all criteria, sorted."""
    return tuple(sorted(_CRITERIA))


def get(name: str) -> Criterion:
    """Looks a criterion up.

    Raises:
        SettingError: there is none of that name; near matches are offered.
    """
    if name not in _CRITERIA:
        raise SettingError(unknown("criterion", name, names()))
    return _CRITERIA[name]
