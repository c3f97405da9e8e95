"""What each group of the configuration can be, asked from the registries.

A file in conf/ is only needed for what holds values of its own; everything that is registered can
be chosen and completed by its name, with the defaults of the settings that it declares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

from experiments import models
from experiments.data import DATASETS
from experiments.ground import parts
from experiments.loggers import LOGGERS
from experiments.methods import METHODS, NoSettings, criteria
from experiments.models import FOLDERS
from experiments.times import TIMES

NAMES: Mapping[str, Callable[[], Iterable[str]]] = {
    "criterion": criteria.names,
    "dataset": DATASETS.names,
    "framework": lambda: ("pytorch", *FOLDERS),
    "logger": lambda: LOGGERS,
    "method": METHODS.names,
    "model": models.names,
    "sweeper": lambda: ("grid", "optuna"),
    "time": lambda: TIMES,
}
_SETTINGS: Mapping[str, Callable[[str], type]] = {
    "criterion": criteria.settings_of,
    "dataset": lambda name: DATASETS.get(name).options,
    "method": lambda name: METHODS.get(name).settings,
    "time": lambda name: TIMES[name].settings,
}
# Families of models that answer for any name that begins so.
OPEN = ("torchvision/", "onnx/")


def names(group: str) -> tuple[str, ...]:
    """List what a group can be, sorted; nothing for a group that has files alone."""
    parts.load()
    return tuple(sorted(NAMES[group]())) if group in NAMES else ()


def known(group: str, name: str) -> bool:
    """Whether a group can be that: a registered name, or one of an open family."""
    family = next((family for family in OPEN if name.startswith(family)), None)
    if group == "model" and family is not None:
        return len(name) > len(family)
    return name in names(group)


def config(group: str, name: str) -> dict[str, Any]:
    """Return the configuration of a name: the name, and its settings with their defaults."""
    kind = _SETTINGS.get(group, lambda _: NoSettings)(name)
    return {"name": name, **{field.name: field.default for field in fields(kind)}}
