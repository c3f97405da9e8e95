"""Parts of a network: groups by number, by one side of a weight, and shares of their own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import spa
from spa import obspa
from spa.bridge import from_torch
from spa.selection.match import matches
from tests.graphs import Builder, classifier


def groups_of(proto):
    return spa.find_groups(spa.load(proto))


def chosen(groups, glob):
    return [group.id for group in groups if matches(group, glob)]


def chain(storage="initializer"):
    """Four convolutions, 8 -> 10 -> 12 -> 5, of which the third is from 12 channels to them."""
    g = Builder(storage=storage)
    x = g.node("Relu", [g.conv(g.input(3, 8, 8), 3, 8)])
    x = g.node("Relu", [g.conv(x, 8, 10)])
    x = g.node("Relu", [g.conv(x, 10, 12)])
    x = g.node("Add", [x, g.conv(x, 12, 12)])
    return g.model(g.conv(x, 12, 5))


@pytest.mark.parametrize("storage", ["initializer", "constant", "identity"])
def test_a_side_of_a_weight_is_one_group(storage):
    groups = groups_of(chain(storage))
    assert chosen(groups, "w1") == [0, 1]
    assert chosen(groups, "out:w1") == [1]
    assert chosen(groups, "in:w1") == [0]
    assert chosen(groups, "out:w0") == [0]
    assert chosen(groups, "in:w0") == []
    assert chosen(groups, "out:w4") == []
    assert chosen(groups, "in:w4") == [2]
    assert chosen(groups, "out:w3") == chosen(groups, "in:w3") == [2]  # from itself to itself
    assert chosen(groups, "out:b1") == [1]
    assert chosen(groups, "in:b*") == []


def test_nodes_have_sides_too():
    groups = groups_of(chain())
    (node,) = {*groups.groups[0].nodes} & {*groups.groups[1].nodes}
    assert chosen(groups, node) == [0, 1]
    assert chosen(groups, f"out:{node}") == [1]
    assert chosen(groups, f"in:{node}") == [0]


class Sequence(torch.nn.Module):
    """A table, a recurrent layer, a norm, and torch's own Linear behind a Transpose."""

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(20, 6)
        self.cell = torch.nn.LSTM(6, 8, batch_first=True)
        self.norm = torch.nn.LayerNorm(8)
        self.up, self.down = torch.nn.Linear(8, 12), torch.nn.Linear(12, 3)

    def forward(self, x):
        y = self.norm(self.cell(self.table(x))[0])
        return self.down(torch.relu(self.up(y)))


def test_weights_that_are_prepared_first_have_sides():
    torch.manual_seed(0)
    groups = groups_of(from_torch(Sequence().eval(), torch.arange(8).reshape(2, 4)))
    widths = {group.channels: group.id for group in groups}
    assert chosen(groups, "out:*table*") == [widths[6]]
    assert chosen(groups, "in:*table*") == []
    up = [m.name for m in groups.groups[widths[12]].members]
    for name in {*up} & {m.name for m in groups.groups[widths[8]].members}:
        assert chosen(groups, f"out:{name}") == [widths[12]]
        assert chosen(groups, f"in:{name}") == [widths[8]]
    recurrent = {m.name for m in groups.groups[widths[6]].members} & {
        m.name for m in groups.groups[widths[8]].members
    }
    assert recurrent
    for name in recurrent:
        assert chosen(groups, f"out:{name}") == [widths[8]]
        assert chosen(groups, f"in:{name}") == [widths[6]]


def test_a_depthwise_convolution_is_both_sides_of_its_group():
    g = Builder()
    x = g.node("Relu", [g.conv(g.input(3, 8, 8), 3, 8)])
    x = g.node("Relu", [g.conv(x, 8, 8, group=8)])
    groups = groups_of(g.model(g.conv(x, 8, 5)))
    assert chosen(groups, "out:w1") == [0]
    assert chosen(groups, "in:w2") == [0]


def removed(plan):
    return [len(group.removed) for group in plan.groups]


def test_groups_are_chosen_by_number():
    only = spa.prune(classifier(), ratio=0.5, limits=spa.Limits(include=["group:2"])).plan
    assert [bool(count) for count in removed(only)] == [False, False, True, False]
    rest = spa.prune(classifier(), ratio=0.5, limits=spa.Limits(exclude=["group:2"])).plan
    assert removed(rest)[2] == 0
    assert sum(removed(rest)) >= 16
    capped = spa.prune(classifier(), ratio=0.5, limits=spa.Limits(caps={"group:0": 0.0})).plan
    assert removed(capped)[0] == 0


@pytest.mark.parametrize(
    ("glob", "said"),
    [("group:9", "there is no group 9; spa inspect shows 0 to 3"), ("group:x", "matches no"),
     ("out:nothing", "matches no"), ("in:", "matches no")],
)  # fmt: skip
def test_what_is_no_group_is_refused(glob, said):
    with pytest.raises(spa.SettingError, match=said):
        spa.prune(classifier(), ratio=0.5, limits=spa.Limits(include=[glob]))


def test_a_name_that_begins_like_a_side_is_told_by_a_bracket():
    g = Builder()
    x = g.conv(g.input(3, 8, 8), 3, 8)
    proto = g.model(g.conv(x, 8, 5))
    proto.graph.initializer[0].name = proto.graph.node[0].input[1] = "out:0"
    groups = groups_of(proto)
    assert chosen(groups, "out:0") == []
    assert chosen(groups, "[o]ut:0") == chosen(groups, "out:out:0") == [0]


# Shares of their own


def limited(**limits):
    return spa.Limits(scope="local", **limits)


def test_some_groups_lose_a_share_of_their_own():
    """Widths 8, 8, 12, 16; the others lose what was asked."""
    own = limited(ratios={"group:0": 0.25, "out:w4": 0.75})
    plan = spa.prune(classifier(), ratio=0.5, limits=own).plan
    assert removed(plan) == [2, 4, 6, 12]
    assert not plan.notes
    assert plan.settings["ratios"] == {"group:0": 0.25, "out:w4": 0.75}
    alone = spa.prune(classifier(), ratio=0.0, limits=own).plan
    assert removed(alone) == [2, 0, 0, 12]
    least = np.argsort(l1_of_group(0))[:2]
    assert plan.groups[0].removed == alone.groups[0].removed == tuple(sorted(least))


def l1_of_group(number):
    model = spa.load(classifier())
    groups = spa.find_groups(model)
    return spa.score(model, groups, "l1").by_group[number]


@pytest.mark.parametrize("target", [{"rf": 3.0}, {"rp": 2.0}])
@pytest.mark.parametrize("scope", ["global", "local"])
def test_a_factor_is_of_the_whole_model(target, scope):
    proto = classifier(widths=(32, 48, 64))
    for share in (0.0, 0.25):
        limits = spa.Limits(scope=scope, ratios={"group:1": share})
        plan = spa.prune(proto, **target, limits=limits).plan
        ((name, asked),) = target.items()
        assert asked <= plan.reached[name] * (1 + 1e-6) <= asked * 1.03
        assert len(plan.groups[1].removed) == share * plan.groups[1].channels


def test_what_groups_lose_by_themselves_can_be_more_than_was_asked():
    limits = spa.Limits(ratios={"*": 0.5})
    plan = spa.prune(classifier(), rf=1.1, limits=limits).plan
    assert removed(plan) == [4, 4, 6, 8]
    assert "by the ratios of some groups alone" in plan.notes[0]
    with pytest.raises(spa.InfeasibleTarget, match=r"ratio of \* 0.5") as caught:
        spa.prune(classifier(), rf=100, limits=limits)
    again = spa.prune(classifier(), rf=caught.value.reachable, limits=limits).plan
    assert removed(again) == [4, 4, 6, 8]


def test_an_own_share_is_above_the_largest_and_below_caps_and_floors():
    limits = spa.Limits(max_ratio=0.1, ratios={"group:3": 0.5})
    assert removed(spa.prune(classifier(), ratio=0.0, limits=limits).plan) == [0, 0, 0, 8]
    for held in ({"caps": {"group:3": 0.25}}, {"floors": {"group:3": 12}}, {"round_to": 12}):
        limits = spa.Limits(ratios={"group:3": 0.5}, **held)
        with pytest.raises(spa.InfeasibleTarget) as caught:
            spa.prune(classifier(), ratio=0.0, limits=limits)
        assert (caught.value.quantity, caught.value.reachable) == ("ratio of group 3", 0.25)
        best = spa.prune(classifier(), ratio=0.0, limits=limits, best_effort=True).plan
        assert removed(best)[3] == 4
        assert str(caught.value) in best.notes
        within = spa.Limits(ratios={"group:3": 0.25}, **held)
        assert removed(spa.prune(classifier(), ratio=0.0, limits=within).plan)[3] == 4


def test_whole_channels_of_an_own_share_are_said():
    limits = spa.Limits(ratios={"group:0": 0.3})
    plan = spa.prune(classifier(), ratio=0.0, limits=limits).plan
    assert removed(plan) == [3, 0, 0, 0]
    assert "ratio 0.3 of group 0 was asked, and 3 of its 8 channels" in plan.notes[0]


def test_own_shares_grow_step_by_step():
    limits = spa.Limits(ratios={"group:3": 0.75})
    one, many = (
        spa.prune(classifier(), rf=2.0, limits=limits, steps=steps).plan for steps in (1, 3)
    )
    assert len(one.groups[3].removed) == len(many.groups[3].removed) == 12
    assert many.settings["ratios"] == {"group:3": 0.75}


def test_two_shares_of_one_group_are_refused():
    """The weight w1 belongs to two groups, so a plain glob gives its own to both."""
    limits = spa.Limits(ratios={"w0": 0.25, "w1": 0.5})
    with pytest.raises(spa.SettingError, match=r'Group 0 .* 0.25 by "w0" and 0.5 by "w1".*out:'):
        spa.prune(chain(), ratio=0.0, limits=limits)
    limits = spa.Limits(ratios={"out:w0": 0.25, "out:w1": 0.5})
    assert removed(spa.prune(chain(), ratio=0.0, limits=limits).plan) == [2, 5, 0]


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"ratios": {"*": 1.0}}, "must lie in"), ({"ratios": {"*": -0.5}}, "must lie in"),
     ({"ratios": {"group:7": 0.5}}, "no group 7"),
     ({"ratios": {"group:1": 0.5}, "exclude": ["group:1"]}, "matches only groups that")],
)  # fmt: skip
def test_shares_without_meaning_are_refused(settings, said):
    with pytest.raises(spa.SettingError, match=said):
        spa.prune(classifier(), ratio=0.5, limits=spa.Limits(**settings))


def test_obspa_gives_groups_their_own_share():
    limits = spa.Limits(ratios={"group:3": 0.25})
    plan = obspa.prune(
        classifier(), ratio=0.5, limits=limits, calibration="noise", samples=16, rounds=2
    ).plan
    assert len(plan.groups[3].removed) == 4
    assert sum(removed(plan)[:3]) == 14
