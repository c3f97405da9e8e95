"""The criteria, the quantity and the scope that CONTRIBUTING shows work as they stand there."""

from __future__ import annotations

import dataclasses
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import spa
from spa.importance import criterion, values, view
from spa.selection import quantity, scope
from tests.graphs import classifier

TEXT = Path(__file__).parents[2] / "CONTRIBUTING.md"


@pytest.fixture
def shown(monkeypatch):
    """What the sections on criteria and quantities define."""
    sections = r"^## A (?:criterion|quantity that targets are of|scope)$(.*?)(?=^## )"
    section = "\n".join(re.findall(sections, TEXT.read_text(), re.M | re.S))
    module = types.ModuleType("shown")
    monkeypatch.setitem(sys.modules, "shown", module)
    vars(module).update({"np": np, "dataclass": dataclasses.dataclass})
    for known in (criterion, values, view, quantity, scope):
        vars(module).update({k: v for k, v in vars(known).items() if not k.startswith("_")})
    code = "\n".join(re.findall(r"```python\n(.*?)```", section, re.S))
    with criterion.CRITERIA.apart(), quantity.QUANTITIES.apart(), scope.SCOPES.apart():
        exec(compile(code, str(TEXT), "exec"), vars(module))
        yield


def test_the_criterion_of_weights(shown):
    proto = classifier(widths=(16, 24, 32))
    squares = spa.prune(proto, criterion="l2", rf=1.5)
    same = spa.prune(proto, criterion="power", rf=1.5)
    assert same.plan.parameters == squares.plan.parameters
    other = spa.prune(proto, criterion="power", options={"p": "1"}, rf=1.5)
    assert other.plan.parameters == spa.prune(proto, rf=1.5).plan.parameters


def test_the_criterion_of_feature_maps(shown):
    proto = classifier(widths=(16, 24, 32))
    result = spa.prune(proto, criterion="strength", rf=1.5, data="noise")
    assert result.proof.equal
    assert result.plan.settings["scoring"]["data"] == "noise"


def test_the_quantity(shown):
    result = spa.prune(classifier(widths=(16, 24, 32)), target=spa.Target("bytes", 1.5))
    assert result.plan.target == {"rb": 1.5}
    assert result.reached.rp >= 1.5 * (1 - 1e-9)


def test_the_scope(shown):
    proto = classifier(widths=(16, 16, 32))
    result = spa.prune(proto, ratio=0.5, limits=spa.Limits(scope="width"))
    by_width = {}
    for group in result.plan.groups:
        gone, of = by_width.get(group.channels, (0, 0))
        by_width[group.channels] = gone + len(group.removed), of + group.channels
    assert {width: gone / of for width, (gone, of) in by_width.items()} == {16: 0.5, 32: 0.5}
