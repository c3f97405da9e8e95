"""The command in this process: exit code, stdout and stderr of `spa ...`."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from spa.cli.main import DEFECT, main
from tests.graphs import classifier


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def document(self):
        return json.loads(self.out, parse_constant=_no_constant)


def _no_constant(text):
    raise AssertionError(f"{text} is no JSON")


@pytest.fixture
def spa_(capfd):
    """Runs the command in this process; file descriptors are captured, so C++ noise shows too."""

    def call(*arguments):
        capfd.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        return Result(code, *capfd.readouterr())

    return call


@pytest.fixture
def good(spa_):
    """As ``spa_``, for what must succeed without a word on stderr (slow machines aside)."""

    def call(*arguments):
        result = spa_(*arguments)
        assert result.code == 0, result.err
        said = [line for line in result.err.splitlines() if not line.endswith(" ...")]
        assert said == []
        return result

    return call


@pytest.fixture
def refused(spa_, tmp_path):
    """As ``spa_``, for what must fail with one line on stderr and leave every folder as it was."""

    def call(*arguments, code=1):
        before = tree(tmp_path)
        result = spa_(*arguments)
        assert result.code == code, (result.out, result.err)
        lines = [line for line in result.err.splitlines() if not line.endswith(" ...")]
        assert len(lines) == 1, result.err
        assert "Traceback" not in result.err
        assert re.match(r"spa( \w+)?: error: ", lines[0])
        assert DEFECT not in lines[0]
        assert len(lines[0]) < 1500
        assert tree(tmp_path) == before
        if "--json" not in arguments:
            assert result.out == ""
        return lines[0]

    return call


def tree(folder: Path):
    """Every file below a folder with its bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.fixture
def model(tmp_path):
    """Path of the default test model: 4 groups of 8, 8, 12 and 16 channels."""
    return save(classifier(), tmp_path / "model.onnx")


@pytest.fixture
def pruned(model, good, tmp_path):
    """Paths of the model, the pruned model and the plan."""
    out, plan = tmp_path / "pruned.onnx", tmp_path / "plan.json"
    good("prune", model, "-o", out, "--rf", 2, "--plan", plan)
    return model, out, plan


def save(proto, path):
    onnx.save(proto, str(path))
    return path


def parameters(path):
    """Number of floating-point elements in the initializers of a file."""
    return sum(int(np.prod(t.dims)) for t in onnx.load(str(path)).graph.initializer)
