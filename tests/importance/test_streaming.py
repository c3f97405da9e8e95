"""Criteria that look at data take inputs by name, any loss, and samples in any batches."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import spa
from spa.importance.criterion import Need, get, names
from spa.observe import activations, gradients
from tests.graphs import Builder, classifier

SEEING = [name for name in names() if get(name).needs.sees_data]
# Scores that are of mini-batches by definition.
BY_BATCH = {"taylor", "jacobian"}


def text() -> onnx.ModelProto:
    """Words and a mask: a table, two layers on every word, their mean over the words that count."""
    g = Builder()
    ids = g.input(6, name="ids", dtype=onnx.TensorProto.INT64)
    mask = g.input(6, 1, name="mask")
    x = g.node("Gather", [g.normal(20, 8, stem="table"), ids])  # (N, 6, 8)
    x = g.node("Relu", [g.node("Add", [g.node("MatMul", [x, g.normal(8, 12)]), g.normal(12)])])
    x = g.node("MatMul", [x, g.normal(12, 10)])
    x = g.node("Mul", [g.node("Relu", [x]), mask])
    x = g.node("ReduceSum", [x, g.ints([1])], keepdims=0)
    return g.model(g.gemm(x, 10, 4))


def words(samples: int = 24) -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(0)
    mask = (rng.random((samples, 6, 1)) < 0.7).astype(np.float32)
    return {"mask": mask, "ids": rng.integers(0, 20, (samples, 6))}, np.arange(samples) % 4


@pytest.mark.parametrize("criterion", SEEING)
def test_inputs_by_name(criterion):
    if criterion == "hrank":
        with pytest.raises(spa.SettingError, match="has none on channels"):
            spa.prune(text(), criterion=criterion, rf=1.3, data=words())
        return
    result = spa.prune(text(), criterion=criterion, rf=1.3, data=words())
    assert result.proof.equal
    assert result.plan.settings["scoring"]["samples"] == 24


@pytest.mark.parametrize("criterion", [n for n in SEEING if get(n).needs & Need.GRADIENTS])
def test_any_loss(criterion):
    """A regression; its targets are a mapping of the loss's own making."""
    data = (words()[0], {"wanted": np.linspace(0, 1, 24, dtype=np.float32)})

    def squared(outputs, targets):
        import torch

        return (outputs[0][:, 0] - torch.from_numpy(targets["wanted"])).square().sum()

    scores = {}
    for loss in (squared, "outputs"):
        model = spa.load(text())
        scores[loss] = spa.score(model, spa.find_groups(model), criterion, data=data, loss=loss)
    assert scores[squared].details["loss"] == "squared"
    assert any(
        not np.allclose(values, scores["outputs"].by_group[key])
        for key, values in scores[squared].by_group.items()
    )


@pytest.mark.parametrize("criterion", sorted(set(SEEING) - BY_BATCH))
def test_batches_make_no_difference(criterion, monkeypatch):
    """Sums over samples do not depend on where batches end; batch norms take stored statistics."""
    rng = np.random.default_rng(0)
    data = (rng.standard_normal((20, 3, 8, 8)).astype(np.float32), np.arange(20) % 5)
    model = spa.load(classifier(widths=(8, 12, 16)))
    groups = spa.find_groups(model)
    options = {"statistics": "stored"} if criterion in ("snip", "grasp", "crop") else {}
    found = []
    for most in (64, 7):
        for module in (activations, gradients):
            monkeypatch.setattr(module, "MOST", most)
        found.append(spa.score(model, groups, criterion, data=data, options=options).by_group)
    for key, values in found[0].items():
        scale = np.abs(values).max()
        np.testing.assert_allclose(found[1][key], values, rtol=1e-3, atol=1e-3 * scale)


@pytest.mark.parametrize("criterion", [n for n in SEEING if get(n).needs & Need.ACTIVATIONS])
def test_activations_are_never_all_held(criterion, monkeypatch):
    """Only what one batch makes is asked of ONNX Runtime at a time."""
    seen = []
    given = activations.Opened.run

    def run(self, inputs):
        seen.append(len(inputs["x"]))
        return given(self, inputs)

    monkeypatch.setattr(activations, "MOST", 4)
    monkeypatch.setattr(activations.Opened, "run", run)
    x = np.random.default_rng(0).standard_normal((18, 3, 8, 8)).astype(np.float32)
    model = spa.load(classifier(widths=(8, 12, 16)))
    groups = spa.find_groups(model)
    seen.clear()
    spa.score(model, groups, criterion, data=x)
    assert seen == [4, 4, 4, 4, 2]
