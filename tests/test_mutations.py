"""The proof catches every deliberate bug, in pruned files and in the rules, on every network."""

from __future__ import annotations

import pytest

from tests.mutations.files import FILE_BUGS
from tests.mutations.networks import NETWORKS
from tests.mutations.rules import RULE_BUGS
from tests.mutations.trial import CAUGHT, MISSED, case, in_file, in_rule, is_right


@pytest.mark.parametrize("name", NETWORKS)
def test_without_a_bug_a_network_is_right(name):
    at = case(name)
    assert any(group.removed for group in at.result.plan.groups)
    assert at.result.proof.equal == at.result.plan.exact
    assert not at.result.plan.exact or is_right(at.network, at.result)


@pytest.mark.slow
@pytest.mark.parametrize("bug", FILE_BUGS)
def test_a_bug_in_a_file_is_caught_on_every_network(bug):
    verdicts = {name: in_file(name, bug).verdict for name in NETWORKS}
    assert MISSED not in verdicts.values(), verdicts
    assert CAUGHT in verdicts.values(), f"{bug} applies to no network"


@pytest.mark.slow
@pytest.mark.parametrize("bug", RULE_BUGS)
def test_a_bug_in_a_rule_is_caught_on_every_network(bug):
    verdicts = {name: in_rule(name, bug).verdict for name in NETWORKS}
    assert MISSED not in verdicts.values(), verdicts
    assert CAUGHT in verdicts.values(), f"{bug} harms no network: {verdicts}"
