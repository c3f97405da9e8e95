"""Who works on a folder: a lease that the process renews, and that others can tell to be stale.

    <folder>/lease.json     machine, process, and who they are for people; its time of change is the
                            last heartbeat
    <folder>/.lease         held (flock) for the moments in which a lease is taken, given back or
                            taken over, so that two launches at once never both have it

A lease whose process is gone is stale at once on the same machine. From elsewhere only heartbeats
can be seen: it is stale after `MISSED` of them. Both times of change that are compared come from
the file system, so clocks that differ do no harm. A heartbeat of the future is none: a folder was
copied with its times, or a clock was wrong.
"""

from __future__ import annotations

import fcntl
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from experiments.ground import files
from spa.errors import OutputError, SpaError
from spa.showing import printable

HEARTBEAT = 20.0  # seconds
MISSED = 3


class Taken(SpaError):
    """Another process holds the lease.

    Attributes:
        holder: who, for people.
    """

    def __init__(self, folder: Path, holder: str) -> None:
        super().__init__(f"{folder} is being worked on by {holder}")
        self.holder = holder


class Lost(SpaError):
    """Somebody took the lease over, as this process gave no sign of life."""


@dataclass
class Lease:
    """A lease that this process holds.

    Attributes:
        folder: what it is on.
        token: what no other lease has.
    """

    folder: Path
    token: str
    lost: bool = False

    def check(self) -> None:
        """Refuse to go on without it.

        Raises:
            Lost: somebody took it over.
        """
        self.beat()  # it may have slept since the last one
        if self.lost:
            raise Lost(
                f"the lease on {self.folder} was taken over: this process gave no sign of life for "
                f"{MISSED * HEARTBEAT:g} s; what the other one writes stays"
            )

    def beat(self) -> None:
        """Show that this process lives; find out whether the lease is still its own."""
        path = self.folder / "lease.json"
        try:
            if files.read_json(path)["token"] == self.token:
                os.utime(path)
                return
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            pass
        except OSError:  # a file system that does not answer now; the next beat may tell
            return
        self.lost = True


@contextmanager
def hold(folder: Path, *, wait: Callable[[str], None] | None = None) -> Iterator[Lease]:
    """Hold the lease on a folder while the body runs.

    Args:
        folder: made if it is not there.
        wait: called once with who holds the lease, then it is waited for; without it, that is an
            error.

    Raises:
        Taken: another process holds it, and it is not waited for.
        OutputError: the folder cannot be written.
    """
    lease = _take(folder, wait)
    over = threading.Event()

    def beats() -> None:
        while not over.wait(HEARTBEAT):
            lease.beat()

    thread = threading.Thread(target=beats, daemon=True, name=f"heartbeat of {folder.name}")
    thread.start()
    try:
        yield lease
    finally:
        over.set()
        thread.join()
        _give_back(lease)


def holder(folder: Path) -> str | None:
    """Who holds the lease on a folder, for people; None when nobody alive does."""
    found = _read(folder)
    return _who(found) if found and _alive(folder, found) else None


def _take(folder: Path, wait: Callable[[str], None] | None) -> Lease:
    token = os.urandom(8).hex()
    told = False
    while True:
        with _guarded(folder):
            found = _read(folder)
            if not found or not _alive(folder, found):
                files.write_json(folder / "lease.json", {"token": token, **_me()})
                return Lease(folder, token)
        if wait is None:
            raise Taken(folder, _who(found))
        if not told:
            wait(_who(found))
        told = True
        time.sleep(0.5)


def _give_back(lease: Lease) -> None:
    """Removes the lease; where that fails, it is stale soon anyway."""
    try:
        with _guarded(lease.folder):
            if _read(lease.folder).get("token") == lease.token:
                (lease.folder / "lease.json").unlink()
    except (OSError, OutputError):
        pass


@contextmanager
def _guarded(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        guard = (folder / ".lease").open("w")
        with guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise OutputError(f"cannot write in {folder}: {error.strerror or error}") from error


def _read(folder: Path) -> dict[str, Any]:
    """A lease, empty where there is none; it is written in one step, so never half."""
    try:
        found = files.read_json(folder / "lease.json")
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _alive(folder: Path, found: dict[str, Any]) -> bool:
    if found.get("machine") == _machine():
        began = _began(found.get("pid"))
        return began is not None and began == found.get("began")
    try:
        beat = (folder / "lease.json").stat().st_mtime
        probe = folder / f".now-{os.getpid()}"
        probe.touch()
        now = probe.stat().st_mtime
        probe.unlink()
    except OSError:
        return True  # it cannot be told, and could not be taken over anyway
    return abs(now - beat) < MISSED * HEARTBEAT


def _who(found: dict[str, Any]) -> str:
    return printable(f"process {found.get('pid')} on {found.get('host')}")


def _me() -> dict[str, Any]:
    return {
        "machine": _machine(),
        "host": platform.node(),
        "pid": os.getpid(),
        "began": _began(os.getpid()),
    }


@cache
def _machine() -> str:
    """What tells apart machines, boots of one, and containers that do not see each other's ids."""
    parts = [platform.node()]
    for read in (
        lambda: Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        lambda: os.readlink("/proc/self/ns/pid"),
    ):
        try:
            parts.append(read())
        except OSError:  # not Linux
            parts.append("")
    return " ".join(parts)


def _began(pid: Any) -> str | None:
    """When a process began, as the system counts it; None when there is none. Ids come again."""
    if not isinstance(pid, int) or pid <= 0:
        return None
    try:
        # The fields after the name, which may hold anything but ends with the last bracket.
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state in "ZX" else rest[18]
    except OSError:
        pass
    if Path("/proc/self/stat").exists():
        return None
    try:
        os.kill(pid, 0)  # not Linux: at least whether there is one
    except ProcessLookupError:
        return None
    except OSError:
        pass
    return "unknown"
