"""A logger that fails never fails a run: it says so once and is silent from then on."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import Any

from experiments.loggers.protocol import Logger
from experiments.results.schema import Result
from spa.errors import SpaError


class Careful:
    """Wraps a logger: the first exception silences it."""

    def __init__(self, make: Callable[[], Logger]) -> None:
        self._inner: Logger | None = None
        self._do(lambda: setattr(self, "_inner", make()))

    def metrics(self, row: dict[str, Any]) -> None:
        """Pass on one line of metrics."""
        if (inner := self._inner) is not None:
            self._do(lambda: inner.metrics(row))

    def finish(self, result: Result | None) -> None:
        """Pass on the result."""
        if (inner := self._inner) is not None:
            self._do(lambda: inner.finish(result))

    def abandon(self) -> None:
        """Silence it."""
        inner, self._inner = self._inner, None
        if inner is not None:
            with contextlib.suppress(Exception):  # it is broken already
                inner.abandon()

    def _do(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # no key, no network, no disk: a mirror is not worth a run
            self.abandon()
            kind = "" if isinstance(error, SpaError) else f"{type(error).__name__}: "
            text = " ".join(str(error).split())  # one line, whatever it is
            print(f"logger switched off: {kind}{text}", file=sys.stderr)
