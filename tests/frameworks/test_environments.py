"""Environments: made once, to the end or not at all, with the way out where that fails."""

from __future__ import annotations

import pytest

from spa.errors import FrameworkError, SettingError
from spa.frameworks import environments


@pytest.mark.slow
def test_an_environment_is_made_once(pins):
    with pytest.raises(FrameworkError, match="spa frameworks install tiny"):
        environments.required("tiny")
    found = environments.install("tiny")
    assert found.is_ready
    assert "pip" in environments.versions(found)
    mark = found.folder / "mark"
    mark.touch()
    assert environments.install("tiny") == found == environments.required("tiny")
    assert mark.exists()
    # Other pins make another one.
    pins.write_text("# other\n")
    assert environments.environment("tiny") != found
    assert not environments.environment("tiny").is_ready


@pytest.mark.slow
def test_one_that_cannot_be_made_is_not_there(pins):
    pins.write_text("this-is-no-package-of-anybody==1.0\n")
    with pytest.raises(FrameworkError, match=r"this-is-no-package-of-anybody.*SPA_ENVIRONMENTS"):
        environments.install("tiny")
    assert not environments.environment("tiny").is_ready
    # What is left of it is no hindrance.
    pins.write_text("# nothing\n")
    assert environments.install("tiny").is_ready


def test_a_half_made_one_does_not_count(pins):
    found = environments.environment("tiny")
    (found.folder / "bin").mkdir(parents=True)
    found.python.touch()
    assert not found.is_ready


def test_a_folder_that_cannot_be_written(pins, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv(environments.FOLDER, str(tmp_path / "file"))
    with pytest.raises(FrameworkError, match="another place is chosen with SPA_ENVIRONMENTS"):
        environments.install("tiny")


def test_names():
    assert environments.names() == ("jax", "mxnet", "tensorflow")
    with pytest.raises(SettingError, match="Did you mean tensorflow"):
        environments.environment("tensorflw")


def test_no_python_that_fits(pins, monkeypatch):
    monkeypatch.setattr(environments, "PYTHON", "3.2")
    with pytest.raises(FrameworkError, match=r"python3\.2 on the PATH"):
        environments.install("tiny")
