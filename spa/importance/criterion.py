"""Criteria: one file each under ``criteria/``, found by the name of the file.

A criterion is a function of a `View` (the model, its groups, and what it asked for: data,
gradients, activations) and of its own options, a frozen dataclass. It knows nothing of where data
comes from, nor of targets and plans.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Flag, auto
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from spa.errors import SettingError, unknown
from spa.importance.options import made
from spa.importance.values import Channels, Scored

if TYPE_CHECKING:
    from spa.importance.view import View

FOLDER = Path(__file__).parent / "criteria"


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


_CRITERIA: dict[str, Criterion] = {}


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
        assert found.name not in _CRITERIA, f"two criteria named {found.name}"
        _CRITERIA[found.name] = found
        return function

    return register


@contextlib.contextmanager
def newly_registered() -> Iterator[dict[str, Criterion]]:
    """Collects what is registered meanwhile, apart from all others; for a user's file."""
    before = dict(_CRITERIA)
    found: dict[str, Criterion] = {}
    try:
        yield found
    finally:
        found.update({name: c for name, c in _CRITERIA.items() if name not in before})
        _CRITERIA.clear()
        _CRITERIA.update(before)


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


@functools.cache
def files() -> Mapping[str, str]:
    """By name, the module that holds a criterion."""
    package = __name__.rpartition(".")[0]
    found = {}
    for path in sorted(FOLDER.rglob("*.py")):
        if path.stem != "__init__":
            parts = path.relative_to(FOLDER.parent).with_suffix("").parts
            found[path.stem] = ".".join([package, *parts])
    return found


def names() -> tuple[str, ...]:
    """Names of all criteria, sorted."""
    return tuple(sorted(files().keys() | _CRITERIA.keys()))


def get(name: str) -> Criterion:
    """Looks a criterion up; its file is imported then.

    Raises:
        SettingError: there is none of that name; near matches are offered.
    """
    if name not in _CRITERIA:
        if name not in files():
            raise SettingError(unknown("criterion", name, names()))
        importlib.import_module(files()[name])
    return _CRITERIA[name]
