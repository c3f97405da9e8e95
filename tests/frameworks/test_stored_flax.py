"""A Flax model is stored, pruned and comes back as docs/frameworks.md says."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from spa.cli.main import main
from tests.documents import ROOT, blocks

NETS = (Path(__file__).parent / "networks" / "small_flax.py").read_text()
MADE = """
from nets import small
from flax import nnx

net = small((32, 32, 3), 5, nnx.Rngs(0))
"""


@pytest.mark.slow
def test_a_flax_model_goes_in_and_out_as_the_page_shows(installed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(NETS)
    (code,) = (
        b.text for b in blocks(ROOT / "docs" / "frameworks.md", "python") if "flax" in b.text
    )
    done = subprocess.run(
        [str(installed("jax").python), "-c", MADE + code], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = [line for b in blocks(ROOT / "docs" / "frameworks.md", "bash") for line in b.commands]
    line = next(line for line in lines if line.startswith("spa prune net.npz"))
    assert main(line.split()[1:]) == 0
    with np.load("net.npz") as dense, np.load("smaller.npz") as smaller:
        assert set(dense.files) == set(smaller.files)
        assert sum(smaller[k].size for k in smaller.files) < sum(dense[k].size for k in dense.files)
