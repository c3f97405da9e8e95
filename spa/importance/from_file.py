"""A criterion in a user's own file: ``my.py:name``.

The file runs as any program does, so only what the user names is ever loaded. What goes wrong in it
is told in one sentence, with its line.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from spa.errors import SettingError, SpaError, unknown
from spa.graph.read import first_line
from spa.importance.criterion import CRITERIA, Criterion, Score, of_function
from spa.importance.values import Scored
from spa.importance.view import View


def is_file(text: str) -> bool:
    """Whether a criterion's name is that of a file, with or without a function."""
    return text.endswith(".py") or ".py:" in text


def from_file(text: str) -> Criterion:
    """Loads a criterion.

    Args:
        text: ``path/to/my.py:name``; a function of a `View` (and of a dataclass of options),
            registered with `spa.importance.criterion.criterion` or not.

    Raises:
        SettingError: there is no such file or function, or the file fails.
    """
    path, colon, name = text.rpartition(":")
    if not colon or not path.endswith(".py") or not name:
        raise SettingError(f"A criterion in a file is named FILE.py:NAME; {text} was given.")
    if not Path(path).is_file():
        raise SettingError(f"Criterion {text}: there is no file {path}.")
    with CRITERIA.apart() as registered:
        module = _load(Path(path))
    function = getattr(module, name, None)
    if not inspect.isfunction(function):
        known = [n for n, f in vars(module).items()
                 if inspect.isfunction(f) and f.__module__ == module.__name__]  # fmt: skip
        raise SettingError(f"{path}: " + unknown("function", name, known or ["none"]))
    found = registered.get(name.rstrip("_")) or _plain(function, path)
    return dataclasses.replace(found, function=_guarded(found.function, path, name))


def _load(path: Path) -> ModuleType:
    """Runs a file as a module; nothing is written beside it."""
    module = ModuleType(f"spa_criterion_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), vars(module))
    except SyntaxError as error:
        raise SettingError(f"{path} is no Python: line {error.lineno}: {error.msg}.") from error
    except (Exception, SystemExit) as error:
        raise _failed(error, path, "when it is loaded") from error
    return module


def _plain(function: Score, path: str) -> Criterion:
    """The criterion of a function that is not registered."""
    try:
        return of_function(function, source=f"the user's {path}")
    except (NameError, TypeError, AttributeError) as error:  # annotations that name nothing
        raise _failed(error, Path(path), "in its annotations") from error


def _guarded(function: Score, path: str, name: str) -> Score:
    def guarded(view: View, how: Any) -> Scored:
        try:
            return function(view, how)
        except SpaError:
            raise
        except (Exception, SystemExit) as error:
            raise _failed(error, Path(path), f"in {name}") from error

    return guarded


def _failed(error: BaseException, path: Path, where: str) -> SettingError:
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    line = f", line {lines[-1]}" if lines else ""
    return SettingError(f"{path} fails {where}{line}: {type(error).__name__}: {first_line(error)}")
