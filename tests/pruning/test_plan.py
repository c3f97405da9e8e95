"""The plan is JSON, is checked when it is read, and never tears coupled channels apart."""

from __future__ import annotations

import dataclasses
import json

import onnx
import pytest

import spa
from tests.graphs import classifier


@pytest.fixture(scope="module")
def case():
    model = spa.load(classifier())
    return model, spa.prune(model, ratio=0.5, limits=spa.Limits(scope="local"))


def test_json_and_back(case):
    _, result = case
    document = json.loads(json.dumps(result.plan.to_json()))
    assert spa.Plan.from_json(document) == result.plan
    assert spa.Plan.from_json(document).to_json() == document


def test_the_fixed_keys_are_there(case):
    model, result = case
    document = result.plan.to_json()
    assert document["schema"] == 1
    assert document["model"] == model.sha256
    assert document["criterion"] == "l1"
    assert document["target"] == {"ratio": 0.5}
    assert set(document["reached"]) == {"rf", "rp"}
    assert set(document["parameters"][0]) == {"name", "axis", "size", "removed"}
    assert set(document["groups"][0]) >= {"id", "channels", "removed", "exact", "members"}
    assert all(isinstance(name, str) and isinstance(axis, int)
               for group in document["groups"] for name, axis in group["members"])  # fmt: skip


def test_sizes_of_the_pruned_file_are_those_of_the_plan(case):
    model, result = case
    shapes = {t.name: list(t.dims) for t in result.model.graph.initializer}
    for removal in result.plan.parameters:
        assert model.shapes[removal.name][removal.axis] == removal.size
        assert shapes[removal.name][removal.axis] == removal.size - len(removal.removed)
        assert list(removal.removed) == sorted(set(removal.removed))


def test_applying_a_plan_again_gives_the_same_bytes(case):
    model, result = case
    plan = spa.Plan.from_json(json.loads(json.dumps(result.plan.to_json())))
    again = spa.apply_plan(model, plan)
    assert again.SerializeToString(deterministic=True) == result.model.SerializeToString(
        deterministic=True
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("parameters"), "no plan"),
        (lambda d: d.update(schema=2), "schema 2"),
        (lambda d: d.pop("groups"), "damaged"),
        (lambda d: d.update(target=[1]), "damaged"),
        (lambda d: d["parameters"][0].pop("axis"), "damaged"),
        (lambda d: d["parameters"][0].update(removed=["a"]), "damaged"),
        (lambda d: d["groups"][0].update(members=[["w"]]), "damaged"),
    ],
)
def test_a_damaged_plan_is_named(case, change, message):
    document = json.loads(json.dumps(case[1].plan.to_json()))
    change(document)
    with pytest.raises(spa.PlanError, match=message):
        spa.Plan.from_json(document)


@pytest.mark.parametrize("document", [[], "plan", None, 3])
def test_other_json_is_no_plan(document):
    with pytest.raises(spa.PlanError, match="no plan"):
        spa.Plan.from_json(document)


def _with(plan: spa.Plan, position: int, **changes) -> spa.Plan:
    parameters = list(plan.parameters)
    parameters[position] = dataclasses.replace(parameters[position], **changes)
    return dataclasses.replace(plan, parameters=tuple(parameters))


def test_a_torn_plan_is_refused(case):
    model, result = case
    fewer = result.plan.parameters[0].removed[:-1]
    with pytest.raises(spa.PlanError, match="tears coupled channels apart"):
        spa.apply_plan(model, _with(result.plan, 0, removed=fewer))


def test_a_plan_for_another_model_is_refused(case):
    _, result = case
    other = spa.load(classifier(seed=5))
    with pytest.raises(spa.PlanError, match="sha256"):
        spa.apply_plan(other, result.plan)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "nowhere"}, "does not have"),
        ({"size": 999}, "does not have"),
        ({"removed": (0, 1000)}, "outside"),
        ({"removed": (-1, 0)}, "outside"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(case, changes, message):
    model, result = case
    with pytest.raises(spa.PlanError, match=message):
        spa.apply_plan(model, _with(result.plan, 0, **changes))


def test_what_is_kept_cannot_be_planned_away(case):
    model, result = case
    name = next(node.inputs[1] for node in model.graph.nodes if node.op == "Gemm")
    size = model.shapes[name][0]
    extra = dataclasses.replace(
        result.plan.parameters[0], name=name, axis=0, size=size, removed=(0,)
    )
    torn = dataclasses.replace(result.plan, parameters=(*result.plan.parameters, extra))
    with pytest.raises(spa.PlanError):
        spa.apply_plan(model, torn)


def test_reads_that_lose_different_channels_have_uses():
    """One vector of ones, shared by two batch norms: each read is cut on its own."""
    proto = classifier()
    scales = [n.input[1] for n in proto.graph.node if n.op_type == "BatchNormalization"]
    for node in proto.graph.node:
        if node.op_type == "BatchNormalization":
            node.input[1] = scales[0]
    result = spa.prune(proto, ratio=0.4, criterion="random")
    entries = [r for r in result.plan.parameters if r.name == scales[0]]
    assert len({r.removed for r in entries}) == len(entries) > 1
    assert all(r.uses for r in entries)
    assert result.proof.equal
    document = json.loads(json.dumps(result.plan.to_json()))
    again = spa.apply_plan(spa.load(proto), spa.Plan.from_json(document))
    assert again == result.model


def test_a_file_that_is_no_json_is_named(tmp_path):
    path = tmp_path / "plan.json"
    path.write_text("{")
    with pytest.raises(spa.PlanError, match="not JSON"):
        spa.Plan.load(path)
    with pytest.raises(spa.PlanError, match="cannot be read"):
        spa.Plan.load(tmp_path / "missing.json")


def test_nothing_of_the_input_changes(case):
    proto = classifier()
    before = proto.SerializeToString(deterministic=True)
    spa.prune(proto, rf=2.0)
    assert proto.SerializeToString(deterministic=True) == before
    assert isinstance(proto, onnx.ModelProto)
