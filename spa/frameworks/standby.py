"""Workers' processes, which have their framework loaded and stand by for the next call.

Importing TensorFlow takes longer than most of what it is asked for. So a worker does that once, and
every call is a copy (fork) of it: none sees what another one changed, and one that crashes takes
nothing along. See ``_asked`` in ``workers/common.py`` for the other side.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

# pytest sets it before every test; frameworks do not look at it when they are imported.
_FLEETING = {"PYTEST_CURRENT_TEST"}
# Seconds until one that was told to end is ended.
_GRACE = 2.0


class Standby:
    """A worker's process.

    Args:
        command: what starts it, with the socket of calls as its standard input.
        environment: the variables that it is imported under.
    """

    def __init__(self, command: list[str], environment: Mapping[str, str]) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the process)
        self._line, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                command,
                stdin=theirs.fileno(),
                stdout=self._said,
                stderr=self._said,
                env=environment,
            )

    def call(
        self,
        folder: Path,
        environment: Mapping[str, str],
        errors: IO[bytes],
        listen: Callable[[bytes], None],
        patience: float,
    ) -> int | None:
        """Has it carry out what a folder says.

        Args:
            folder: of the call.
            environment: the variables to do it under.
            errors: where it writes what goes wrong.
            listen: called with every line that it prints.
            patience: seconds that it may be silent.

        Returns:
            Its exit code, as of `subprocess`; None if it fell silent. It has ended in any case.
        """
        try:
            code = self._call(folder, environment, errors, listen, patience)
        except BaseException:
            self.end()
            raise
        if code is None:
            self.end()
        return code

    def _call(
        self,
        folder: Path,
        environment: Mapping[str, str],
        errors: IO[bytes],
        listen: Callable[[bytes], None],
        patience: float,
    ) -> int | None:
        order = {"folder": str(folder), "from": os.getcwd(), "environment": dict(environment)}
        text = json.dumps(order).encode() + b"\n"
        reading, writing = os.pipe()
        with open(reading, "rb", buffering=0) as output:
            with open(writing, "wb"), suppress(BrokenPipeError):  # it ended while it was imported
                sent = socket.send_fds(self._line, [text], [writing, errors.fileno()])
                self._line.sendall(text[sent:])
            if not _listened(output, listen, patience):
                return None
        with suppress(ConnectionResetError), self._line.makefile("rb") as answers:
            answer = answers.readline()
            if answer:
                return int(answer)
        code = self._process.wait()
        self._said.seek(0)
        errors.write(self._said.read())
        return code or 1  # it ended, well or not, and did nothing

    @property
    def has_ended(self) -> bool:
        """Whether it stands by no longer."""
        return self._process.poll() is not None

    def end(self) -> None:
        """Ends it, and the call that it carries out."""
        with suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)  # though copies of this process have it too
        try:
            self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:  # it is not done with its imports
            self._process.kill()
            self._process.wait()
        self.forget()

    def forget(self) -> None:
        """Leaves it to the process that this one is a copy of."""
        self._line.close()
        self._said.close()


# By framework, a worker that has nothing to do, and what it was started under.
_IDLE: dict[str, tuple[Any, Standby]] = {}


@contextmanager
def standing_by(
    framework: str, command: list[str], environment: Mapping[str, str]
) -> Iterator[Standby]:
    """A worker of a framework: the one of the last call, if it was started in the same way."""
    start = (os.getpid(), command, {k: v for k, v in environment.items() if k not in _FLEETING})
    # Taken out, so that of two threads one starts another.
    known, worker = _IDLE.pop(framework, (None, None))
    if worker is not None and (known != start or worker.has_ended):
        _dismiss(known, worker)
        worker = None
    worker = worker or Standby(command, environment)
    yield worker
    if not worker.has_ended:
        before = _IDLE.pop(framework, None)
        _IDLE[framework] = (start, worker)
        if before is not None:
            _dismiss(*before)


def _dismiss(start: Any, worker: Standby) -> None:
    if start[0] == os.getpid():
        worker.end()
    else:
        worker.forget()


@atexit.register
def _dismiss_all() -> None:
    while _IDLE:
        _dismiss(*_IDLE.popitem()[1])


def _listened(output: IO[bytes], listen: Callable[[bytes], None], patience: float) -> bool:
    """Passes on the lines of a worker until it ends; False if it fell silent before."""
    text, heard = b"", time.monotonic()
    while True:
        ready, _, _ = select.select([output], [], [], 0.2)
        if ready:
            chunk = os.read(output.fileno(), 2**16)
            if not chunk:
                return True
            heard = time.monotonic()
            *lines, text = (text + chunk).split(b"\n")
            for line in lines:
                listen(line)
        elif time.monotonic() - heard > patience:
            return False
