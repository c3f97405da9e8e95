"""Scopes: which channels are ranked together. One file each under ``scopes/``.

A scope puts groups into *sets*. Within a set channels go by their scores, whatever group they are
of; of all sets the same share goes. All groups in one set is a global ranking, each in a set of its
own shrinks every group alike.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path

from spa.coupling.groups import Group
from spa.errors import SettingError, unknown

FOLDER = Path(__file__).parent / "scopes"


@dataclass(frozen=True)
class Scope:
    """A scope.

    Attributes:
        name: what it is asked for by.
        set_of: what tells a group's set from others.
        cap: largest share of a group that may go where nothing else is asked for.
        text: what it does, for the command line.
    """

    name: str
    set_of: Callable[[Group], Hashable]
    cap: float
    text: str


_SCOPES: dict[str, Scope] = {}


def scope(found: Scope) -> Scope:
    """Registers a scope."""
    assert found.name not in _SCOPES, f"two scopes named {found.name}"
    _SCOPES[found.name] = found
    return found


@functools.cache
def _read_all() -> None:
    for path in sorted(FOLDER.glob("*.py")):
        if path.stem != "__init__":
            importlib.import_module(f"spa.selection.scopes.{path.stem}")


def scopes() -> Mapping[str, Scope]:
    """All scopes by name."""
    _read_all()
    return dict(sorted(_SCOPES.items()))


def get(name: str) -> Scope:
    """Looks a scope up.

    Raises:
        SettingError: there is none; near matches are offered.
    """
    found = scopes().get(name)
    if found is None:
        raise SettingError(unknown("scope", name, scopes()))
    return found
