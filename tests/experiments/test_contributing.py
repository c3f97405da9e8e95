"""What CONTRIBUTING shows of the harness works as it is written there."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

import spa
from experiments.data.base import DATASETS, load
from experiments.methods import METHODS, Job
from experiments.models import MODELS
from experiments.models.network import fresh, tensors
from experiments.runs.evaluate import predictor
from experiments.tasks import TASKS

TEXT = (Path(__file__).resolve().parents[2] / "CONTRIBUTING.md").read_text()
# What a file of that kind begins with.
IMPORTS = """
from __future__ import annotations
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
import numpy as np
import spa
from pydantic import Field
from torch import nn
from experiments.data.base import Dataset, Options, Split, batches, dataset
from experiments.data.pictures import from_arrays
from experiments.methods import Job, Need, NoSettings, Outcome, method
from experiments.methods.baselines.reach import reach
from experiments.models import MODELS, Shape
from experiments.tasks import TASKS, Metric, Predict
from experiments.tasks.classification import Classification
"""


@pytest.fixture
def added(monkeypatch, tmp_path) -> Any:
    """Adds what a section shows, for the time of a test."""
    for registry in (METHODS, DATASETS, MODELS, TASKS):
        registry.names()
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))

    def add(section: str) -> None:
        (body,) = re.findall(rf"^### {section}\n(.*?)^##", TEXT, re.DOTALL | re.MULTILINE)
        monkeypatch.syspath_prepend(tmp_path)
        for i, code in enumerate(re.findall(r"```python\n(.*?)```", body, re.DOTALL)):
            name = f"shown_{section.split()[1]}_{i}"
            (tmp_path / f"{name}.py").write_text(IMPORTS + code)
            importlib.import_module(name)

    return add


@pytest.fixture
def dense(tmp_path) -> Path:
    data = load({"name": "digits"})
    onnx.save(fresh("resnet8", data, 0)[1], tmp_path / "dense.onnx")
    return tmp_path / "dense.onnx"


def test_a_method(added, dense):
    added("A method")
    it = METHODS.get("shrunk")
    outcome = it(Job(dense, spa.Target(rf=2)), it.settings(share=0.25))
    assert outcome.plan.target == {"ratio": 0.25}


def test_a_baseline(added, dense):
    added("A baseline")
    outcome = METHODS.get("peer")(Job(dense, spa.Target(rf=1.5)))
    before, after = (spa.measure_cost(spa.load(model)) for model in (dense, outcome.model))
    assert before.macs / after.macs >= 1.5


def test_a_data_set_and_a_model(added):
    added("A data set, a model")
    data = load({"name": "noise"})
    net = MODELS.get("linear")(data.shape, data.classes)
    with torch.no_grad():
        assert net(*tensors(data)).shape == (2, 10)


def test_a_task(added, dense):
    added("A task")
    test = load({"name": "digits"}).test
    names = ("classification", "five_guesses")
    one, five = (TASKS.get(name)().measure(predictor(dense), test) for name in names)
    assert one["acc"] <= five["top5"] <= 1
