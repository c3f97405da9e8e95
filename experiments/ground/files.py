"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import hashlib
import json
import os
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


def sha256(path: Path) -> str:
    """Hash a file, however large it is."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
