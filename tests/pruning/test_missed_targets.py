"""A target that is missed is always said, and what is told to be reachable is reached."""

from __future__ import annotations

import math
import re

import pytest

import spa
from tests.graphs import Builder, classifier

WIDE = classifier(widths=(70, 90, 130))


@pytest.mark.parametrize(
    ("target", "limits"),
    [
        ({"ratio": 0.95}, {}),  # the cap of a global ranking
        ({"ratio": 0.5}, {"round_to": 64}),
        ({"ratio": 0.5}, {"scope": "local", "max_ratio": 0.3}),
        ({"ratio": 0.9}, {"min_channels": 30}),
        ({"rf": 1e3}, {}),
        ({"rp": 7.0}, {"round_to": 64}),
        ({"rf": 30.0}, {"scope": "stage", "max_ratio": 0.8}),
        ({"rp": 500.0}, {"scope": "isomorphic"}),
    ],
)
def test_what_is_told_to_be_reachable_is(target, limits):
    ((name, asked),) = target.items()
    with pytest.raises(spa.InfeasibleTarget) as caught:
        spa.prune(WIDE, **target, limits=spa.Limits(**limits), verify=False)
    error = caught.value
    assert (error.quantity, error.asked) == (name, asked)
    told = float(re.search(rf"Ask for {name} (\S+) or less", str(error))[1])
    assert told <= error.reachable <= told * 1.002
    for value in (told, error.reachable):
        result = spa.prune(WIDE, **{name: value}, limits=spa.Limits(**limits), verify=False)
        assert share(result, name) >= value * 0.97
        assert not any("out of reach" in note for note in result.plan.notes)
    best = spa.prune(WIDE, **target, limits=spa.Limits(**limits), best_effort=True, verify=False)
    assert share(best, name) == pytest.approx(error.reachable)
    assert str(error) in best.plan.notes


def share(result: spa.Pruned, name: str) -> float:
    if name != "ratio":
        return result.plan.reached[name]
    groups = result.plan.groups
    return sum(len(g.removed) for g in groups) / sum(g.channels for g in groups)


@pytest.mark.parametrize("name", ["rf", "rp", "ratio"])
def test_within_three_percent_it_is_a_note(name):
    with pytest.raises(spa.InfeasibleTarget) as caught:
        spa.prune(WIDE, **{name: 0.99 if name == "ratio" else 1e4}, verify=False)
    top = caught.value.reachable
    result = spa.prune(WIDE, **{name: top * 1.02}, verify=False)
    assert share(result, name) == pytest.approx(top)
    assert any("out of reach" in note for note in result.plan.notes)


def test_rounding_takes_the_next_width_where_it_can():
    """Rounded down, 45 % of each group would be 34 %; one width more of some makes up for it."""
    limits = spa.Limits(scope="local", round_to=16)
    result = spa.prune(classifier(widths=(64, 96, 128)), ratio=0.45, limits=limits)
    assert 0.44 <= share(result, "ratio") <= 0.5
    for group in result.plan.groups:
        assert not group.removed or (group.channels - len(group.removed)) % 16 == 0


@pytest.mark.parametrize("scope", ["global", "local", "stage"])
@pytest.mark.parametrize("asked", [0.03, 0.1, 0.3, 0.45, 0.5, 0.7])
@pytest.mark.parametrize("widths", [(7, 9, 11), (8, 8, 12), (6, 3, 5)])
def test_whole_channels_never_keep_a_ratio_out_of_reach(scope, asked, widths):
    limits = spa.Limits(scope=scope, max_ratio=1.0)
    plan = spa.prune(classifier(widths=widths), ratio=asked, limits=limits, verify=False).plan
    removed = {(g.id, g.channels): len(g.removed) for g in plan.groups}
    total = sum(channels for _, channels in removed)
    reached = sum(removed.values()) / total
    assert reached >= asked * 0.97
    assert reached <= asked * 1.03 or "channels are whole" in plan.notes[0]
    if scope == "local":  # alike: rounded down or more, and no more than it takes
        sizes = [size for _, size in removed]
        assert len({(size, gone) for (_, size), gone in removed.items()}) == len({*sizes})
        more = [n for (_, n), gone in removed.items() if gone > math.floor(asked * n + 1e-9)]
        assert all(gone >= math.floor(asked * n + 1e-9) for (_, n), gone in removed.items())
        if more:
            last = max(more.count(size) for size in more)
            assert sum(removed.values()) - last < asked * 0.97 * total


def test_whole_channels_are_said():
    limits = spa.Limits(scope="local")
    result = spa.prune(classifier(widths=(3, 3, 3)), ratio=0.5, limits=limits)
    assert "ratio 0.5 was asked and 0.667 is what it comes to" in result.plan.notes[0]
    exact = spa.prune(classifier(), ratio=0.5, limits=limits)
    assert not exact.plan.notes


def test_a_target_that_one_of_several_steps_misses_is_told_whole():
    with pytest.raises(spa.InfeasibleTarget) as caught:
        spa.prune(WIDE, rf=1e6, steps=3, verify=False)
    assert caught.value.asked == 1e6
    assert "rf 1e+06 is out of reach" in str(caught.value)
    result = spa.prune(WIDE, rf=caught.value.reachable, steps=3, verify=False)
    assert share(result, "rf") >= caught.value.reachable * 0.97


@pytest.mark.parametrize("name", ["rf", "ratio"])
def test_where_nothing_may_shrink_it_is_said(name):
    g = Builder()
    nothing = g.model(g.conv(g.input(3, 8, 8), 3, 4))
    asked = {name: 2.0 if name == "rf" else 0.5}
    for proto, limits, why in (
        (nothing, spa.Limits(), "no group of this model may shrink"),
        (classifier(), spa.Limits(exclude=["*"]), "leave no group that may shrink"),
    ):
        if name == "ratio" and proto is nothing:  # a share of no channels: said, and no miss
            assert why in spa.prune(proto, **asked, limits=limits).plan.notes[0]
        else:
            with pytest.raises(spa.InfeasibleTarget, match=why):
                spa.prune(proto, **asked, limits=limits)
        best = spa.prune(proto, **asked, limits=limits, best_effort=True)
        assert best.model == proto
        assert why in best.plan.notes[0]
    assert not spa.prune(nothing, **{name: 1.0 if name == "rf" else 0.0}).plan.notes
