"""Scopes, floors, caps and protection by position, on planted scores."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import torch

import spa
from spa.bridge import from_torch
from spa.bridge.torchvision_shim import import_torchvision
from spa.selection.scope import get, scopes
from tests.graphs import Builder, classifier


def staged():
    """Two widths at 8x8, two at 4x4, and a hidden layer behind the pooling."""
    g = Builder()
    x, width = g.input(3, 8, 8), 3
    for out, stride in ((8, 1), (10, 1), (12, 2), (14, 1)):
        x, width = g.node("Relu", [g.conv(x, width, out, stride=stride)]), out
    x = g.node("Flatten", [g.node("GlobalAveragePool", [x])])
    return g.model(g.gemm(g.node("Relu", [g.gemm(x, 14, 16)]), 16, 5))


def transformer():
    """Two blocks: a stream of 16, two heads of 8 and a hidden layer of 24 in each."""
    torch.manual_seed(0)
    net = import_torchvision().models.VisionTransformer(16, 8, 2, 2, 16, 24, num_classes=5)
    return from_torch(net.eval(), torch.randn(2, 3, 16, 16))


NETWORKS = {"chain": functools.partial(classifier, widths=(8, 12, 16)), "staged": staged,
            "transformer": transformer}  # fmt: skip


@functools.cache
def groups_of(name: str) -> spa.Groups:
    return spa.find_groups(spa.load(NETWORKS[name]()))


def planted(groups: spa.Groups, low: int = 0) -> spa.Scores:
    """Random scores; those of one group are a thousand times smaller."""
    rng = np.random.default_rng(3)
    size = {g.id: 1e-3 if g.id == low else 1.0 for g in groups}
    by_group = {g.id: rng.random(g.channels) * size[g.id] for g in groups}
    return spa.Scores("planted", "sum", "none", by_group)


def sets_of(groups: spa.Groups, scope: str) -> list[list[int]]:
    found: dict = {}
    for group in groups:
        found.setdefault(get(scope).set_of(group), []).append(group.id)
    return list(found.values())


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("scope", scopes())
def test_every_set_loses_the_same_share_and_its_lowest_scores(name, scope):
    groups = groups_of(name)
    scores = planted(groups, low=-1)
    limits = spa.Limits(scope=scope, max_ratio=1.0)
    plan = spa.make_plan(groups, scores, spa.Target(ratio=0.3), limits)
    removed = {g.id: list(g.removed) for g in plan.groups}
    for numbers in sets_of(groups, scope):
        total = sum(groups.groups[i].channels for i in numbers)
        goes = sum(len(removed[i]) for i in numbers)
        assert goes == pytest.approx(math.floor(0.3 * total + 1e-9), abs=1)
        values = [scores.by_group[i] for i in numbers]
        gone = np.concatenate([v[removed[i]] for i, v in zip(numbers, values, strict=True)])
        kept = [np.delete(v, removed[i]) for i, v in zip(numbers, values, strict=True)]
        if gone.size:
            assert gone.max() <= np.concatenate(kept).min()


def test_isomorphic_sets_are_of_one_structure():
    """Two blocks: their hidden layers are one set, their heads another, the stream a third."""
    groups = groups_of("transformer")
    sets = sets_of(groups, "isomorphic")
    assert sorted(map(len, sets)) == [1, 2, 2]
    for numbers in sets:
        assert len({groups.groups[i].channels for i in numbers}) == 1


def test_a_depthwise_and_a_plain_convolution_are_no_isomorphs():
    g = Builder()
    x = g.node("Relu", [g.conv(g.input(3, 8, 8), 3, 8)])
    x = g.node("Relu", [g.conv(x, 8, 8, group=8)])  # of the first group, like its neighbours
    x = g.node("Relu", [g.conv(x, 8, 10)])
    x = g.node("Relu", [g.conv(x, 10, 12)])
    groups = spa.find_groups(spa.load(g.model(g.conv(x, 12, 5))))
    assert [len(s) for s in sets_of(groups, "isomorphic")] == [1, 2]


def test_stages_end_where_maps_get_smaller():
    assert sets_of(groups_of("staged"), "stage") == [[0, 1], [2, 3], [4]]
    assert sets_of(groups_of("staged"), "isomorphic")[0] == [0, 1, 2]


def test_a_small_group_goes_first_in_a_global_ranking_alone():
    groups = groups_of("staged")
    gone = {}
    for scope in scopes():
        plan = spa.make_plan(
            groups, planted(groups, 2), spa.Target(ratio=0.22), spa.Limits(scope=scope)
        )
        gone[scope] = [len(g.removed) for g in plan.groups]
    assert gone["global"][2] > 0.8 * groups.groups[2].channels
    assert gone["local"] == [2, 2, 3, 3, 3]  # of 8, 10, 12, 14, 16: rounded down, 2 too few
    # The stage of 26 channels loses six, all of them of the planted group.
    assert gone["stage"][2:4] == [6, 0]
    assert gone["isomorphic"][2] < gone["global"][2]


def test_a_scope_reaches_factors_too():
    for scope in scopes():
        result = spa.prune(classifier(widths=(32, 48, 64)), rf=2.0, limits=spa.Limits(scope=scope))
        assert 2.0 <= result.reached.rf * (1 + 1e-6) <= 2.06
        assert result.plan.settings["scope"] == scope


def test_floors_and_caps_of_some_groups():
    groups = groups_of("staged")
    names = [next(m.name for m in g.members if m.name[0] == "b") for g in groups]
    limits = spa.Limits(
        max_ratio=0.5, floors={names[0]: 7}, caps={names[1]: 0.1, names[4]: 1.0},
    )  # fmt: skip
    # The most that goes: 1 of 8, 1 of 10, half of 12 and of 14, all but one of 16.
    with pytest.raises(spa.InfeasibleTarget, match=r"cap b1 0\.1.*floor b0 7") as caught:
        spa.make_plan(groups, planted(groups), spa.Target(ratio=0.8), limits)
    assert caught.value.reachable == pytest.approx((1 + 1 + 6 + 7 + 15) / 60)
    limits = spa.Limits(floors={"*": 3, names[0]: 7})  # the strictest holds
    plan = spa.make_plan(groups, planted(groups), spa.Target(ratio=0.6), limits)
    left = [g.channels - len(g.removed) for g in plan.groups]
    assert left[0] >= 7
    assert min(left) >= 3


@pytest.mark.parametrize(
    ("settings", "free"), [({"protect_first": 1}, [1, 2, 3, 4]), ({"protect_last": 2}, [0, 1, 2]),
                           ({"protect_first": 2, "protect_last": 1}, [2, 3])],
)  # fmt: skip
def test_groups_at_the_ends_are_left_alone(settings, free):
    groups = groups_of("staged")
    for low in range(5):  # whichever scores lowest
        plan = spa.make_plan(
            groups, planted(groups, low), spa.Target(ratio=0.5), spa.Limits(**settings)
        )
        gone = [g.id for g in plan.groups if g.removed]
        assert set(gone) <= set(free)
    assert plan.settings == plan.settings | settings
    with pytest.raises(spa.InfeasibleTarget, match="protect-first"):
        spa.make_plan(groups, planted(groups), spa.Target(rf=1.5), spa.Limits(protect_first=9))


@pytest.mark.parametrize(
    "given",
    [{"protect_first": -1}, {"protect_last": -2}, {"caps": {"*": 1.5}}, {"floors": {"*": 0}},
     {"scope": "localy"}],
)  # fmt: skip
def test_limits_without_meaning_are_refused(given):
    with pytest.raises(spa.SettingError):
        spa.Limits(**given)
