"""SqueezeNet 1.1 with its ImageNet weights is the same network in every framework."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from experiments.bench import carried
from experiments.bench.pretrained import SHAPE, dense, hits, labelled
from spa.graph.execute import run


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.slow if kind == "mxnet" else pytest.mark.long)
        for kind in ("jax", "mxnet", "tensorflow")
    ],
)
def test_real_weights_are_the_same_network_everywhere(kind, tmp_path, installed):
    installed(kind)
    x, labels = labelled()
    with torch.no_grad():
        want = carried.squeezenet()(torch.from_numpy(x)).numpy()
    it, model = dense(kind, tmp_path)
    proto = it.export(model, [SHAPE], channels_first=True)
    exported = run(proto, {proto.graph.input[0].name: x})[0]
    for have in (it.predict(model, x), exported):
        assert np.abs(have - want).max() <= 1e-4 * np.abs(want).max()
        assert (hits(have, labels, 1), hits(have, labels, 5)) == (13, 20)
