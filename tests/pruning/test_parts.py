"""Parts of a network: groups by number, by one side of a weight, and shares of their own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import spa
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
