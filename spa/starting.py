"""Ctrl-C while the command is still importing: one line, and no traceback.

Imports take a second or two, before anything of the command's own is there to catch it. So the
package imports this first, and that does it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import TracebackType

INTERRUPTED = 130  # as shells count it: 128 and the number of the signal
SAID = "spa: error: interrupted; nothing was written."


def hush_interrupts() -> None:
    """Ends the process so, if it is the command's; who imports the library has hooks of his own."""
    if not _is_command():
        return
    other = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            other(kind, error, trace)
            return
        print(SAID, file=sys.stderr, flush=True)
        os._exit(INTERRUPTED)  # else Python ends itself by the signal

    sys.excepthook = hook


def _is_command() -> bool:
    """``spa ...``, or ``python -m spa ...``, of which Python tells after the package is there."""
    first = sys.argv[0] if sys.argv else ""
    if first == "-m":
        return any(
            a == "-m" and b == "spa" for a, b in zip(sys.orig_argv, sys.orig_argv[1:], strict=False)
        )
    return Path(first).name in ("spa", "spa.exe")


hush_interrupts()
