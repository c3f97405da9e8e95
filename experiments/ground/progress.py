"""What a run says while it works: plain lines on stderr, one rewritten line on a terminal."""

from __future__ import annotations

import sys
import time


class Progress:
    """Says what is going on.

    On a terminal a step overwrites the one before it; elsewhere a step is written when two
    seconds have passed since the last line, so that a log stays short.
    """

    def __init__(self, label: str) -> None:
        self.label = label
        self._terminal = sys.stderr.isatty()
        self._last = 0.0
        self._open = False

    def say(self, text: str) -> None:
        """Write a line that stays."""
        self._write(text, stays=True)

    def step(self, text: str) -> None:
        """Write a line that the next one may replace, or nothing."""
        if self._terminal or time.monotonic() - self._last > 2:
            self._write(text, stays=not self._terminal)

    def _write(self, text: str, stays: bool) -> None:
        start = "\r\033[K" if self._open else ""
        self._open = not stays
        self._last = time.monotonic()
        print(f"{start}{self.label} {text}", end="\n" if stays else "", file=sys.stderr, flush=True)
