"""Writing files so that a reader never sees half of one, and reading those that may be damaged."""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import math
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spa.errors import OutputError


@contextmanager
def errors(path: Path) -> Iterator[None]:
    """Turn what the system says while a file is written into one clear error.

    Raises:
        OutputError: the folder is read-only, the disk full, or the like.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file in one step: beside its place first, then renamed into it.

    A folder that lies in its place is put aside first, with all that it holds.

    Raises:
        OutputError: the folder is read-only, the disk full, or the like.
    """
    beside = None
    with errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # a machine that loses its power leaves it whole
            os.chmod(beside, 0o644)  # mkstemp makes it private
            put_aside(path)
            os.replace(beside, path)
        except BaseException:  # an interruption too leaves nothing behind
            if beside is not None:
                Path(beside).unlink(missing_ok=True)
            raise


def write_text(path: Path, content: str) -> None:
    """Write a text file in one step."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file in one step; NaN and infinities are refused."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file that anything may have happened to.

    Raises:
        OSError: it cannot be read: it is not there, or something else lies in its place.
        ValueError: it is torn, nests too deep, or holds a number that is none.
    """
    return parse_json(read_text(path))


def read_text(path: Path) -> str:
    """Read a text file that anything may have happened to.

    Raises:
        OSError: it cannot be read: it is not there, or something else lies in its place.
        ValueError: it is no text.
    """
    if not stat.S_ISREG(path.stat().st_mode):  # to open a pipe would wait for ever
        raise IsADirectoryError(errno.EISDIR, "it is no file", str(path))
    return path.read_text()


def parse_json(text: str) -> Any:
    """Parse JSON, whose numbers are finite; every fault is a ValueError."""
    try:
        return json.loads(text, parse_constant=_refused, parse_float=_finite)
    except RecursionError:
        raise ValueError("it nests too deep") from None


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refused(text)


def _refused(text: str) -> float:
    raise ValueError(f"{text} is no number that JSON has")


def remove(path: Path) -> None:
    """Remove a file, if it is there; a folder in its place is put aside.

    Raises:
        OutputError: it cannot be removed.
    """
    with errors(path):
        put_aside(path)
        path.unlink(missing_ok=True)


def put_aside(path: Path) -> None:
    """Rename a folder that lies where a file belongs, and say so; nothing else is touched."""
    if path.is_symlink() or not path.is_dir():
        return
    names = (path.with_name(f"{path.name}.aside-{i}") for i in itertools.count(1))
    other = next(name for name in names if not name.exists())
    path.rename(other)
    print(f"warning: {path} was a folder; it is {other.name} now", file=sys.stderr)


def sha256(path: Path) -> str:
    """Hash a file, however large it is."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
