"""Progress on stderr: one line that is rewritten on a terminal, plain lines elsewhere.

Nothing is shown for what takes under two seconds, so that quick work stays quiet.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from types import TracebackType

from spa.showing import shown

QUIET_SECONDS = 2.0
# Without a terminal (a log file, CI) a line at most this often.
LOG_SECONDS = 10.0


class Progress:
    """Progress of one stage.

    Args:
        label: what is being done.
        total: number of parts; None where it is not known.

    Example:
        >>> with Progress("Synthesising inputs", total=80) as progress:
        ...     for step in range(80):
        ...         progress.advance()
    """

    def __init__(self, label: str, total: int | None = None) -> None:
        self._label = shown(label)
        self._total = total
        self._done = 0
        self._started = time.monotonic()
        self._shown = self._started + QUIET_SECONDS - LOG_SECONDS
        self._visible = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._visible and sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def advance(self, parts: int = 1, note: str = "") -> None:
        """Counts parts as done, and shows it now and then."""
        self._done += parts
        now = time.monotonic()
        terminal = sys.stderr.isatty()
        if now - self._started < QUIET_SECONDS:
            return
        if now - self._shown < (0.2 if terminal else LOG_SECONDS):
            return
        self._shown, self._visible = now, True
        count = f"{self._done}" if self._total is None else f"{self._done}/{self._total}"
        text = f"{self._label}: {count}, {now - self._started:.0f} s{' ' + note if note else ''}"
        if terminal:
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
        else:
            print(shown(text), file=sys.stderr, flush=True)


@contextlib.contextmanager
def stage(text: str) -> Iterator[None]:
    """Says what is being done, once it has taken over two seconds."""
    timer = threading.Timer(QUIET_SECONDS, _say, [f"{text} ..."])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _say(text: str) -> None:
    print(shown(text), file=sys.stderr, flush=True)
