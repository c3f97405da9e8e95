"""A baseline whose package is not there says in one line which extra brings it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import spa
from experiments.methods import METHODS, Job
from spa.errors import MissingExtra


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [("onnxsim", "onnxsim", "bench"), ("torch_pruning", "torch_pruning", "baselines")],
)
def test_the_extra_is_named(monkeypatch, name, module, extra):
    def none(wanted, *_):
        return None if wanted == module else find(wanted)

    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", none)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=extra):
        METHODS.get(name)(Job(Path("none.onnx"), spa.Target(rf=2.0)))
