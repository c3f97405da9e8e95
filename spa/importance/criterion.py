"""Criteria: one file each under ``criteria/``, found by the name of the file.

A criterion is a function of a `View` (the model, its groups, and what it asked for: data,
gradients, activations) and of its own options, a frozen dataclass. It knows nothing of where data
comes from, nor of targets and plans.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Flag, auto
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from spa.importance.options import made
from spa.importance.values import Channels, Scored
from spa.registry import Registry

if TYPE_CHECKING:
    from spa.importance.view import View


class Need(Flag):
    """What a criterion looks at besides weights."""

    NONE = 0
    DATA = auto()
    GRADIENTS = auto()
    ACTIVATIONS = auto()
    TRAINED = auto()

    @property
    def sees_data(self) -> bool:
        """Whether samples are needed."""
        return bool(self & (Need.DATA | Need.GRADIENTS | Need.ACTIVATIONS))


@dataclass(frozen=True)
class NoOptions:
    """Of a criterion that has none."""


Score: TypeAlias = "Callable[[View, Any], Scored]"


@dataclass(frozen=True)
class Criterion:
    """A registered criterion.

    Attributes:
        name: what it is chosen by.
        function: scores.
        options: the dataclass of its options.
        needs: what it looks at.
        source: the paper and the place in it, or "own".
        aggregate: how slices are folded where nothing else is asked for; "" for one that folds
            them itself.
        normalize: how groups are made comparable where nothing else is asked for.
    """

    name: str
    function: Score
    options: type[Any]
    needs: Need
    source: str
    aggregate: str
    normalize: str

    def how(self, given: Mapping[str, Any]) -> Any:
        """Its options.

        Raises:
            SettingError: a name that it does not have, or a value that it refuses.
        """
        return made(self.options, given, f"Criterion {self.name}")


CRITERIA = Registry[Criterion](
    "criterion", f"{__package__}.criteria", Path(__file__).parent / "criteria"
)


def criterion(
    *,
    source: str,
    needs: Need = Need.NONE,
    aggregate: str = "sum",
    normalize: str = "mean",
) -> Callable[[Score], Score]:
    """Registers a function under its own name (a trailing underscore is dropped).

    Its second parameter's type is the dataclass of its options. What gives `Channels` folds the
    members of a coupled set itself, and takes no aggregation.
    """

    def register(function: Score) -> Score:
        found = of_function(
            function, source=source, needs=needs, aggregate=aggregate, normalize=normalize
        )
        CRITERIA.add(found.name, found)
        return function

    return register


def of_function(
    function: Score,
    *,
    source: str = "given by the caller",
    needs: Need = Need.NONE,
    aggregate: str = "sum",
    normalize: str = "mean",
) -> Criterion:
    """A criterion of a function, which need not be registered."""
    hints = typing.get_type_hints(function, _names_of(function))
    parameters = list(inspect.signature(function).parameters)
    options = hints.get(parameters[1], NoOptions) if len(parameters) > 1 else NoOptions
    if not dataclasses.is_dataclass(options):
        options = NoOptions
    folds = hints.get("return") is Channels
    scorer = function if len(parameters) > 1 else _without_options(function)
    return Criterion(
        function.__name__.rstrip("_"), scorer, typing.cast(type[Any], options), needs, source,
        "" if folds else aggregate, normalize,
    )  # fmt: skip


def _without_options(function: Callable[..., Scored]) -> Score:
    return lambda view, _: function(view)


def _names_of(function: Score) -> dict[str, Any]:
    """What its annotations may speak of, though it is imported for type checkers alone."""
    from spa.importance.view import View

    return {**getattr(function, "__globals__", {}), "View": View}


def names() -> tuple[str, ...]:
    """Names of all criteria, sorted."""
    return CRITERIA.names()


def get(name: str) -> Criterion:
    """Looks a criterion up; its file is imported then.

    Raises:
        SettingError: there is none of that name; near matches are offered.
    """
    return CRITERIA.get(name)
