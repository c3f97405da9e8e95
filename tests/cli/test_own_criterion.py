"""A criterion in a file of the user's own, and the line that says what any of them saw."""

import re

import numpy as np
import pytest

import spa
from spa.importance.criterion import get, names

PLAIN = """\
from __future__ import annotations
from dataclasses import dataclass
import numpy as np
from spa.importance.values import Elements, Tensors
from spa.importance.view import View

@dataclass(frozen=True)
class Power:
    p: float = 2.0

def power(view: View, how: Power) -> Elements:
    model = view.model
    return Elements({n: np.abs(model.numbers(n)) ** how.p for n in model.counted_parameters})

def seeing(view):
    name = next(n.outputs[0] for n in view.model.graph.nodes if n.op == "Relu")
    total = 0
    for batch in view.activations([name]):
        total = total + batch[name].mean(axis=(2, 3)).sum(axis=0)
    return Tensors({(name, 1): total / view.data.samples})

def wrong(view):
    return {"w": 1}

def misshapen(view):
    return Elements({n: np.zeros(3) for n in view.model.counted_parameters[:1]})

def failing(view):
    numbers = []
    return numbers[3]
"""
REGISTERED = """\
import numpy as np
from spa.importance.criterion import NoOptions, Need, criterion
from spa.importance.values import Elements

@criterion(source="own", needs=Need.DATA, aggregate="max", normalize="sum")
def l9(view, how: NoOptions) -> Elements:
    view.data
    model = view.model
    return Elements({n: np.abs(model.numbers(n)) ** 9 for n in model.counted_parameters})
"""


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "my.py"
    path.write_text(PLAIN)
    return path


def test_a_function_in_a_file_scores(good, own, model, tmp_path):
    out = tmp_path / "o.onnx"
    plans = []
    for criterion in (f"{own}:power", "l2"):
        plan = tmp_path / f"{len(plans)}.json"
        good("prune", model, "-o", out, "--rf", 2, "--plan", plan, "--criterion", criterion)
        plans.append(spa.Plan.load(plan))
    assert plans[0].parameters == plans[1].parameters
    assert plans[0].criterion == "power"
    plan = tmp_path / "cube.json"
    good("prune", model, "-o", out, "--rf", 2, "--plan", plan, "--criterion", f"{own}:power",
         "--option", "p=1")  # fmt: skip
    good("prune", model, "-o", out, "--rf", 2, "--plan", tmp_path / "l1.json")
    assert spa.Plan.load(plan).parameters == spa.Plan.load(tmp_path / "l1.json").parameters


def test_a_file_may_look_at_data_and_register_itself(good, refused, own, model, tmp_path):
    out, seeing = tmp_path / "o.onnx", ("--criterion", f"{own}:seeing")
    assert "none was given" in refused("prune", model, "-o", out, "--rf", 1.3, *seeing)
    text = good("prune", model, "-o", out, "--rf", 1.3, *seeing, "--data", "noise").out
    assert f"scored by {own}:seeing on 64 samples of noise\n" in text
    own.write_text(REGISTERED)
    registered = ("--criterion", f"{own}:l9", "--data", "noise", "--json")
    for _ in range(2):  # it is no other criterion's name in between
        document = good("prune", model, "-o", out, "--rf", 1.3, *registered).document
        assert document["scoring"]["samples"] == 64
        assert "l9" not in names()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("powr", r'There is no function "powr"\. Did you mean power'),
        ("Power", 'There is no function "Power"'),
        ("", "is named FILE.py:NAME"),
        ("wrong", "must give Elements, Axes, Tensors or Channels .* it gave dict"),
        ("misshapen", r"gives scores of shape \(3,\) for"),
        ("failing", r"fails in failing, line 30: IndexError: list index out of range"),
    ],
)
def test_what_is_wrong_is_one_sentence(refused, own, model, tmp_path, name, message):
    text = f"{own}:{name}" if name else str(own)
    line = refused("prune", model, "-o", tmp_path / "o.onnx", "--rf", 2, "--criterion", text)
    assert re.search(message, line)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import nothing_of_that_name", "line 1: ModuleNotFoundError"),
        ("x = 1\ndef f(view) return 3", "is no Python: line 2"),
        ("raise SystemExit(3)", "fails when it is loaded, line 1: SystemExit"),
        ("def f(view, how: Missing): pass\nfrom __future__ import annotations", "is no Python"),
        ("def f(view, how: 'Missing'): pass", "in its annotations: NameError"),
    ],
)
def test_a_file_that_fails(refused, own, model, tmp_path, code, message):
    own.write_text(code)
    out = tmp_path / "o.onnx"
    line = refused("prune", model, "-o", out, "--rf", 2, "--criterion", f"{own}:f")
    assert message in line


def test_a_file_that_is_not_there(refused, model, tmp_path):
    text = tmp_path / "none.py"
    line = refused("prune", model, "-o", tmp_path / "o", "--rf", 2, "--criterion", f"{text}:f")
    assert f"there is no file {text}" in line


@pytest.mark.parametrize("criterion", names())
def test_each_says_in_one_line_what_data_it_saw(good, model, tmp_path, criterion):
    rng = np.random.default_rng(0)
    path = tmp_path / "data.npz"
    np.savez(path, x=rng.standard_normal((12, 3, 8, 8)).astype(np.float32), y=np.arange(12) % 5)
    call = ("prune", model, "-o", tmp_path / "o.onnx", "--rf", 1.2, "--criterion", criterion)
    lines = [x for x in good(*call, "--data", path).out.splitlines() if x.startswith("scored by")]
    assert len(lines) == 1
    if get(criterion).needs.sees_data:
        assert lines[0].startswith(f"scored by {criterion} on 12 samples of {path}")
        noise = good(*call, "--data", "noise").out
        assert f"scored by {criterion} on 64 samples of noise" in noise
        if "loss cross_entropy" in noise:
            assert "labels given" in lines[0]
            assert "labels of the model's own" in noise
    else:
        assert lines[0].endswith("saw no data")
