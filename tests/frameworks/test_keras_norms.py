"""Weights that were trained since come back to Keras, wherever its norms are in the export."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import spa
from experiments.models import builder
from spa.frameworks import Source, framework
from spa.graph.execute import run
from tests.frameworks.test_round_trip import NETWORKS

SMALL = f"{NETWORKS}/small_keras.py"
OURS = ("normed", "nested", "attending")


def tuned(proto):
    """The same model with every weight moved, as if it had been trained."""
    other, rng = onnx.ModelProto(), np.random.default_rng(0)
    other.CopyFrom(proto)
    for tensor in other.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype.kind == "f" and value.size > 1:
            moved = value * rng.uniform(0.8, 1.2, value.shape) + rng.uniform(0, 0.01, value.shape)
            tensor.CopyFrom(numpy_helper.from_array(moved.astype(value.dtype), tensor.name))
    return other


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [*OURS, pytest.param("transfer", marks=pytest.mark.long), "resnet8", "mobilenet_v2"]
)
def test_tuned_weights_come_back(name, tmp_path, installed):
    installed("tensorflow")
    keras = framework("tensorflow")
    dense, smaller = tmp_path / "dense.keras", tmp_path / "smaller.keras"
    source = f"{SMALL}:{name}" if name in (*OURS, "transfer") else builder("tensorflow", name)
    shape = (3, 32, 32) if name == "transfer" else (3, 16, 16)
    keras.build(Source(source, {"classes": 4}), dense, shape, 0)
    proto = keras.export(dense, [shape], channels_first=True)
    result = spa.prune(proto, ratio=0.5, limits=spa.Limits(scope="local"))
    result = replace(result, model=tuned(result.model))
    keras.give_back(dense, smaller, proto, result, [shape], channels_first=True)
    x = np.random.default_rng(0).standard_normal((4, *shape)).astype(np.float32)
    (want,) = run(result.model, {proto.graph.input[0].name: x})
    np.testing.assert_allclose(keras.predict(smaller, x), want, atol=1e-4 * np.abs(want).max())
    # The norms are there still, for whoever trains it on in Keras: its export has no more weights.
    again = keras.export(smaller, [shape], channels_first=True)
    sizes = [sum(np.prod(t.dims) for t in p.graph.initializer) for p in (again, result.model)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.05)
