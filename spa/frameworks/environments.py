"""Virtual environments of frameworks that cannot share ours.

MXNet needs NumPy 1 and an old onnx, TensorFlow and JAX weigh gigabytes and move at their own pace.
So each has an environment of its own, made on demand from exact pins (``pins/NAME.txt``) and kept
for later: in ``$SPA_ENVIRONMENTS``, or ``spa/environments`` in the user's cache folder. Its name
carries a digest of the pins, so that new pins make a new one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from spa.errors import FrameworkError, SettingError, unknown
from spa.progress import Progress

PINS = Path(__file__).parent / "pins"
FOLDER = "SPA_ENVIRONMENTS"
# The Python that all pins were tried with; MXNet's last release has none for later ones.
PYTHON = "3.11"
_LOG_LINES = 8


@dataclass(frozen=True)
class Environment:
    """The environment of a framework.

    Attributes:
        name: the framework's.
        folder: where it lies, or would.
    """

    name: str
    folder: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def is_ready(self) -> bool:
        """Whether it was made, to the end."""
        return self._ready.is_file()

    @property
    def _ready(self) -> Path:
        return self.folder / "ready.json"


def names() -> tuple[str, ...]:
    """Frameworks that have an environment of their own."""
    return tuple(sorted(path.stem for path in PINS.glob("*.txt")))


def environment(name: str) -> Environment:
    """The environment of a framework, whether or not it has been made.

    Raises:
        SettingError: there is no such framework.
    """
    if name not in names():
        raise SettingError(unknown("framework with an environment of its own", name, names()))
    digest = hashlib.sha256(_pins(name).read_bytes()).hexdigest()[:10]
    return Environment(name, _root() / f"{name}-{digest}")


def required(name: str) -> Environment:
    """The environment of a framework that must be there.

    Raises:
        FrameworkError: it has not been made; the message says how to.
    """
    found = environment(name)
    if not found.is_ready:
        raise FrameworkError(
            f"{name} has an environment of its own, which has not been made on this machine; "
            f"make it with: spa frameworks install {name}"
        )
    return found


def install(name: str) -> Environment:
    """Makes the environment of a framework, unless it is there; shows progress on stderr.

    Two processes that ask at once make one.

    Raises:
        SettingError: there is no such framework.
        FrameworkError: no fitting Python, or pip fails; with its last lines.
    """
    found = environment(name)
    with _locked(found.folder):
        if not found.is_ready:
            _make(found)
    return found


def versions(found: Environment) -> dict[str, str]:
    """Version of every package of an environment that has been made."""
    made: dict[str, str] = json.loads((found.folder / "ready.json").read_text())
    return made


def _make(found: Environment) -> None:
    shutil.rmtree(found.folder, ignore_errors=True)  # what an interrupted attempt left
    log = found.folder.with_suffix(".log")
    pip = [str(found.python), "-m", "pip", "--disable-pip-version-check"]
    with Progress(f"Making the environment of {found.name}") as progress:
        _step([_python(), "-m", "venv", str(found.folder)], log, progress, found)
        _step([*pip, "install", "-r", str(_pins(found.name))], log, progress, found)
        listed = subprocess.run(
            [*pip, "list", "--format", "json"], capture_output=True, text=True, check=True
        )
    packages = {entry["name"]: entry["version"] for entry in json.loads(listed.stdout)}
    text = json.dumps(dict(sorted(packages.items())), indent=1)
    (found.folder / "ready.json").write_text(text)  # written last: it says that all is there
    log.unlink()


def _step(command: list[str], log: Path, progress: Progress, found: Environment) -> None:
    """Runs a command whose output goes to a file, and shows that it is still at it."""
    with log.open("w") as output:
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            while True:
                try:
                    code = child.wait(timeout=0.5)
                    break
                except subprocess.TimeoutExpired:
                    progress.advance(note=_last_line(log))
        except BaseException:
            child.kill()
            child.wait()
            raise
    if code != 0:
        last = " ".join(log.read_text(errors="replace").split("\n")[-_LOG_LINES:]).strip()
        raise FrameworkError(
            f"The environment of {found.name} could not be made in {found.folder}: {last} "
            f"(all of it in {log}). It needs the package index that pip is set up for, and 0.5 to "
            f"2 GB on disk; another place is chosen with {FOLDER}."
        )


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip()[:80] if lines else ""


def _python() -> str:
    """An interpreter of the version that the pins are for."""
    if f"{sys.version_info.major}.{sys.version_info.minor}" == PYTHON:
        return sys.executable
    other = shutil.which(f"python{PYTHON}")
    if other is None:
        raise FrameworkError(
            f"The environments of frameworks are made with Python {PYTHON}, and there is no "
            f"python{PYTHON} on the PATH; install it, or put it there."
        )
    return other


def _pins(name: str) -> Path:
    return PINS / f"{name}.txt"


def _root() -> Path:
    chosen = os.environ.get(FOLDER)
    if chosen:
        return Path(chosen).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "spa" / "environments"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = folder.with_suffix(".lock")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        handle = lock.open("w")
    except OSError as error:
        raise FrameworkError(
            f"Environments cannot be made in {folder.parent}: {error.strerror or error}; "
            f"another place is chosen with {FOLDER}."
        ) from error
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
