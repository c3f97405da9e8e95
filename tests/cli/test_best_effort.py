"""Targets out of reach: exit code 2 and the reason, or with ``--best-effort`` what is nearest."""

import numpy as np
import onnx
import pytest

import spa
from tests.cli.conftest import save
from tests.coupling.test_subgraphs import Flow, branch
from tests.graphs import Builder, classifier


def in_branches() -> onnx.ModelProto:
    """All weights lie inside of the branches of an If."""
    g = Flow()
    rng = np.random.default_rng(0)
    w, v = rng.standard_normal((2, 8, 3, 3, 3)).astype(np.float32)
    then, other = (
        branch("Conv", g.image, n, name=n[0], **{n: w}) for n, w in (("a_w", w), ("b_v", v))
    )
    return g.model(g.fork(then, other))


def unread() -> onnx.ModelProto:
    """Nothing to prune, and a constant that nothing reads."""
    g = Builder()
    g.node("Constant", [], value_ints=[1, 2])
    return g.model(g.conv(g.input(3, 8, 8), 3, 4))


@pytest.mark.parametrize("make", [in_branches, unread])
def test_where_nothing_may_shrink_the_model_comes_back(make):
    proto = make()
    result = spa.prune(proto, rf=2, best_effort=True)
    assert result.model == proto
    assert result.reached == spa.pruning.result.Reached(1.0, 1.0)
    assert result.dense == result.pruned
    assert result.proof.equal
    assert not result.plan.parameters
    (note,) = result.plan.notes
    assert "rf 2 is out of reach: no group of this model may shrink" in note


def test_the_reason_is_told(refused, good, tmp_path):
    path, out = save(in_branches(), tmp_path / "m.onnx"), tmp_path / "o.onnx"
    cause = "2 weights: it lies inside of a subgraph of If."
    assert cause in refused("prune", path, "-o", out, "--rf", 2, code=2)
    document = good("prune", path, "-o", out, "--rf", 2, "--best-effort", "--json").document
    assert document["asked"] == {"rf": 2.0}
    assert document["reached"] == {"rf": 1.0, "rp": 1.0}
    assert cause in document["notes"][0]
    assert onnx.load(out) == onnx.load(path)
    kept = good("inspect", path, "--json").document["kept"]
    assert {(k["name"], k["axis"], k["size"], k["kept"]) for k in kept} == {
        (name, axis, size, size)
        for name in ("a_w", "b_v")
        for axis, size in enumerate((8, 3, 3, 3))
    }
    assert {k["reason"] for k in kept} == {'it lies inside of a subgraph of If (If "n_if_0")'}


def test_the_causes_are_counted():
    """By weight, and not by axis; the most frequent first."""
    g = Builder(batch=2)
    w = g.normal(8, 3, 3, 3)
    x = g.node("Relu", [g.conv(g.input(3, 8, 8), 3, 8, weight=w)])
    grid = g.weight(g.rng.uniform(-1, 1, (2, 8, 8, 2)).astype(np.float32), "grid")
    x = g.node("GridSample", [g.conv(x, 8, 8), grid], domain="com.microsoft")
    causes = (
        "3 weights: it is an output of the model; "
        "3 weights: there is no rule for com.microsoft::GridSample; 1 weight"
    )
    with pytest.raises(spa.InfeasibleTarget, match=f"What is kept dense: {causes}"):
        spa.prune(g.model(x, w), rf=2)


@pytest.mark.parametrize(
    "limits", [spa.Limits(max_ratio=0.25), spa.Limits(min_channels=7), spa.Limits(round_to=8)]
)
@pytest.mark.parametrize("quantity", ["rf", "rp"])
def test_the_most_that_the_limits_allow(limits, quantity):
    with pytest.raises(spa.InfeasibleTarget) as caught:
        spa.prune(classifier(), **{quantity: 50.0}, limits=limits)
    result = spa.prune(classifier(), **{quantity: 50.0}, limits=limits, best_effort=True)
    assert result.plan.reached[quantity] == pytest.approx(caught.value.reachable)
    assert result.plan.notes == (str(caught.value),)
    assert result.proof.equal


def test_what_is_in_reach_is_not_changed_by_it(good, tmp_path):
    path = save(classifier(), tmp_path / "m.onnx")
    outputs = []
    for name, *options in (("a.onnx",), ("b.onnx", "--best-effort")):
        good("prune", path, "-o", tmp_path / name, "--rf", 2, *options)
        outputs.append((tmp_path / name).read_bytes())
    assert outputs[0] == outputs[1]


def test_no_group_is_left_by_the_options(refused, tmp_path):
    path = save(classifier(), tmp_path / "m.onnx")
    line = refused("prune", path, "-o", tmp_path / "o.onnx", "--rf", 2, "--exclude", "*", code=2)
    assert "--exclude, --protect-first or -last and the criterion leave no group" in line
