"""Names to things, with the files that hold them imported only when a name is asked for.

    MODELS = Registry("model", package="experiments.models")

    @MODELS.register("resnet8")             # in experiments/models/resnet_cifar.py
    def resnet8(shape, classes): ...

    MODELS.get("resnet8")                   # imports every file of the package once
    MODELS.get("resnet9")                   # SettingError: ... did you mean "resnet8"?

A name that ends in "/" stands for an open family: "torchvision/" answers for every name that
begins so, and is called with the rest of the name.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar

from spa.errors import SettingError

T = TypeVar("T", bound=Callable[..., Any])


def unknown(kind: str, name: str, known: Iterable[str]) -> SettingError:
    """Build the error for a name that nobody registered, near matches first."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(near)}?" if near else "."
    listing = "" if near and len(names) > 30 else f" Known: {', '.join(names)}"
    return SettingError(f'unknown {kind} "{name}"{hint}{listing}')


class Registry(Generic[T]):
    """One table of names.

    Args:
        kind: what the names are names of, for messages.
        package: the package whose modules register something when imported.

    Attributes:
        every: all tables, so that what is registered from elsewhere can be told.
    """

    every: ClassVar[list[Registry[Any]]] = []

    def __init__(self, kind: str, package: str) -> None:
        Registry.every.append(self)
        self.kind = kind
        self.package = package
        self._entries: dict[str, T] = {}
        self._loaded = False

    def register(self, name: str) -> Callable[[T], T]:
        """Register the decorated thing under a name that is still free."""

        def decorate(thing: T) -> T:
            if name in self._entries:
                raise SettingError(
                    f'{self.kind} "{name}" is registered twice, '
                    f"in {self.module(name)} and in {_module(thing)}"
                )
            self._entries[name] = thing
            return thing

        return decorate

    def own(self) -> tuple[str, ...]:
        """List what is registered so far; no file is imported for it."""
        return tuple(sorted(self._entries))

    def module(self, name: str) -> str:
        """Return the module that a registered thing is from."""
        return _module(self._entries[name])

    def names(self) -> tuple[str, ...]:
        """List the registered names, open families with their slash, sorted."""
        self._load()
        return tuple(sorted(self._entries))

    def get(self, name: str) -> T:
        """Look a name up.

        Raises:
            SettingError: nobody registered it.
        """
        self._load()
        if name in self._entries and not name.endswith("/"):
            return self._entries[name]
        family, slash, member = name.partition("/")
        if slash and member and f"{family}/" in self._entries:
            return partial(self._entries[f"{family}/"], member)  # type: ignore[return-value]
        raise unknown(self.kind, name, self._entries)

    def _load(self) -> None:
        if not self._loaded:
            package = importlib.import_module(self.package)
            for module in pkgutil.walk_packages(package.__path__, f"{self.package}."):
                importlib.import_module(module.name)
            self._loaded = True


def _module(thing: Any) -> str:
    """What is registered is a function or a class, or says itself where it was made."""
    return str(getattr(thing, "made_in", None) or thing.__module__)
