"""Whether a finished run is whole: its result, and the files that it was measured on.

A status that says done has the size, time of change and hash of every file of the run
(`marks`). A file is hashed again only where size or time differ, so that a thousand runs are looked
through in a moment. Runs that were put back from records have no files, and say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from experiments.ground import files
from experiments.results.records import read_result
from spa.errors import InputError


def marks(folder: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return what tells a run's files from damaged ones, for those that are there."""
    there = (folder / name for name in names)
    return {path.name: _mark(path) | _hash(path) for path in there if path.is_file()}


def damage(folder: Path, status: Mapping[str, Any]) -> str:
    """Say what is wrong with the files of a run whose status says done; "" where nothing is."""
    try:
        read_result(folder / "result.json")
    except InputError as error:
        return str(error)
    known = status.get("files", {})
    if not isinstance(known, dict):
        return f"{folder / 'status.json'} is torn or was edited: its files are {known!r}"
    return next((fault for name in known if (fault := _fault(folder / name, known[name]))), "")


def _fault(path: Path, mark: Any) -> str:
    try:
        if not isinstance(mark, dict):
            return f"{path} is not as the run left it"
        now = _mark(path)
        if all(mark.get(key) == value for key, value in now.items()):
            return ""
        same = mark.get("size") == now["size"] and mark.get("sha256") == _hash(path)["sha256"]
        return "" if same else f"{path} is not as the run left it"
    except OSError as error:
        return f"cannot read {path}: {error.strerror or error}"


def _mark(path: Path) -> dict[str, Any]:
    found = path.stat()
    return {"size": found.st_size, "changed": found.st_mtime_ns}


def _hash(path: Path) -> dict[str, Any]:
    return {"sha256": files.sha256(path)}
