"""Folding: what is alike costs nothing, and a mean keeps its variance."""

import numpy as np
import onnx
import pytest

import spa
from experiments.methods import Job
from experiments.methods.reconstruct.folding import Folding, folding, variance_kept
from spa.graph.execute import run
from tests.graphs import Builder


def twins(seed=0):
    """Channels 4 to 7 of the first layer are those of 0 to 3 again; a norm and a ReLU behind."""
    rng = np.random.default_rng(seed)
    g = Builder(seed=seed)
    x = g.input(3, 6, 6)
    w = rng.standard_normal((8, 3, 3, 3)).astype(np.float32)
    w[4:] = w[:4]
    x = g.node("Conv", [x, g.weight(w)], pads=[1, 1, 1, 1])
    vectors = []
    for stem in ("scale", "shift", "mean", "var"):
        vector = rng.uniform(0.5, 2.0, 4).astype(np.float32)
        vectors.append(g.weight(np.concatenate([vector, vector]), stem))
    x = g.node("Relu", [g.node("BatchNormalization", [x, *vectors])])
    return g.model(g.conv(x, 8, 4), dims=[["N", 4, 6, 6]])


@pytest.mark.parametrize("repair", [True, False])
def test_twins_are_folded_at_no_cost(tmp_path, repair):
    onnx.save(twins(), tmp_path / "m.onnx")
    job = Job(tmp_path / "m.onnx", spa.Target(ratio=0.5), limits=spa.Limits(max_ratio=0.5))
    made = folding(job, Folding(repair=repair))
    assert made.proof.equal
    (group,) = [group for group in made.plan.groups if group.removed]
    assert list(group.removed) == [4, 5, 6, 7]
    x = np.random.default_rng(1).standard_normal((4, 3, 6, 6)).astype(np.float32)
    (dense,), (folded,) = (run(p, {"x": x}) for p in (twins(), made.model))
    np.testing.assert_allclose(folded, dense, atol=1e-4 * np.abs(dense).max())


def test_the_mean_of_channels_gets_the_variance_of_one():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((3, 40)) + 0.5
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    x = rng.standard_normal((100_000, 40))
    alone, merged = (x @ rows.T).var(axis=0).mean(), (x @ rows.mean(axis=0)).var()
    assert merged * variance_kept(rows) ** 2 == pytest.approx(alone, rel=0.02)
    assert variance_kept(rows[:1]) == 1.0
