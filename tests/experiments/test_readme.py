"""README's Python is run as it stands there, and so are its commands, on a small network.

Only looked at, not run: commands of the frameworks (environments of gigabytes; tests/cli and
tests/frameworks run them), the demo and sweeps (minutes; they are composed and checked), and what
sets up .venv, starts SLURM or measures for hours (that what is named exists).
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from experiments.config.parsing import parse
from spa.bridge import from_torch
from spa.cli.main import COMMANDS as SUB_COMMANDS
from spa.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
# Lines of a block with a backslash at their end go on.
BLOCKS = re.findall(r"(?:^    .*\n)+", TEXT, re.MULTILINE)
COMMANDS = [line.strip() for block in BLOCKS for line in block.replace("\\\n", " ").splitlines()]
OF_FRAMEWORKS = [line for block in re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)
                 for line in block.splitlines()]  # fmt: skip
SPA = [line for line in COMMANDS if line.startswith("spa ")]
RUNS = [line for line in COMMANDS if "-m experiments.run" in line]
# Pixels a side, in place of the 224 of README: OBSPA makes 256 pictures of them.
SIDE = 32


class MyNet(nn.Module):
    """What README's reader has."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 32, 3, stride=2), nn.BatchNorm2d(32), nn.ReLU()),
            *(nn.Conv2d(32, 48, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        )
        self.head = nn.Linear(48, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (N, 3, H, W)."""
        return self.head(self.features(x))


@pytest.fixture
def reader(tmp_path, monkeypatch) -> dict[str, object]:
    """A reader's folder, with a model and data in it; and what the reader has at hand in Python."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPA_LATENCY", str(tmp_path / "latency"))
    torch.manual_seed(0)
    onnx.save(from_torch(MyNet().eval(), torch.randn(2, 3, SIDE, SIDE)), "model.onnx")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((8, 3, SIDE, SIDE)).astype(np.float32), rng.integers(0, 5, 8)
    np.savez("data.npz", x=x, y=y)
    return {"x": x, "y": y, "MyNet": MyNet}


def test_its_commands_run_one_after_another(reader, capsys):
    """inspect, prune, profile, verify, apply; prunings with fine-tuning and for a latency."""
    assert len(SPA) == 7
    for line in SPA:
        if "--latency" in line:  # how much faster this machine can be just now is no promise
            line = line.partition("#")[0] + "--best-effort"
        assert main(shlex.split(line, comments=True)[1:]) == 0, (line, capsys.readouterr())
    assert Path("small.onnx").stat().st_size < Path("model.onnx").stat().st_size


def test_what_it_says_of_the_same_bytes(reader):
    for line in SPA[:5]:
        main(shlex.split(line, comments=True)[1:])
    assert Path("again.onnx").read_bytes() == Path("small.onnx").read_bytes()


def test_its_python_runs_one_snippet_after_another(reader, capsys):
    for line in SPA[:2]:  # the last snippet checks a plan that the command wrote
        main(shlex.split(line, comments=True)[1:])
    first = Path("small.onnx").read_bytes()
    assert len(PYTHON) == 6
    for code in PYTHON:
        if "rebuild" in code:
            reader["net"] = MyNet()
        if "Anyone" in TEXT[: TEXT.index(code)].rpartition("\n## ")[2]:
            Path("small.onnx").write_bytes(first)
        small = code.replace("224, 224", f"{SIDE}, {SIDE}")
        exec(compile(small, "README.md", "exec"), reader)
    assert isinstance(reader["net"], MyNet)
    assert float(capsys.readouterr().out.split()[-1]) < 1e-5


@pytest.mark.parametrize("line", [x for x in OF_FRAMEWORKS if x.startswith("spa ")])
def test_commands_of_frameworks_are_ones(line):
    parser = argparse.ArgumentParser(exit_on_error=False)
    commands = parser.add_subparsers(required=True)
    for command in SUB_COMMANDS:
        command.register(commands)
    parser.parse_args(shlex.split(line, comments=True)[1:])


@pytest.mark.parametrize("line", RUNS)
def test_what_it_launches_can_be_launched(line, composed):
    words = shlex.split(line)
    overrides = [word for word in words[words.index("experiments.run") + 1 :] if "=" in word]
    # Of a sweep, every value; other settings with the first one.
    choices = [(key, values.split(",")) for key, _, values in (o.partition("=") for o in overrides)]
    firsts = {key: values[0] for key, values in choices if not key.startswith("hydra")}
    assert firsts
    for key, values in choices:
        for value in values if key in firsts else ():
            given = firsts | {key: value}
            assert parse(composed(*(f"{k}={v}" for k, v in given.items()))).run_id


def named() -> Iterator[tuple[str, str]]:
    for name in set(re.findall(r"python -m ((?:experiments|spa|tests)[.\w]*)", TEXT)):
        yield "module", name
    for name in set(re.findall(r"\]\(([^)#:]+)\)", TEXT)):
        yield "file", name
    for line in COMMANDS:
        if (first := line.split()[0]).endswith(".sh"):
            yield "file", first
        if first == "make":
            yield "rule", line.split()[1]


@pytest.mark.parametrize(("kind", "name"), sorted(set(named())))
def test_what_it_names_exists(kind, name):
    if kind == "module":
        assert importlib.util.find_spec(name) is not None
    elif kind == "file":
        assert (ROOT / name).exists()
    else:
        assert re.search(rf"^{name}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
