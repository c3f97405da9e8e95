"""Signals that ask a run to end: SIGTERM, and SIGUSR1 or SIGUSR2 before a job's time is over.

A training that is asked to end keeps its state first (`Interrupts.gently`); anything else ends at
once, as it can be done again. What was to be done about the signal by whoever started the run
(submitit hands its job back to the queue) is done after that.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class Interrupted(BaseException):
    """A signal asked the run to end. No Exception: nothing on the way should swallow it."""


class Interrupts:
    """What a run was asked, while it listens.

    Attributes:
        asked: the signal that came, if one did.
    """

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        self._gentle = False
        self._before: dict[signal.Signals, Any] = {}

    @contextmanager
    def listening(self) -> Iterator[Interrupts]:
        """Take the signals while the body runs; only a process's main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        self._before = {each: signal.signal(each, self._hear) for each in SIGNALS}
        try:
            yield self
        finally:
            for each, before in self._before.items():
                signal.signal(each, before)

    @contextmanager
    def gently(self) -> Iterator[Callable[[], bool]]:
        """Have signals only noted while the body runs, which asks whether there was one."""
        self._gentle = True
        try:
            yield lambda: self.asked is not None
        finally:
            self._gentle = False

    def hand_on(self) -> None:
        """End the process as whoever started it wants it to be after the signal that came."""
        assert self.asked is not None
        before = self._before.get(self.asked)
        if callable(before):
            before(self.asked, None)
        elif self.asked != signal.SIGTERM and "SLURM_JOB_ID" in os.environ:
            requeue()
        raise SystemExit(128 + self.asked)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.asked = signal.Signals(number)
        if not self._gentle:
            raise Interrupted(self.asked.name)


def requeue() -> None:
    """Have SLURM start this job again; it ends this process."""
    job = os.environ.get("SLURM_ARRAY_JOB_ID")
    task = os.environ.get("SLURM_ARRAY_TASK_ID")
    name = f"{job}_{task}" if job and task else os.environ["SLURM_JOB_ID"]
    done = subprocess.run(["scontrol", "requeue", name], capture_output=True, text=True)
    if done.returncode:
        print(f"error: cannot requeue job {name}: {done.stderr.strip()}", file=sys.stderr)
