"""Parts of a user's own: files outside of this repository that register what runs can choose.

    python -m experiments.run --include my_parts/ criterion=mine      (or parts=[my_parts/])

Every ``*.py`` below such a folder, those whose names begin with ``_`` aside, is imported, and
registers criteria, methods, models, data sets, tasks, hooks, quantities or scopes as the files of
this repository do; they may import one another (``from . import _helper``). Packages that are
installed say the same by entry points of the group ``spa.parts``, each of which names a module.

Where a run is worked on in another process, the variable `VARIABLE` tells it; processes of a
launcher inherit that. The hashes of the files are in the record, and the hash of the one that
registered what a run chose is in the run's id.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.metadata
import os
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.ground import files
from experiments.ground.registry import Registry
from spa.errors import SettingError, SpaError

VARIABLE = "SPA_PARTS"
GROUP = "spa.parts"


@dataclass
class Loaded:
    """What this process has imported.

    Attributes:
        roots: folders, files and entry points, each once.
        hashes: of every file in them, by a name without the place where it lies.
        behind: by kind and name, the hash of the file that registered something.
    """

    roots: set[str] = field(default_factory=set)
    hashes: dict[str, str] = field(default_factory=dict)
    behind: dict[tuple[str, str], str] = field(default_factory=dict)


_loaded = Loaded()


def ask(paths: Iterable[str | Path]) -> None:
    """Have this process, and those that it starts, load parts.

    Raises:
        SettingError: one of them is not there.
    """
    known = os.environ.get(VARIABLE, "").split(os.pathsep)
    for path in paths:
        place = Path(path).expanduser().absolute()
        if not place.exists():
            raise SettingError(f"--include {path}: there is no such file or folder")
        if str(place) not in known:
            known.append(str(place))
    os.environ[VARIABLE] = os.pathsep.join(filter(None, known))


def load() -> None:
    """Import all parts that were asked for or are installed; what is imported already stays.

    Raises:
        SettingError: a file cannot be imported, or registers a name that is taken.
    """
    for root in filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)):
        if root not in _loaded.roots:
            _load_path(Path(root))
            _loaded.roots.add(root)
    for point in importlib.metadata.entry_points(group=GROUP):
        if point.value not in _loaded.roots:
            _load_module(point.value, None, f"{point.name} of the group {GROUP}")
            _loaded.roots.add(point.value)


def hashes() -> dict[str, str]:
    """Hashes of all files that were loaded, or lay beside them, by their names."""
    return dict(sorted(_loaded.hashes.items()))


def behind(chosen: Mapping[str, str | None]) -> dict[str, str]:
    """What of a run's choices comes from parts: by kind, the hash of the file."""
    found = {kind: _loaded.behind.get((kind, str(name))) for kind, name in chosen.items()}
    return {kind: sha256 for kind, sha256 in found.items() if sha256}


def _load_path(root: Path) -> None:
    folder = root if root.is_dir() else root.parent
    below = sorted(root.rglob("*.py")) if root.is_dir() else [root]
    every = [path for path in below if not any(part.startswith(".") for part in _inner(path, root))]
    package = f"spa_parts_{hashlib.sha256(str(root).encode()).hexdigest()[:8]}"
    made = sys.modules[package] = types.ModuleType(package, f"The parts in {root}.")
    made.__path__ = [str(folder)]
    for path in every:
        _loaded.hashes[path.relative_to(folder.parent).as_posix()] = files.sha256(path)
    for path in every:
        inner = path.relative_to(folder).with_suffix("").parts
        if not any(part.startswith("_") for part in inner):
            _load_module(".".join([package, *inner]), path, str(path))


def _inner(path: Path, root: Path) -> tuple[str, ...]:
    return path.relative_to(root).parts if root.is_dir() else ()


def _load_module(name: str, path: Path | None, where: str) -> None:
    """Imports a module, and notes what it registers."""
    before = {(each.kind, one) for each in Registry.every for one in each.own()}
    try:
        with _library() as added:
            module = importlib.import_module(name)
        package = name.partition(".")[0]
        for registry in list(Registry.every):
            mine = [one for one in registry.own() if registry.module(one).startswith(package)]
            if set(mine) - {one for kind, one in before if kind == registry.kind}:
                registry.names()  # a name that this repository has too is found out now
            makers = {(registry.kind, one): registry.module(one) for one in mine}
            _loaded.behind |= {key: _hash_of(maker) for key, maker in makers.items()}
    except SpaError as error:
        raise SettingError(f"{where}: {error}") from error
    except (Exception, SystemExit) as error:  # it is anybody's code
        raise SettingError(f"{where} cannot be loaded: {type(error).__name__}: {error}") from error
    if path is None:
        _loaded.hashes[name] = _hash_of(module.__name__)
    _loaded.behind |= dict.fromkeys(added, _hash_of(module.__name__))


def _hash_of(module: str) -> str:
    return files.sha256(Path(str(sys.modules[module].__file__)))


@contextlib.contextmanager
def _library() -> Iterator[list[tuple[str, str]]]:
    """Notes what the body adds to the library's registries, and refuses names that are taken."""
    from spa.importance.criterion import CRITERIA
    from spa.selection.quantity import QUANTITIES
    from spa.selection.scope import SCOPES

    registries: list[Any] = [CRITERIA, QUANTITIES, SCOPES]
    with contextlib.suppress(ImportError):  # torch is not there, so nothing trains
        from spa.training.hooks import HOOKS

        registries.append(HOOKS)
    added: list[tuple[str, str]] = []
    with contextlib.ExitStack() as stack:
        found = [(each, stack.enter_context(each.apart())) for each in registries]
        yield added
    for registry, things in found:
        for name, thing in things.items():
            if name in registry.names():
                raise SettingError(f'{registry.what} "{name}" is registered already')
            registry.add(name, thing)
            added.append((registry.what, name))
