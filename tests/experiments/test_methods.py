"""All methods: they reach a target and say enough, whatever they give back."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import spa
from experiments.data import load
from experiments.ground.progress import Progress
from experiments.methods import METHODS, Job, Need, Outcome, Scoring, criteria, method
from experiments.models.network import fresh, tensors, with_weights
from experiments.results.rows import _names
from experiments.runs.execute import trainer_of
from experiments.runs.folder import RunFolder
from experiments.runs.job import Source, job
from experiments.runs.prune import measure, prune
from experiments.training.budget import Budget
from experiments.training.interrupts import Interrupts
from spa.bridge import to_onnx, to_torch
from spa.errors import InfeasibleTarget, SettingError
from spa.importance import criterion as registry
from spa.importance.values import Channels
from spa.training.hooks import Hook, HookSpec, Moment, hook

TIME = "time=train_prune"


@pytest.fixture(scope="module")
def data():
    return load({"name": "digits"})


@pytest.fixture(scope="module")
def dense(tmp_path_factory, data) -> Path:
    path = tmp_path_factory.mktemp("dense") / "dense.onnx"
    onnx.save(fresh("resnet8", data, 0)[1], path)
    return path


@pytest.fixture
def source(parsed, data, tmp_path):
    def make(*overrides: str) -> Source:
        settings = parsed(*overrides, f"results_dir={tmp_path}")
        folder = RunFolder(settings)
        folder.path.mkdir(parents=True)
        return Source(settings, data, folder, trainer_of(settings, Progress("test"), Interrupts()))

    return make


@pytest.fixture
def registered(monkeypatch):
    """Registers methods for the time of a test."""
    METHODS.names()
    monkeypatch.setattr(METHODS, "_entries", dict(METHODS._entries))
    return method


# Methods that are another package's.
PEERS = {"onnxsim", "torch_pruning"}


def installed(name: str) -> bool:
    return name not in PEERS or importlib.util.find_spec(name) is not None


@pytest.mark.parametrize("name", METHODS.names())
def test_every_method_reaches_the_target_and_is_measured(dense, source, name):
    if not installed(name):
        pytest.skip(f"{name} is not installed")
    given = source(f"method={name}", TIME, "target.rf=1.5", "calibration_samples=32")
    made = prune(dense, given)
    pruned = given.folder.path / "pruned.onnx"
    onnx.checker.check_model(onnx.load(pruned), full_check=True)
    assert 1.5 <= made["reached"]["rf"] < 2.5
    assert made["reached"]["rp"] == made["params"]["dense"] / made["params"]["pruned"] > 1
    assert made["macs"]["pruned"] < made["macs"]["dense"]
    assert all(1 <= width["pruned"] <= width["dense"] for width in made["widths"])
    assert any(width["pruned"] < width["dense"] for width in made["widths"])
    assert made["prune_seconds"] > 0
    json.dumps(made)


@pytest.mark.parametrize("name", ["spa", "obspa"])
def test_what_is_measured_is_what_the_plan_says(dense, source, name):
    given = source(f"method={name}", TIME, "calibration_samples=32")
    made = prune(dense, given)
    plan = json.loads((given.folder.path / "plan.json").read_text())
    assert made["reached"] == pytest.approx(plan["reached"])
    assert [(w["dense"], w["pruned"]) for w in made["widths"]] == [
        (group["channels"], group["channels"] - len(group["removed"])) for group in plan["groups"]
    ]


def test_a_method_that_gives_back_a_model_alone_is_one(dense, source, registered):
    @registered(source="here")
    def bare(job: Job, how: object) -> Outcome:
        return Outcome(spa.prune(job.dense, target=job.target).model)

    given = source(TIME)
    given = Source(_called(given.settings, "bare"), given.data, given.folder, given.trainer)
    made = prune(dense, given)
    assert made["reached"]["rf"] >= 2
    assert made["widths"]
    assert made["proof"] == []
    assert not (given.folder.path / "plan.json").exists()


def _called(settings, name):
    from dataclasses import replace

    return replace(settings, method=name, how=METHODS.get(name).settings())


def test_uniform_scales_every_layer_alike_and_keeps_the_first_channels(dense, source):
    given = source("method=uniform", TIME, "target.rf=2.0")
    made = prune(dense, given)
    shares = [width["pruned"] / width["dense"] for width in made["widths"]]
    narrowest = min(width["dense"] for width in made["widths"])
    assert max(shares) - min(shares) <= 2 / narrowest
    plan = json.loads((given.folder.path / "plan.json").read_text())
    for group in plan["groups"]:
        kept = group["channels"] - len(group["removed"])
        assert group["removed"] == list(range(kept, group["channels"]))


def test_slimming_makes_scales_small_before_it_prunes(dense, source):
    """With a strong penalty, and nothing else changed, scales are smaller; epochs count."""
    sums = []
    for strength in (1e-9, 1.0):
        options = (f"method.strength={strength}", "method.epochs=1")
        given = source("method=slimming", TIME, "target.rf=1.5", *options)
        made = prune(dense, given)
        assert made["epochs"] == 1
        sparse = spa.load(given.folder.path / "reconstructed.onnx")
        names = {n.inputs[1] for n in sparse.graph.nodes if n.op == "BatchNormalization"}
        sums.append(sum(float(np.abs(sparse.array(name)).sum()) for name in names))
    assert sums[1] < 0.98 * sums[0]


def test_group_sparsity_makes_some_sets_much_smaller_than_others(dense, source):
    """The harder its pull, the smaller the norms of what goes beside those of what stays."""
    shares = []
    for strength in (1e-9, 1e-1):
        options = (f"method.strength={strength}", "method.epochs=2", "method.lr=0.05")
        given = source("method=group_sparsity", TIME, "target.rf=1.5", *options)
        assert prune(dense, given)["epochs"] == 2
        shares.append(share_of_what_went(given))
    assert shares[1] < 0.7 * shares[0]


def test_growing_pulls_what_it_planned_to_zero_and_cuts_it(dense, source):
    """What is left of it is next to nothing: the cut network answers as the trained one does."""
    given = source("method=growing", TIME, "target.rf=1.5", "method.epochs=4", "method.lr=0.05")
    assert prune(dense, given)["epochs"] == 4
    plan = json.loads((given.folder.path / "plan.json").read_text())
    first = spa.prune(dense, criterion="l1", rf=1.5).plan.to_json()
    assert plan["parameters"] == first["parameters"]
    assert share_of_what_went(given) < 0.05


def share_of_what_went(given: Source) -> float:
    """Of what trained, the mean norm of the sets that went over that of those that stayed."""
    folder = given.folder.path
    model = spa.load(folder / "reconstructed.onnx")
    groups = spa.find_groups(model)
    plan = json.loads((folder / "plan.json").read_text())
    norms = spa.score(model, groups, "l2", normalize="none").by_group
    went, stayed = [], []
    for group in plan["groups"]:
        gone = np.isin(np.arange(group["channels"]), group["removed"])
        sizes = np.sqrt(norms[group["id"]])
        went += (sizes[gone] / sizes.mean()).tolist()
        stayed += (sizes[~gone] / sizes.mean()).tolist()
    return float(np.mean(went) / np.mean(stayed))


def test_a_method_may_not_change_what_goes_in_and_out(dense, tmp_path, data):
    other = fresh("resnet8", data, 0)[1]
    other.graph.output[0].name = "renamed"
    for node in other.graph.node:
        node.output[:] = ["renamed" if name == "output" else name for name in node.output]
    onnx.save(other, tmp_path / "other.onnx")
    with pytest.raises(SettingError, match=r"other.onnx is no smaller dense.onnx: its inputs and"):
        measure(dense, tmp_path / "other.onnx")


def test_a_plan_says_what_ranked_and_the_record_which_method(dense, source):
    given = source("method=obspa", TIME, "calibration_samples=32")
    prune(dense, given)
    assert json.loads((given.folder.path / "plan.json").read_text())["criterion"] == "l1"


def test_epochs_of_a_method_are_told_apart_and_logged(dense, source, registered):
    @registered(needs=Need.TRAINED, source="here")
    def training(job: Job, how: object) -> Outcome:
        model = onnx.load(job.dense)
        budget = given.settings.finetune
        net = job.train(to_torch(model), model, budget, stream="training")
        return Outcome(spa.prune(to_onnx(net, model), target=job.target).model)

    given = source(TIME, "trainer=smoke", "trainer.finetune.epochs=2")
    given = Source(_called(given.settings, "training"), given.data, given.folder, given.trainer)
    made = prune(dense, given)
    assert made["epochs"] == 2
    assert made["trained_seconds"] > 0
    lines = (given.folder.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["stage"] for line in lines] == ["training"] * 2


@hook("test/of_coupled_sets")
class OfCoupledSets(Hook):
    """Pulls all coupled sets towards zero."""

    def penalty(self, at: Moment):
        return 0.1 * sum(norms.sum() for norms in at.norms().values())


def test_hooks_of_a_method_see_the_coupled_sets(dense, source):
    given = source(TIME)
    model, groups = onnx.load(dense), spa.find_groups(spa.load(dense))
    budget, sums = Budget(epochs=1, batch=200, lr=0.05, weight_decay=0.0), []
    for hooks in ((), (HookSpec("test/of_coupled_sets"),)):
        net = to_torch(model)
        job(dense, given).train(net, model, budget, stream=f"hooks {hooks}", hooks=hooks)
        norms = Moment(net, 1, 1, groups=groups).norms()
        sums.append(sum(float(each.detach().sum()) for each in norms.values()))
    assert sums[1] < 0.9 * sums[0]


@pytest.mark.parametrize("name", ["snip", "grasp"])
def test_a_criterion_that_sees_data_gets_none_made_up(dense, name):
    bare = Job(dense, spa.Target(rf=1.5), scoring=Scoring(name))
    with pytest.raises(SettingError, match="there is no data for dense.onnx"):
        METHODS.get("spa")(bare)


@pytest.mark.parametrize("kind", ["noise", "uniform"])
@pytest.mark.parametrize("name", ["snip", "activation"])
def test_noise_is_seen_where_it_is_asked_for_by_name(dense, source, name, kind):
    overrides = (f"criterion={name}", TIME, "target.rf=1.5", "gradient_samples=20")
    given = source(*overrides, f"criterion_data={kind}")
    prune(dense, given)
    assert given.seen == [{"kind": "noise", "source": kind, "samples": 20}]
    scored = json.loads((given.folder.path / "plan.json").read_text())["settings"]["scoring"]
    assert (scored["data"], scored["samples"], scored["targets"]) == (kind, 20, False)
    plain = source(*overrides)
    prune(dense, plain)
    assert plain.seen == [{"kind": "labelled", "source": "train", "samples": 20}]
    names = [_names({**_what(it), "config": it.settings.semantic()}, ())["method"]
             for it in (given, plain)]  # fmt: skip
    assert names == [f"{name} ({kind})", name]


def _what(given: Source) -> dict[str, object]:
    """Of a result, what names its row."""
    settings = given.settings
    keys = ("model", "time", "method", "criterion", "calibration", "asked")
    return {key: getattr(settings, key) for key in keys}


def test_a_criterion_says_itself_whether_it_sees_data():
    def unknown_here(view):
        return Channels(np.zeros(1))

    for needs, sees in ((registry.Need.ACTIVATIONS, True), (registry.Need.TRAINED, False)):
        declared = registry.of_function(unknown_here, needs=needs)
        with registry.CRITERIA.apart():
            registry.CRITERIA.add("unknown_here", declared)
            assert criteria.sees_data("unknown_here") is sees


def test_a_network_has_its_own_weights_back(dense, data):
    net = with_weights("resnet8", data, dense)
    (x,) = tensors(data)
    with torch.no_grad():
        ours = net(x).numpy()
    import onnxruntime

    session = onnxruntime.InferenceSession(str(dense))
    theirs = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.skipif(not installed("torch_pruning"), reason="Torch-Pruning is not installed")
def test_a_peer_that_cannot_reach_a_target_says_how_far_it_gets(dense, source):
    args = ("method=torch_pruning", "method.iterative_steps=10")
    with pytest.raises(InfeasibleTarget, match=r"rf 1e\+06 is out of reach: after 10 steps"):
        prune(dense, source(*args, TIME, "target.rf=1e6"))


def test_a_file_has_no_torch_module(dense, source):
    given = source("method=spa", TIME)
    from dataclasses import replace

    file = replace(given.settings, model=f"onnx/{dense}", method="torch_pruning")
    with pytest.raises(SettingError, match="prunes torch modules, but model=onnx/"):
        job(dense, replace(given, settings=file)).module()
