"""What README and docs show runs as it stands there, page by page, on a small network.

Only looked at, not run: commands of TensorFlow, JAX and MXNet (environments of gigabytes; tests/cli
and tests/frameworks run them, and `tests/frameworks/test_stored_flax.py` what docs show of Flax),
sweeps (minutes; they are composed and checked), and what sets up .venv or starts SLURM.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from experiments.config.parsing import parse
from spa.bridge import from_torch
from spa.cli.main import COMMANDS as SUB_COMMANDS
from spa.cli.main import main
from tests.documents import PAGES, ROOT, Block, blocks, inline, name

# Pixels a side, in place of the 224 of the pages; and how many pictures OBSPA makes, not 256.
SIDE, SAMPLES = 32, 16
# What the reader has in a file, and at hand in Python.
NETS = """
import torch
from torch import nn

class MyNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 32, 3, stride=2), nn.BatchNorm2d(32), nn.ReLU()),
            *(nn.Conv2d(32, 48, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        )
        self.head = nn.Linear(48, 5)

    def forward(self, x):
        return self.head(self.features(x))

def mine():
    return MyNet()
"""
CRITERION = """
import numpy as np
from spa.importance.criterion import criterion
from spa.importance.values import Elements

@criterion(source="own")
def {name}(view, how):
    \"\"\"Scores by squares.\"\"\"
    return Elements({{n: view.model.numbers(n) ** 2 for n in view.model.counted_parameters}})
"""
# A file, a folder or an option that says that another framework than PyTorch is at work.
OF_FRAMEWORKS = re.compile(r"\.keras\b|-symbol\.json|\bnet\.npz|\bsaved/|--framework|frameworks\b")
# What is in a block of commands, by how it begins, and is looked at elsewhere in this file.
NOT_RUN = ("pip", ".venv/bin/pip", ".venv/bin/python -m", "python3.11", "make", "slurm/")
WITH_COMMANDS = [page for page in PAGES if any(blocks(page, "python", "bash"))]
COMMANDS = [line for page in PAGES for block in blocks(page, "bash", "") for line in block.commands]
RUNS = [line for line in COMMANDS if "-m experiments.run" in line]
OF_HARNESS = [line for line in COMMANDS
              if re.search(r"-m experiments\.(tables|status|report|records) ", line)]  # fmt: skip
INLINE = [code for page in PAGES for code in inline(page)]


@pytest.fixture
def reader(tmp_path, monkeypatch) -> dict[str, Any]:
    """A reader's folder, with a model and data in it; and what the reader has at hand in Python."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPA_LATENCY", str(tmp_path / "latency"))
    Path("docs").symlink_to(ROOT / "docs")
    Path("nets.py").write_text(NETS)
    Path("my.py").write_text(CRITERION.format(name="name"))
    known: dict[str, Any] = {}
    exec(compile(NETS, "nets.py", "exec"), known)
    torch.manual_seed(0)
    onnx.save(from_torch(known["mine"]().eval(), torch.randn(2, 3, SIDE, SIDE)), "model.onnx")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((8, 3, SIDE, SIDE)).astype(np.float32), rng.integers(0, 5, 8)
    np.savez("data.npz", x=x, y=y)
    np.savez("images.npz", x=x)
    np.savez("nchw.npz", x=x[:, :, :8, :8], y=y)
    return {"x": x, "y": y, "images": x, "MyNet": known["MyNet"], "net": known["mine"]()}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("spa", exit_on_error=False)
    commands = parser.add_subparsers(required=True)
    for command in SUB_COMMANDS:
        command.register(commands)
    return parser


def _smaller(text: str) -> str:
    """For the reader's pictures, and for a reader in a hurry."""
    text = text.replace("224, 224", f"{SIDE}, {SIDE}").replace("224x224", f"{SIDE}x{SIDE}")
    text = text.replace("--method obspa", f"--method obspa --samples {SAMPLES}")
    return text.replace('calibration="bn"', f'calibration="bn", samples={SAMPLES}')


def _run(line: str, said: Callable[[], Any]) -> None:
    """Runs a command of a page, or checks it where this file's text says so."""
    words = shlex.split(_smaller(line), comments=True)
    if words[:2] == ["python", "docs/check.py"]:
        done = subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert float(done.stdout.split()[-1]) < 1e-5
    elif words[0] != "spa":
        assert line.startswith(NOT_RUN), f"nothing here runs {line}"
    elif OF_FRAMEWORKS.search(line):
        _parser().parse_args(words[1:])
    else:
        # How much faster this machine can be just now is no promise.
        more = ["--best-effort"] if "--latency" in line else []
        assert main([*words[1:], *more]) == 0, (line, said())
    if words[:2] == ["spa", "apply"]:
        assert Path(words[words.index("-o") + 1]).read_bytes() == Path("small.onnx").read_bytes()


def _execute(block: Block, commands: list[str], reader: dict[str, Any], capsys: Any) -> None:
    """Runs Python of a page; ``commands`` ran before it."""
    if "flax" in block.text:  # see this file's text
        compile(block.text, name(block.page), "exec")
        return
    checks = "plan.json" in block.text
    if checks:  # other commands have written over the file since
        _run(next(line for line in commands if "--plan plan.json" in line), capsys.readouterr)
        capsys.readouterr()
    exec(compile(_smaller(block.text), name(block.page), "exec"), reader)
    if checks:
        assert float(capsys.readouterr().out.split()[-1]) < 1e-5


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=name)
def test_what_a_page_shows_runs_from_top_to_bottom(page, reader, capsys):
    commands: list[str] = []
    for block in blocks(page, "python", "bash"):
        for line in block.commands:
            _run(line, capsys.readouterr)
        commands += block.commands
        if block.kind == "python":
            _execute(block, commands, reader, capsys)
    assert isinstance(reader["net"], torch.nn.Module)


def test_pages_have_commands_and_python():
    """If this fails, they are written in another way than this file reads."""
    assert len(WITH_COMMANDS) > 9
    assert sum(line.startswith("spa ") for line in COMMANDS) > 30
    assert len(RUNS) > 5
    assert len(OF_HARNESS) > 4
    assert sum(1 for page in PAGES for _ in blocks(page, "python")) > 8
    kinds = {block.kind for page in PAGES for block in blocks(page)}
    assert kinds == {"", "bash", "python"}


@pytest.mark.parametrize("line", [x for p in PAGES for b in blocks(p, "") for x in b.commands])
def test_what_is_shown_with_its_output_is_a_command(line):
    _parser().parse_args(shlex.split(line)[1:])


@pytest.mark.parametrize("line", [line for line in RUNS if "--include" not in line])
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


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("line", [line for line in RUNS if "--include" in line])
def test_parts_of_ones_own_can_be_launched(line):
    Path("my_parts").mkdir()
    Path("my_parts/scores.py").write_text(CRITERION.format(name="mine"))
    words = shlex.split(line)
    words = [sys.executable, *words[1:], "--cfg", "job"]
    paths = {**os.environ, "PYTHONPATH": str(ROOT)}  # the reader is in a checkout
    done = subprocess.run(words, capture_output=True, text=True, env=paths)
    assert done.returncode == 0, done.stderr
    assert "criterion:\n  name: mine\n" in done.stdout


@pytest.mark.parametrize("line", OF_HARNESS)
def test_commands_over_results_are_ones(line, tmp_path, monkeypatch, capsys):
    """There are no results here; a wrong option ends in SystemExit."""
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line)
    module = words[words.index("-m") + 1]
    spec = importlib.util.find_spec(module)
    assert spec is not None
    where = f"{module}.__main__" if spec.submodule_search_locations else module
    assert importlib.import_module(where).main(words[words.index("-m") + 2 :]) in (0, 1)
    assert "usage" not in capsys.readouterr().err


def test_options_in_the_text_are_ones():
    commands = next(a for a in _parser()._actions if isinstance(a, argparse._SubParsersAction))
    known = {option for each in commands.choices.values() for option in each._option_string_actions}
    for path in (ROOT / "experiments").rglob("*.py"):
        known |= set(re.findall(r'"(--[a-z][a-z-]*)"', path.read_text()))
    known |= {"--help", "--me"}  # the latter is scancel's
    told = {option for code in INLINE for option in re.findall(r"(?<!\S)--[a-z][a-z-]*", code)}
    assert len(told) > 30
    assert told <= known


def test_settings_in_the_text_are_ones(composed):
    config = composed("dataset=npz")
    assert parse(composed()).run_id
    for setting in {
        s for c in INLINE for s in re.findall(r"^((?:target|trainer|dataset)\.\w+)", c)
    }:
        group, key = setting.split(".")
        assert key in config[group] or setting in ("dataset.path", "dataset.download"), setting
    for code in INLINE:
        if found := re.match(r"(\w+)=[\w/\[]*$", code):
            assert found[1] in {*config, "sweeper", "experiment"}, code


def _named() -> set[tuple[str, str]]:
    texts = [page.read_text() for page in PAGES]
    modules = {
        m for t in texts for m in re.findall(r"python -m ((?:experiments|spa|tests)[.\w]*)", t)
    }
    firsts = [line.split() for line in COMMANDS]
    scripts = {words[0] for words in firsts if words[0].endswith(".sh")}
    rules = {words[1] for words in firsts if words[0] == "make"}
    kinds = {"module": {m.rstrip(".") for m in modules}, "file": scripts, "rule": rules}
    return {(kind, each) for kind, names in kinds.items() for each in names}


@pytest.mark.parametrize(("kind", "what"), sorted(_named()))
def test_what_it_names_exists(kind, what):
    if kind == "module":
        assert importlib.util.find_spec(what) is not None
    elif kind == "file":
        assert (ROOT / what).exists()
    else:
        assert re.search(rf"^{what}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
