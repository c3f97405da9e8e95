"""The whole of OBSPA, and its calibration inputs."""

import json

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import spa
import spa.obspa
from spa.bridge import from_torch
from spa.graph.execute import run
from spa.graph.read import model_sha256
from spa.observe.stream import is_batch_norm
from spa.obspa.calibration import calibrate
from spa.obspa.settings import Settings
from tests.graphs import Builder, classifier

IMAGES = np.random.default_rng(3).standard_normal((40, 3, 8, 8)).astype(np.float32)
QUICK = Settings(samples=32)


@pytest.mark.parametrize("calibration", ["bn", "noise", "uniform", "array", "by name"])
def test_every_source_gives_a_proven_model(calibration):
    proto = classifier()
    before = proto.SerializeToString(deterministic=True)
    source = {"array": IMAGES, "by name": {"x": IMAGES}}.get(calibration, calibration)
    results = [
        spa.obspa.prune(proto, rf=2.0, calibration=source, settings=QUICK, seed=7) for _ in range(2)
    ]
    result, again = results
    assert result.reached.rf >= 2.0
    assert result.proof.equal
    assert proto.SerializeToString(deterministic=True) == before
    # the same seed, the same bytes
    assert model_sha256(result.model) == model_sha256(again.model)
    assert result.plan == again.plan
    # the plan replays on the refitted model
    document = json.loads(json.dumps(result.plan.to_json()))
    assert document["criterion"] == "l1"
    assert document["settings"]["method"] == "obspa"
    assert document["weights"] == model_sha256(result.reconstructed)
    assert document["model"] == model_sha256(proto)
    plan = spa.Plan.from_json(document)
    refitted = spa.load(result.reconstructed)
    assert spa.apply_plan(refitted, plan) == result.model
    assert spa.verify(refitted, result.model, plan).equal
    used = {"array": "data", "by name": "data"}.get(calibration, calibration)
    assert result.details["calibration"] == result.details["calibration_used"] == used
    assert result.details["batch_statistics"] is True
    assert result.details["scores"] == "static"
    assert result.details["update"] == "closed_form"
    assert result.details["samples"] == 32
    assert result.details["layers_refitted"] > 0
    json.dumps(dict(result.details))


def test_another_seed_draws_other_noise():
    first, second = (
        spa.obspa.prune(classifier(), rf=1.5, calibration="noise", settings=QUICK, seed=seed)
        for seed in (0, 1)
    )
    assert model_sha256(first.reconstructed) != model_sha256(second.reconstructed)


@pytest.mark.parametrize("selection", ["obs", "l1", "l2", "random", "bn_scale"])
def test_every_selection_that_needs_no_data(selection):
    result = spa.obspa.prune(
        classifier(), ratio=0.3, calibration="noise", settings=QUICK, selection=selection
    )
    assert result.proof.equal
    assert result.details["selection"] == selection


def test_limits_and_targets_hold():
    result = spa.obspa.prune(
        classifier(), rp=1.5, limits=spa.Limits(round_to=4), calibration=IMAGES, settings=QUICK
    )
    assert result.reached.rp >= 1.5
    assert {
        tensor.dims[0] % 4 for tensor in result.model.graph.initializer if tensor.dims[0] > 5
    } == {0}
    with pytest.raises(spa.InfeasibleTarget):
        spa.obspa.prune(classifier(), rf=1000.0, calibration=IMAGES, settings=QUICK)


def test_a_torch_module_and_a_loaded_model_are_taken_too():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3))
    example = torch.zeros(2, 3, 8, 8)
    a = spa.obspa.prune(net.eval(), inputs=example, ratio=0.5, settings=QUICK)
    b = spa.obspa.prune(spa.load(net, example), ratio=0.5, settings=QUICK)
    assert a.proof.equal
    assert model_sha256(a.model) == model_sha256(b.model)


def test_refreshing_batch_norms_is_said():
    kinds = {None: "keep", False: "keep", True: "refresh", "relative": "relative"}
    for given, kind in kinds.items():
        result = spa.obspa.prune(
            classifier(), rf=1.5, calibration=IMAGES, settings=QUICK, bn_refresh=given
        )
        assert result.details["batch_norms"] == kind
        assert result.details["batch_norms_changed"] == (0 if kind == "keep" else 3)
        assert result.proof.equal


# --- calibration inputs -------------------------------------------------------------------------


def plain_net(batch="N"):
    g = Builder(batch=batch)
    x = g.input(3, 6, 6)
    x = g.node("Relu", [g.conv(x, 3, 8)])
    return g.model(g.conv(x, 8, 4), dims=[[batch, 4, 6, 6]])


def inputs_of(proto, source, settings=QUICK):
    return calibrate(spa.load(proto), source, settings)


def samples_of(made, name="x"):
    batches = made.inputs[name]
    return batches if isinstance(batches, np.ndarray) else np.concatenate(batches)


def test_without_batch_norms_noise_is_used_and_that_is_said():
    result = spa.obspa.prune(plain_net(), rf=1.5, calibration="bn", settings=QUICK)
    assert result.details["calibration"] == "bn"
    assert result.details["calibration_used"] == "noise"
    assert any("no batch norm" in note for note in result.plan.notes)


def test_synthesised_inputs_show_batch_norms_what_they_have_stored():
    proto = classifier()
    model = spa.load(proto)
    norms = [node for node in model.graph.nodes if is_batch_norm(node)]

    def mismatch(x):
        total = 0.0
        seen = run(proto, {"x": x}, also=[node.inputs[0] for node in norms])[-len(norms) :]
        for node, value in zip(norms, seen, strict=True):
            stored_mean, stored_var = (model.array(name) for name in node.inputs[3:5])
            mean, var = value.mean((0, 2, 3)), value.var((0, 2, 3))
            total += float((np.square(mean - stored_mean) / stored_var).mean())
            total += float(np.square(np.sqrt(var / stored_var) - 1).mean())
        return total

    made, noise = (mismatch(samples_of(inputs_of(proto, kind))) for kind in ("bn", "noise"))
    assert made < 0.5 * noise  # random statistics cannot all be met


def test_noise_has_the_promised_distribution():
    uniform = samples_of(inputs_of(plain_net(), "uniform"))
    normal = samples_of(inputs_of(plain_net(), "noise"))
    assert uniform.shape == normal.shape == (32, 3, 6, 6)
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert float(normal.std()) == pytest.approx(1.0, abs=0.05)
    assert uniform.dtype == normal.dtype == np.float32


def test_a_fixed_batch_size_is_filled_as_often_as_it_takes():
    made = inputs_of(plain_net(batch=5), "noise")
    assert [len(batch) for batch in made.inputs["x"]] == [5] * 7
    assert made.samples == 35
    x = np.zeros((23, 3, 6, 6), np.float32)
    assert [len(b) for b in inputs_of(plain_net(batch=5), x).inputs["x"]] == [5] * 4
    result = spa.obspa.prune(plain_net(batch=5), rf=1.5, settings=QUICK)
    assert result.proof.equal


def test_token_inputs_stay_inside_the_table():
    g = Builder()
    g.inputs.append(onnx.helper.make_tensor_value_info("x", onnx.TensorProto.INT64, ["N", 6]))
    table = g.normal(11, 8)
    x = g.node("Gather", [table, "x"])
    x = g.node("Relu", [g.node("MatMul", [x, g.normal(8, 12)])])
    proto = g.model(g.node("MatMul", [x, g.normal(12, 3)]), dims=[["N", 6, 3]])
    ids = samples_of(inputs_of(proto, "noise"))
    assert set(ids.ravel().tolist()) == set(range(11))
    result = spa.obspa.prune(proto, rf=1.5, calibration="noise", settings=QUICK)
    assert result.proof.equal


def test_several_inputs_are_given_by_name():
    g = Builder()
    a, b = g.input(5, name="a"), g.input(5, name="b")
    x = g.node("Relu", [g.gemm(g.node("Add", [a, b]), 5, 8)])
    proto = g.model(g.gemm(x, 8, 3), dims=[["N", 3]])
    x = np.ones((10, 5), np.float32)
    assert len(samples_of(inputs_of(proto, {"a": x, "b": x}), "b")) == 10
    for wrong in (x, {"a": x}, {"a": x, "b": x, "c": x}, {"a": x, "b": x[:4]}, {"a": x, "b": x.T}):
        with pytest.raises(spa.InputError):
            inputs_of(proto, wrong)


def test_settings_are_checked():
    for wrong in (
        {"selection": "nothing"}, {"target_outputs": "asym"}, {"damping": 0.0}, {"samples": 0},
        {"bn_refresh": "often"}, {"damping": "some"}, {"memory": 1e-9}, {"rounds": 0},
        {"nothing": 1}, {"calibration": "photos"}, {"device": "nowhere"},
    ):  # fmt: skip
        with pytest.raises(spa.SettingError):
            spa.obspa.prune(classifier(), rf=1.5, **wrong)


def test_values_that_are_not_finite_are_refused():
    x = IMAGES.copy()
    x[0, 0, 0, 0] = np.inf
    with pytest.raises(spa.InputError, match="not finite"):
        spa.obspa.prune(classifier(), rf=1.5, calibration=x, settings=QUICK)


def test_half_precision_models_are_refitted():
    g = Builder()
    g.inputs.append(onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT16, ["N", 6]))
    rng = np.random.default_rng(0)
    first, second = (
        g.weight(rng.standard_normal(s).astype(np.float16)) for s in ((6, 12), (12, 3))
    )
    x = g.node("Relu", [g.node("MatMul", ["x", first])])
    proto = g.model(g.node("MatMul", [x, second]), dims=[["N", 3]])
    proto.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    result = spa.obspa.prune(proto, rf=1.5, calibration="noise", settings=QUICK, verify=False)
    assert result.details["layers_refitted"] == 1
    assert result.reconstructed.graph.initializer[1].data_type == onnx.TensorProto.FLOAT16


# --- quality ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    """A small network with batch norms, trained for a few seconds, and test data."""
    datasets = pytest.importorskip("sklearn.datasets")
    bunch = datasets.load_digits()
    x = torch.from_numpy((bunch.images / 8 - 1).astype(np.float32))[:, None]
    y = torch.from_numpy(bunch.target)
    torch.manual_seed(0)
    layers = []
    for cin, cout in ((1, 16), (16, 16), (16, 32)):
        layers += [nn.Conv2d(cin, cout, 3, padding=1, bias=False), nn.BatchNorm2d(cout), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if cout == 32 else []
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 16, 10))
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(3):
        for batch in torch.randperm(1400).split(64):
            loss = nn.functional.cross_entropy(net(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return from_torch(net.eval(), x[:2]), x[1400:].numpy(), y[1400:].numpy()


@pytest.mark.parametrize("calibration", ["bn", "noise", "uniform"])
def test_without_data_it_beats_magnitudes_without_fine_tuning(digits, calibration):
    proto, x, y = digits

    def accuracy(model):
        name = model.graph.input[0].name
        return (run(model, {name: x})[0].argmax(1) == y).mean()

    plain = spa.prune(proto, criterion="l1", rf=3.0, verify=False)
    ours = spa.obspa.prune(proto, rf=3.0, calibration=calibration)
    assert accuracy(proto) > 0.9
    assert accuracy(ours.model) > accuracy(plain.model) + 0.1
    if calibration == "bn":
        assert accuracy(ours.model) > accuracy(proto) - 0.1
