"""Names to things that lie in files of the same name: criteria, scopes, quantities, hooks.

A file is imported when its name is asked for, and puts what it holds into the registry; whoever
adds one adds a file and changes none.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
from collections import ChainMap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Generic, TypeVar

from spa.errors import SettingError, unknown

T = TypeVar("T")


class Registry(Generic[T]):
    """One table of names.

    Args:
        what: what the names are names of, for messages.
        package: dotted name of the package whose files hold one thing each, at any depth.
        folder: where that package lies; it is not imported for its names alone.
    """

    def __init__(self, what: str, package: str, folder: Path) -> None:
        self.what = what
        self._package = package
        self._folder = folder
        self._found: ChainMap[str, T] = ChainMap({})

    def add(self, name: str, thing: T) -> T:
        """Enters a thing, as its file does when it is imported."""
        assert name not in self._found.maps[0], f"{self.what} {name} is there twice"
        self._found[name] = thing
        return thing

    def names(self) -> tuple[str, ...]:
        """All names, sorted; no file is imported."""
        return tuple(sorted(self._files.keys() | self._found.keys()))

    def get(self, name: str) -> T:
        """Looks a name up; its file is imported then.

        Raises:
            SettingError: there is none of that name; near matches are offered.
        """
        if name not in self._found:
            if name not in self._files:
                raise SettingError(unknown(self.what, name, self.names()))
            importlib.import_module(self._files[name])
        return self._found[name]

    def all(self) -> Mapping[str, T]:
        """All things by name, sorted."""
        return {name: self.get(name) for name in self.names()}

    @contextlib.contextmanager
    def apart(self) -> Iterator[dict[str, T]]:
        """Collects what is added meanwhile, under any name, and forgets it here afterwards.

        For what is not of this package: the file of a user, a test's own.
        """
        self.all()  # or a file of ours that is first imported meanwhile would be forgotten too
        found: dict[str, T] = {}
        self._found = self._found.new_child(found)
        try:
            yield found
        finally:
            self._found = self._found.parents

    @functools.cached_property
    def _files(self) -> Mapping[str, str]:
        """By name, the module that holds a thing."""
        found = {}
        for path in sorted(self._folder.rglob("*.py")):
            if path.stem != "__init__":
                parts = path.relative_to(self._folder).with_suffix("").parts
                # A name that Python has a use for gets an underscore: global_.py.
                found[path.stem.rstrip("_")] = ".".join([self._package, *parts])
        return found
