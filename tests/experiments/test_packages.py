"""Wheels: fetched by the real pip out of a folder in place of an index, and read as they lie."""

from __future__ import annotations

import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.ground import files, packages
from experiments.ground.packages import Package, fetch, member
from spa.errors import InputError, OutputError


@pytest.fixture
def package(tmp_path, monkeypatch) -> Package:
    """A package of one text file, which pip finds in a folder and nowhere else."""
    index = tmp_path / "index"
    index.mkdir()
    wheel = index / "tiny_numbers-1.0-py3-none-any.whl"
    about = "tiny_numbers-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny_numbers/data.csv", "1,2\n")
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny-numbers\n"
                         "Version: 1.0\nRequires-Dist: not-to-be-had\n")  # fmt: skip
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return Package("tiny-numbers", "1.0", files.sha256(wheel))


def lies_in(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def test_a_wheel_is_fetched_once_and_read(package, tmp_path, monkeypatch, capsys):
    root = tmp_path / "data" / "sets"
    wheel = fetch(package, root)
    assert member(wheel, "tiny_numbers/data.csv", at_most=4) == b"1,2\n"
    assert lies_in(root) == ["tiny-numbers-1.0.whl"]
    said = capsys.readouterr()
    assert said.err == f"data: fetching tiny-numbers 1.0 into {root}\n"
    assert said.out == ""
    monkeypatch.setattr(packages, "output", None)  # so that it cannot be fetched again
    assert fetch(package, root) == wheel
    assert capsys.readouterr().err == ""


def test_a_wheel_that_was_torn_is_fetched_again(package, tmp_path):
    (tmp_path / "tiny-numbers-1.0.whl").write_bytes(b"half of it")
    assert member(fetch(package, tmp_path), "tiny_numbers/data.csv", 9) == b"1,2\n"


def test_threads_that_fetch_at_once_do_not_meet(package, tmp_path):
    found: list[bytes] = []

    def one() -> None:
        found.append(member(fetch(package, tmp_path / "data"), "tiny_numbers/data.csv", 9))

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [b"1,2\n"] * 2
    assert lies_in(tmp_path / "data") == ["tiny-numbers-1.0.whl"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"sha256": "0" * 64}, "DO NOT MATCH THE HASHES"),
        ({"version": "2.0"}, "tiny-numbers 2.0 cannot be fetched: ERROR: Could not find a version"),
        ({"source": True}, "Could not find a version"),  # and a source archive is never taken
    ],
)
def test_what_is_not_to_be_had_is_one_clear_line(package, tmp_path, change, why):
    with pytest.raises(InputError, match=why) as caught:
        fetch(replace(package, **change), tmp_path / "data")
    assert "\n" not in str(caught.value)
    assert "a network is needed the first time" in str(caught.value)
    assert lies_in(tmp_path / "data") == []


def test_what_hangs_or_is_not_installed_is_one_clear_line(tmp_path):
    with pytest.raises(InputError, match="it was not there after 0 s; try again"):
        packages.output(["sleep", "9"], "it", 0.1)
    with pytest.raises(InputError, match="it cannot be fetched: .*no-such-client"):
        packages.output(["no-such-client"], "it", 9)


def test_a_folder_that_cannot_be_written_is_a_clear_error(package, tmp_path):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(OutputError, match="cannot write"):
        fetch(package, tmp_path / "data")


def test_members_that_are_not_there_or_too_large_are_refused(package, tmp_path):
    wheel = fetch(package, tmp_path)
    with pytest.raises(InputError, match=r"cannot read other\.csv in .*tiny-numbers-1\.0\.whl"):
        member(wheel, "other.csv", 9)
    with pytest.raises(InputError, match=r"data\.csv in .* is larger than 3 bytes"):
        member(wheel, "tiny_numbers/data.csv", at_most=3)
    wheel.write_bytes(wheel.read_bytes()[:-30])
    with pytest.raises(InputError, match="not a zip file"):
        member(wheel, "tiny_numbers/data.csv", 9)
