"""Targets are of any quantity, and one may rise and fall along the order of channels."""

import numpy as np
import pytest

import spa
from spa.selection.quantity import QUANTITIES, Quantity, quantity
from tests.graphs import classifier


@pytest.fixture
def added():
    """Registers a quantity for one test."""
    with QUANTITIES.apart():
        yield quantity


def test_a_target_is_a_quantity_and_its_value():
    assert spa.Target("flops", 2.0) == spa.Target(rf=2) == spa.Target("rf", 2.0)
    assert spa.Target("parameters", 3.0).as_dict() == {"rp": 3.0}
    assert spa.Target(ratio=0.5).quantity == "ratio"
    assert spa.Target(rf=4.0).part(1, 2) == spa.Target(rf=2.0)
    assert spa.Target(ratio=0.5).part(1, 2) == spa.Target(ratio=0.25)
    with pytest.raises(spa.SettingError, match=r"Did you mean.*flops"):
        spa.Target("flop", 2.0)
    with pytest.raises(spa.SettingError, match="at least 1"):
        spa.Target("parameters", 0.5)


def widths(groups, removed):
    return [group.channels - int(removed[group.components].sum()) for group in groups.groups]


@pytest.mark.parametrize("asked", [1.3, 1.7, 2.1])
def test_one_that_rises_and_falls(added, asked):
    """Speed on hardware that runs widths of a multiple of 8 well, and those next to it badly."""
    model = spa.load(classifier(widths=(16, 24, 32)))
    groups = spa.find_groups(model)
    scores = spa.score(model, groups, "l1")

    def time(removed):
        return sum(w if w % 8 == 0 else 1.25 * w + 8 for w in widths(groups, removed))

    dense = time(np.zeros(groups.coupling.components.kept.size, dtype=bool))
    added(
        Quantity(
            "latency", "speed", lambda costs, removed: dense / time(removed), grows=False,
            kind="quotient", text="dense over pruned seconds",
        )
    )  # fmt: skip
    plan = spa.make_plan(groups, scores, spa.Target("latency", asked))
    kept = [group.channels - len(group.removed) for group in plan.groups]
    assert dense / sum(w if w % 8 == 0 else 1.25 * w + 8 for w in kept) >= asked
    assert plan.target == {"speed": asked}


def test_one_that_is_best_half_way(added):
    """What cannot be reached says how near one can come, though not at the end of the order."""
    model = spa.load(classifier(widths=(16, 24, 32)))
    groups = spa.find_groups(model)
    scores = spa.score(model, groups, "l1")
    total = sum(group.channels for group in groups.groups)

    def value(costs, removed):
        return 1 + 2 * float(1 - abs(removed.sum() / total - 0.5))

    added(Quantity("hump", "hump", value, grows=False, kind="quotient", text="a hump"))
    with pytest.raises(spa.InfeasibleTarget) as caught:
        spa.make_plan(groups, scores, spa.Target("hump", 3.5))
    assert caught.value.reachable == pytest.approx(3.0, abs=0.05)
    plan = spa.make_plan(groups, scores, spa.Target("hump", 2.5))
    removed = sum(len(group.removed) for group in plan.groups)
    # The shortest prefix that reaches it lies before the top.
    assert removed == pytest.approx(total * 0.25, abs=1)
