"""Scopes: which channels are ranked together. One file each under ``scopes/``.

A scope puts groups into *sets*. Within a set channels go by their scores, whatever group they are
of; of all sets the same share goes. All groups in one set is a global ranking, each in a set of its
own shrinks every group alike.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path

from spa.coupling.groups import Group
from spa.registry import Registry


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


SCOPES = Registry[Scope]("scope", f"{__package__}.scopes", Path(__file__).parent / "scopes")


def scope(found: Scope) -> Scope:
    """Registers a scope."""
    return SCOPES.add(found.name, found)


def scopes() -> Mapping[str, Scope]:
    """All scopes by name."""
    return SCOPES.all()


def get(name: str) -> Scope:
    """Looks a scope up.

    Raises:
        SettingError: there is none; near matches are offered.
    """
    return SCOPES.get(name)
