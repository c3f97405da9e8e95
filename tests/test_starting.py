"""How the command and the library begin: interrupted, and without an optional package."""

import os
import subprocess
import sys

import numpy as np
import pytest

from tests.cli.conftest import save
from tests.graphs import classifier

BLOCKED = """
import importlib.machinery
find = importlib.machinery.PathFinder.find_spec

def without(name, path=None, target=None):
    missing = name.partition(".")[0] in ("torch", "torchvision", "onnx2torch", "onnxscript")
    return None if missing else find(name, path, target)

importlib.machinery.PathFinder.find_spec = staticmethod(without)
"""


def python(*arguments, **environment):
    command = [sys.executable, *map(str, arguments)]
    environment = {**os.environ, **environment}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["spa", "notebook"])
def test_ctrl_c_while_importing(name):
    code = (
        f"import sys; sys.argv[0] = {name!r}\n"
        "from spa.starting import hush_interrupts\n"
        "hush_interrupts()\n"
        "raise KeyboardInterrupt"
    )
    done = python("-c", code)
    if name == "spa":
        assert done.returncode == 130
        assert done.stderr == "spa: error: interrupted; nothing was written.\n"
    else:
        assert "Traceback" in done.stderr


def test_every_entry_says_what_to_install(tmp_path):
    """The rest of SPA works without PyTorch; what needs it names a command that works from here."""
    (tmp_path / "sitecustomize.py").write_text(BLOCKED)
    path = f"{tmp_path}:{os.getcwd()}"
    model, data = save(classifier(), tmp_path / "m.onnx"), tmp_path / "d.npz"
    np.savez(data, x=np.zeros((4, 3, 8, 8), np.float32), y=np.zeros(4, np.int64))
    out = ("-o", tmp_path / "o.onnx")
    prune = ("-m", "spa", "prune", model, *out, "--rf", "1.5")
    done = python(*prune, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    for arguments in (
        (*prune, "--criterion", "snip", "--data", data),
        (*prune, "--finetune", data),
        ("-m", "spa", "export", "a.b:c", *out, "--shape", "3x8x8"),
        (*prune, "--method", "obspa"),
        ("-c", "import spa.bridge"),
        ("-c", "import spa.modules"),
        ("-c", "import spa; spa.prune(object(), inputs=1, rf=2)"),
    ):
        done = python(*arguments, PYTHONPATH=path)
        assert done.returncode == 1
        assert f'"{os.getcwd()}[torch]"' in done.stderr
        assert "defect" not in done.stderr
