"""Files put in place: whole, together, and never half of them.

A result may be several files: a model and its plan, a symbol file and its parameters. Each is
written to a temporary file in its own folder; once all of them are there they are renamed, the
first one last. What would still tear them apart, in this order:

1. an error or an interruption before that: nothing has changed, and the temporary files go;
2. an interruption between two renames: it waits until all are done;
3. the end of the process between two renames: a note beside every target, written before, says what
   is left to rename. `settle` does so: whoever reads or writes one of the files with SPA calls it
   first. A note can only name temporary files of its target's own folder, so one that came with
   somebody's folder moves nothing that was not there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import EncodeError

from spa.errors import OutputError

_TEMPORARY = re.compile(r"\.spa-\w+\.tmp")
_MAX_NOTE_BYTES = 2**16


class Placing:
    """Temporary files and the places that they will take; see `placing`."""

    def __init__(self) -> None:
        self._moves: list[tuple[Path, Path]] = []

    def add(self, path: str | Path) -> Path:
        """A temporary file in the folder of a target, which it will replace.

        Raises:
            OutputError: the target is a folder or a device, or its folder is missing or read-only.
        """
        with told(path):
            target = real(path)
            check_target(path, target)
            # The name says nothing of the target's, which may be as long as names can be.
            handle, name = tempfile.mkstemp(prefix=".spa-", suffix=".tmp", dir=target.parent)
            self._moves.append((Path(name), target))
            # Temporary files are private; what a user writes follows the umask.
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(handle, 0o666 & ~umask)
            os.close(handle)
        return Path(name)

    def place(self) -> None:
        """Renames all of them, the first one last."""
        notes = self._write_notes() if len(self._moves) > 1 else []
        try:
            with _uninterrupted():
                for temporary, target in reversed(self._moves):
                    with told(target):
                        os.replace(temporary, target)
        finally:
            for note in notes:
                note.unlink(missing_ok=True)

    def forget(self) -> None:
        """Deletes what was not renamed."""
        for temporary, _ in self._moves:
            temporary.unlink(missing_ok=True)

    def _write_notes(self) -> list[Path]:
        notes = [_note_of(target) for _, target in self._moves]
        for note in notes:
            there = note.parent
            moves = [[os.path.relpath(p, there) for p in pair] for pair in reversed(self._moves)]
            # A note that is half written names nothing, and nothing has been renamed yet.
            with told(note):
                note.write_text(json.dumps(moves), encoding="utf-8")
        return notes


@contextlib.contextmanager
def placing() -> Iterator[Placing]:
    """Files that take their places together once the block has ended well.

    Example:
        >>> with placing() as files:
        ...     files.add("model.onnx").write_bytes(model)
        ...     files.add("plan.json").write_text(plan)
    """
    files = Placing()
    try:
        yield files
        files.place()
    finally:
        files.forget()


def settle(path: str | Path) -> None:
    """Ends what a process that died left half renamed, if a file is part of such a result."""
    target = real(path)
    note = _note_of(target)
    try:
        if not note.is_file() or note.stat().st_size > _MAX_NOTE_BYTES:
            return
        moves = json.loads(note.read_text(encoding="utf-8"))
        pairs = [tuple(Path(os.path.normpath(note.parent / name)) for name in m) for m in moves]
        for temporary, place in pairs:
            if temporary.parent != place.parent or not _TEMPORARY.fullmatch(temporary.name):
                return
        for temporary, place in pairs:
            with contextlib.suppress(FileNotFoundError):  # it is there already
                os.replace(temporary, place)
        for _, place in pairs:
            _note_of(place).unlink(missing_ok=True)
    except (OSError, ValueError, TypeError):
        return  # somebody else's file, or a folder that cannot be written: it stays as it is


def check_writable(path: str | Path) -> None:
    """Finds out before the work whether a result can be written there.

    Raises:
        OutputError: the path is a folder or a device, or its folder is missing or read-only.
    """
    files = Placing()
    try:
        files.add(path)
    finally:
        files.forget()


def check_target(path: str | Path, target: Path) -> None:
    """Refuses what is no file to write.

    Raises:
        OutputError: it is a folder or a device, or its folder is missing, or it is read-only.
    """
    if target.is_dir():
        raise OutputError(f"{path} is a folder; name the file to write.")
    if target.exists() and not target.is_file():
        raise OutputError(f"{path} is a device or pipe; name a file to write.")
    if not target.parent.is_dir():
        raise OutputError(f"{path} cannot be written: there is no folder {target.parent}.")
    if target.exists() and not os.access(target, os.W_OK):
        raise OutputError(f"{path} cannot be written: the file is read-only.")


@contextlib.contextmanager
def told(path: str | Path) -> Iterator[None]:
    """Says which file an error of the system, or of protobuf, is about."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error
    except (EncodeError, ValueError) as error:
        raise OutputError(f"{path} cannot be written: {error}.") from error


def real(path: str | Path) -> Path:
    """Where the bytes go: a link's target is replaced, not the link."""
    return Path(os.path.realpath(path))


def _note_of(target: Path) -> Path:
    digest = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]
    return target.with_name(f".spa-{digest}.unsettled")


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Lets Ctrl-C and polite ends of the process wait; only a main thread is told of them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
