"""Limits on the command line: scopes, floors, caps, protection, and targets that they cut short."""

import json
import re

import pytest

from spa.selection.scope import scopes
from tests.cli.conftest import save
from tests.graphs import classifier


@pytest.fixture
def plan(good, tmp_path):
    """Prunes the test model of 8, 8, 12 and 16 channels; gives the plan."""
    path = save(classifier(), tmp_path / "m.onnx")

    def call(*options):
        out, plan = tmp_path / "o.onnx", tmp_path / "p.json"
        good("prune", path, "-o", out, "--plan", plan, *options)
        return json.loads(plan.read_text())

    return call


def left(plan):
    return [group["channels"] - len(group["removed"]) for group in plan["groups"]]


@pytest.mark.parametrize("scope", scopes())
def test_scopes(plan, scope):
    found = plan("--ratio", 0.5, "--scope", scope)
    assert found["settings"]["scope"] == scope
    assert sum(left(found)) == 22


def test_help_says_what_each_scope_is(spa_):
    text = " ".join(spa_("prune", "--help").out.split())
    for scope in scopes().values():
        assert f"{scope.name}: {scope.text}" in text
    for option in ("--protect-first", "--protect-last", "--floor", "--cap"):
        assert option in text


def test_protection_by_position(plan):
    found = plan("--ratio", 0.5, "--protect-first", 1, "--protect-last", 1)
    assert (left(found)[0], left(found)[-1]) == (8, 16)
    assert found["settings"]["protect_first"] == found["settings"]["protect_last"] == 1


def test_floors_and_caps_by_glob(plan):
    found = plan("--ratio", 0.4, "--floor", "b0=10", "--cap", "n_gemm*=0.25", "--cap", "b1=1")
    assert left(found)[2] >= 10
    assert left(found)[-1] >= 12
    assert found["settings"]["floors"] == {"b0": 10}
    assert found["settings"]["caps"] == {"n_gemm*": 0.25, "b1": 1.0}


def test_parts_by_number_and_by_side(plan, good, tmp_path):
    document = good("inspect", tmp_path / "m.onnx", "--json").document
    number = next(g["id"] for g in document["groups"] if g["channels"] == 12)
    assert left(plan("--ratio", 0.5, "--include", f"group:{number}")) == [8, 8, 6, 16]
    assert left(plan("--ratio", 0.5, "--scope", "local", "--exclude", f"group:{number}"))[2] == 12
    found = plan("--ratio", 0, "--ratio-of", f"group:{number}=0.25", "--ratio-of", "out:w1=0.5")
    assert left(found) == [8, 4, 9, 16]
    assert found["settings"]["ratios"] == {f"group:{number}": 0.25, "out:w1": 0.5}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--ratio-of", "b0"), "--ratio-of takes NAME=VALUE"),
        (("--ratio-of", "b0=1"), "must lie in"),
        (("--ratio-of", "w*=0.1", "--ratio-of", "b*=0.2"), "is given the ratios"),
        (("--include", "group:4"), "there is no group 4; spa inspect shows 0 to 3"),
        (("--floor", "b0"), "--floor takes NAME=VALUE"),
        (("--floor", "b0=1.5"), "takes a whole number"),
        (("--cap", "b0=x"), "takes a share"),
        (("--cap", "b0=nan"), "must lie in"),
        (("--cap", "nothing=0.5"), '--cap "nothing" matches no parameter'),
        (("--protect-first", "-1"), "must be 0 or more"),
    ],
)
def test_what_has_no_meaning(refused, model, tmp_path, options, message):
    assert message in refused("prune", model, "-o", tmp_path / "o.onnx", "--rf", 2, *options)


@pytest.mark.parametrize(
    ("name", "asked", "options"),
    [
        ("ratio", 0.95, ()),
        ("ratio", 0.5, ("--round-to", 64)),
        ("rf", 22, ("--max-ratio", 0.7)),
        ("rp", 400, ("--scope", "stage")),
    ],
)
def test_a_missed_target_is_exit_code_2_and_what_it_tells_works(
    refused, spa_, good, tmp_path, name, asked, options
):
    path = save(classifier(widths=(70, 90, 130)), tmp_path / "m.onnx")
    call = ("prune", path, "-o", tmp_path / "o.onnx", *options, "--json")
    result = spa_(*call, f"--{name}", asked)
    assert result.code == 2
    document = result.document
    assert (document["kind"], document["asked"]) == ("InfeasibleTarget", asked)
    told = re.search(rf"{name} {asked} is out of reach.* Ask for {name} (\S+) or less", result.err)
    assert float(told[1]) <= document["reachable"]
    for value in (told[1], document["reachable"]):
        notes = good(*call, f"--{name}", value).document["notes"]
        assert not any("out of reach" in note for note in notes)
    nearest = good(*call, f"--{name}", asked, "--best-effort").document
    assert any("out of reach" in note for note in nearest["notes"])
