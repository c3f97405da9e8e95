"""Frameworks' environments, made by our own code where they are not there yet."""

from __future__ import annotations

import numpy as np
import pytest

from spa.frameworks import Feed, environments


@pytest.fixture(scope="session")
def installed():
    """Makes sure of an environment; two test workers that ask at once make one."""
    return environments.install


@pytest.fixture
def clusters():
    """Pictures (96, 3, 8, 8) of four classes that a small network learns in a few epochs."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 96)
    x = rng.standard_normal((96, 3, 8, 8)).astype(np.float32)
    x[np.arange(96), :, y, :] += 3
    return x, y


@pytest.fixture
def feed(clusters):
    """Twelve epochs of them, in batches of 32."""
    x, y = clusters

    def epoch(number):
        order = np.random.default_rng(number).permutation(96)
        return [(x[rows], y[rows]) for rows in np.split(order, 3)]

    return Feed(epoch, lambda epoch, step: 0.05 if epoch < 9 else 0.005, 12, 3, 32)


@pytest.fixture
def pins(tmp_path, monkeypatch):
    """Pins of a framework that is no more than pip, in a place of its own."""
    folder = tmp_path / "pins"
    folder.mkdir()
    (folder / "tiny.txt").write_text("# nothing\n")
    monkeypatch.setattr(environments, "PINS", folder)
    monkeypatch.setenv(environments.FOLDER, str(tmp_path / "made"))
    return folder / "tiny.txt"
