"""Where results may go: over nothing that is read, and under a name that says what is written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from spa.errors import ModelError, OutputError
from spa.graph.placing import check_writable
from spa.graph.read import external_files

# What `check_outputs` calls the model that is read.
MODEL = "the input model"
# Files that belong to another one, by the ends of their names: MXNet's and Flax's.
TOGETHER = (("-symbol.json", "-0000.params"), (".npz", ".json"))


def check_outputs(outputs: Mapping[str, str | None], inputs: Mapping[str, str | None]) -> None:
    """Finds out before the work whether all results can be written, and over nothing dear.

    What belongs to a file (its weights beside it, its parameters) counts as the file itself.

    Args:
        outputs: paths to write, by option.
        inputs: paths that are read, by option.

    Raises:
        OutputError: a path cannot be written, or is that of another option, or a file of a folder
            that is read.
    """
    read = [(path, what) for what, path in inputs.items() if path]
    dear = [(file, what) for path, what in read for file in _whole(path, what == MODEL)]
    for what, path in outputs.items():
        if path is None:
            continue
        parts = [path, *_companions(path)]
        for part in parts:
            for file, other in dear:
                if _same(part, file):
                    whose = other if file in (path, inputs.get(other)) else f"a file of {other}"
                    raise OutputError(
                        f"{what} and {whose} are the same file, {part}; name another one."
                    )
        for folder, other in read:
            inside = os.path.isdir(folder) and _real(path).is_relative_to(_real(folder))
            if inside and os.path.isfile(path):
                raise OutputError(f"{what} {path} is a file of {other} {folder}; name another one.")
        dear += [(part, what) for part in parts]
    for path in (path for path in outputs.values() if path is not None):
        check_writable(path)


def check_ending(option: str, path: str, endings: Iterable[str], of: str) -> None:
    """Refuses a name whose ending says another format than is written.

    Args:
        option: for messages.
        path: the file to write.
        endings: those that can be written.
        of: what they can be made of.

    Raises:
        OutputError: naming the endings that are possible.
    """
    endings = tuple(endings)
    if not path.lower().endswith(tuple(end.lower() for end in endings)):
        known = " or ".join(f"OUT{end}" for end in endings)
        raise OutputError(f"{option} {path}: of {of} {known} can be written.")


def _whole(path: str, is_model: bool) -> Iterator[str]:
    """A path that is read, and what belongs to it."""
    yield path
    if not is_model:
        return
    yield from _companions(path)
    try:
        if Path(path).suffix.lower() == ".onnx" and os.path.isfile(path):
            yield from map(str, external_files(path))
    except (ModelError, OSError, ValueError):
        return  # loading it will say what is wrong


def _companions(path: str) -> list[str]:
    return [path[: -len(a)] + b for a, b in TOGETHER if path.endswith(a)]


def _same(a: str, b: str) -> bool:
    if os.path.realpath(a) == os.path.realpath(b):
        return True
    try:
        return os.path.samefile(a, b)
    except OSError:
        return False


def _real(path: str) -> Path:
    return Path(os.path.realpath(path))
