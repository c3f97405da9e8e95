"""Targets of latency, on a machine whose times are made up; and its profile, on this one."""

import math

import numpy as np
import pytest

import spa
from spa.coupling.groups import find_groups
from spa.graph.cost import node_costs
from spa.graph.latency import Latency
from spa.latency import reach, sampling
from spa.latency.machine import Machine
from spa.latency.timing import REST, layer_named, layer_times, layers_of
from tests.graphs import classifier

WIDTHS = (32, 48, 64)


class Planted:
    """A machine: layers take time by their sizes, and all take more when they run together.

    Time is of sizes rounded up to 8, as vector units take them.
    """

    def __init__(self, monkeypatch, tmp_path, together=1.3):
        self.timed = 0
        self.together = together
        monkeypatch.setenv("SPA_LATENCY", str(tmp_path / "tables"))
        monkeypatch.setattr(sampling, "layer_times", self.layer_times)
        monkeypatch.setattr(reach, "measure_latency", self.measure_latency)

    def layer_times(self, proto, feeds, layers, machine, *, runs):
        self.timed += 1
        model = spa.load(proto)
        return {**{c.node: self._of(model, c) for c in node_costs(model)}, REST: 0.1}

    def measure_latency(self, models, feeds, **_):
        totals = [
            self.together * (0.1 + sum(self._of(model, c) for c in node_costs(model)))
            for model in map(spa.load, models)
        ]
        return [Latency(total, total, total, 5) for total in totals]

    @staticmethod
    def _of(model, cost):
        sizes = [model.shapes[name][axis] for name, axis in cost.axes]
        rounded = [math.ceil(size / 8) * 8 if size > 3 else size for size in sizes]
        return 0.05 + 1e-5 * cost.factor * float(np.prod(rounded))


@pytest.fixture
def planted(monkeypatch, tmp_path):
    return Planted(monkeypatch, tmp_path)


def _measured(planted, proto, smaller):
    dense, pruned = planted.measure_latency([proto, smaller], {})
    return dense.median, pruned.median


@pytest.mark.parametrize("asked", [1.3, 2.0, 3.0])
def test_a_quotient_is_reached_within_five_percent(planted, asked):
    proto = classifier(widths=WIDTHS)
    result = spa.prune(proto, target=spa.Target("latency_ratio", asked))
    dense, pruned = _measured(planted, proto, result.model)
    assert dense / pruned == pytest.approx(asked, rel=0.051)
    assert result.proof.equal
    said = result.plan.settings["latency"]
    assert said["pruned_ms"] == pytest.approx(pruned)
    assert said["predicted_ms"] == pytest.approx(pruned, rel=0.25)
    assert any("measured" in note for note in result.plan.notes)


def test_milliseconds_are_reached(planted):
    proto = classifier(widths=WIDTHS)
    dense, _ = _measured(planted, proto, proto)
    result = spa.prune(proto, target=spa.Target(latency_ms=dense / 2))
    _, pruned = _measured(planted, proto, result.model)
    assert pruned == pytest.approx(dense / 2, rel=0.051)
    assert result.plan.target == {"latency_ms": dense / 2}


def test_widths_stand_where_the_machine_likes_them(planted):
    """Of two widths that are equally fast the larger one is left."""
    result = spa.prune(classifier(widths=WIDTHS), target=spa.Target(latency_ratio=2.0))
    left = [group.channels - len(group.removed) for group in result.plan.groups]
    assert all(width % 8 == 0 for width in left)


def test_a_table_is_measured_once(planted):
    proto = classifier(widths=WIDTHS)
    first = spa.prune(proto, target=spa.Target(latency_ratio=2.0))
    timed = planted.timed
    assert timed == sampling.SAMPLES + 1
    again = spa.prune(proto, target=spa.Target(latency_ratio=2.0))
    assert planted.timed == timed
    assert again.plan.parameters == first.plan.parameters
    (file,) = sampling._path(
        spa.load(proto), *_order(proto), Machine()
    ).parent.glob("*.json")  # fmt: skip
    file.write_text("{damaged")
    spa.prune(proto, target=spa.Target(latency_ratio=2.0))
    assert planted.timed == 2 * timed


def _order(proto):
    from spa.importance.score import score
    from spa.selection.order import Order
    from spa.selection.target import Limits

    model = spa.load(proto)
    groups = find_groups(model)
    return groups, Order(groups, groups.groups, score(model, groups, "l1"), Limits(), None)


def test_what_cannot_be_reached_says_what_can(planted):
    proto = classifier(widths=WIDTHS)
    with pytest.raises(spa.InfeasibleTarget, match="most that the limits allow") as caught:
        spa.prune(proto, target=spa.Target(latency_ratio=50))
    assert 1 < caught.value.reachable < 50
    with pytest.raises(spa.InfeasibleTarget, match="least that the limits allow"):
        spa.prune(proto, target=spa.Target(latency_ms=1e-3))
    best = spa.prune(proto, target=spa.Target(latency_ratio=50), best_effort=True)
    dense, pruned = _measured(planted, proto, best.model)
    assert dense / pruned == pytest.approx(caught.value.reachable, rel=0.05)


def test_a_plan_alone_cannot_be_made_for_latency():
    model = spa.load(classifier())
    groups = find_groups(model)
    with pytest.raises(spa.SettingError, match="has to be measured"):
        spa.make_plan(groups, spa.score(model, groups), spa.Target(latency_ratio=2.0))


def test_a_batch_needs_a_free_axis(planted):
    proto = classifier()
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    with pytest.raises(spa.SettingError, match="no free batch axis"):
        spa.prune(proto, target=spa.Target(latency_ratio=2.0), machine=Machine(batch=7))


@pytest.mark.parametrize(
    ("name", "layer"),
    [("spa:a:", 3), ("spa:a:/MatMulAddFusion", 3), ("fused spa:a:", 3), ("c:0_nchwc", 5),
     ("spa:c:0:", 5), ("ReorderOutput", REST), ("spa:nowhere:", REST)],
)  # fmt: skip
def test_a_rewritten_node_is_found_again(name, layer):
    assert layer_named(name, {"a": 3, "c:0": 5}) == layer


def test_every_layer_of_a_real_profile_has_a_time():
    model = spa.load(classifier(widths=WIDTHS))
    times = layer_times(model.closed, model.example, layers_of(model), Machine(), runs=3)
    contracting = {cost.node for cost in node_costs(model)}
    assert contracting <= times.keys() <= contracting | {REST}
    assert all(ms > 0 for layer, ms in times.items() if layer != REST)


def test_bytes_are_an_amount():
    proto = classifier(widths=WIDTHS)
    model = spa.load(proto)
    dense = 4 * spa.measure_cost(model).params
    result = spa.prune(proto, target=spa.Target(bytes=dense / 2))
    assert 0.97 * dense / 2 <= 4 * result.pruned.params <= dense / 2
    with pytest.raises(spa.InfeasibleTarget, match="bytes 10 is out of reach.*or more") as caught:
        spa.prune(proto, target=spa.Target(bytes=10))
    least = spa.prune(proto, target=spa.Target(bytes=math.ceil(caught.value.reachable)))
    assert 4 * least.pruned.params == pytest.approx(caught.value.reachable)
