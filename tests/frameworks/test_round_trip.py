"""A network is built, trained, exported, pruned and given back in every framework."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import spa
from spa.errors import FrameworkError
from spa.frameworks import FRAMEWORKS, Source, Training, framework
from spa.frameworks.environments import names
from spa.graph.execute import run
from spa.graph.nodes import real_inputs

NETWORKS = Path(__file__).parent / "networks"
FILES = {"jax": "flax", "mxnet": "gluon", "pytorch": "torch", "tensorflow": "keras"}
SHAPE = (3, 8, 8)


def _built(name, folder, installed, function="small"):
    if name in names():
        installed(name)
    it = framework(name)
    arguments = {"classes": 4}
    path = folder / f"fresh{it.suffix}"
    it.build(Source(f"{NETWORKS}/small_{FILES[name]}.py:{function}", arguments), path, SHAPE, 0)
    return it, path


def _changed(proto):
    """The same model with other weights, as if it had been trained."""
    other = onnx.ModelProto()
    other.CopyFrom(proto)
    for tensor in other.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype.kind == "f" and value.size > 1:
            tensor.CopyFrom(numpy_helper.from_array(value * np.float32(1.1), tensor.name))
    return other


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FRAMEWORKS))
def test_the_whole_way(name, tmp_path, installed, feed, clusters):
    it, fresh = _built(name, tmp_path, installed)
    trained, smaller = (tmp_path / f"{stem}{it.suffix}" for stem in ("trained", "smaller"))
    rows = []
    it.train(fresh, trained, feed, Training(weight_decay=1e-4, label_smoothing=0.1), rows.append)
    assert [row["epoch"] for row in rows] == list(range(1, 13))
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[-1]["lr"] == 0.005
    x, y = clusters
    dense = it.predict(trained, x)
    assert (dense.argmax(1) == y).mean() > 0.9
    proto = it.export(trained, [SHAPE], channels_first=True)
    (value,) = real_inputs(proto.graph)
    np.testing.assert_allclose(run(proto, {value.name: x})[0], dense, atol=1e-4)
    result = spa.prune(proto, ratio=0.5, limits=spa.Limits(scope="local"))
    assert result.proof.equal
    assert result.reached.rp > 2
    if name == "pytorch":
        return  # modules are given back by spa.prune itself; see tests/bridge/test_shrinking.py
    it.give_back(trained, smaller, proto, result, [SHAPE], channels_first=True)
    (want,) = run(result.model, {value.name: x})
    np.testing.assert_allclose(it.predict(smaller, x), want, atol=1e-4)
    tuned = replace(result, model=_changed(result.model))
    it.give_back(trained, smaller, proto, tuned, [SHAPE], channels_first=True)
    (want,) = run(tuned.model, {value.name: x})
    np.testing.assert_allclose(it.predict(smaller, x), want, atol=1e-4)
    # It is a model like any other: it goes in again.
    again = it.export(smaller, [SHAPE], channels_first=True)
    assert sum(np.prod(t.dims) for t in again.graph.initializer) == pytest.approx(
        sum(np.prod(t.dims) for t in result.model.graph.initializer), rel=0.05
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FRAMEWORKS))
def test_fresh_norms_pass_the_gate_too(name, tmp_path, installed):
    """Norms that were never trained do nothing, so the gate looks at random ones."""
    it, fresh = _built(name, tmp_path, installed)
    proto = it.export(fresh, [SHAPE], channels_first=True)
    assert spa.load(proto).varied is not None


@pytest.mark.slow
def test_what_cannot_be_given_back_says_so_and_leaves_nothing(tmp_path, installed):
    it, fresh = _built("tensorflow", tmp_path, installed, "unfollowed")
    proto = it.export(fresh)
    result = spa.prune(proto, ratio=0.5)
    with pytest.raises(FrameworkError, match="Sin sin is not followed"):
        it.give_back(fresh, tmp_path / "smaller.keras", proto, result)
    assert not (tmp_path / "smaller.keras").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["jax", "pytorch"])
def test_code_that_a_file_asks_for_is_run_only_where_the_user_names_it(name, tmp_path, installed):
    _, fresh = _built(name, tmp_path, installed)
    place = f"{NETWORKS}/small_{FILES[name]}.py"
    x = np.zeros((1, *SHAPE), np.float32)
    with pytest.raises(FrameworkError, match=rf"small_{FILES[name]}.py\" builds it.*--code "):
        framework(name).predict(fresh, x)
    assert framework(name, [place]).predict(fresh, x).shape == (1, 4)
