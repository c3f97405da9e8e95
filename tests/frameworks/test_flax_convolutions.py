"""Convolutions that are computed otherwise for speed are the same ones."""

from __future__ import annotations

import subprocess

import pytest

from spa.frameworks import environments
from spa.frameworks.process import WORKERS

CHECK = """
import sys
sys.path.insert(0, sys.argv[1])
import jax, numpy as np
from flax import nnx
from flax_convolutions import convolve, quicken
from jax import lax

rng, other = np.random.default_rng(0), 0
for size, kernel, stride, groups, padding in (
    (8, 3, 1, 6, ((1, 1), (1, 1))), (8, 3, 2, 6, ((1, 1), (1, 1))), (7, 5, 2, 6, "SAME"),
    (9, 3, 3, 6, "VALID"), (1, 3, 1, 1, ((1, 1), (1, 1))), (2, 3, 2, 1, "SAME"),
    (2, 5, 1, 1, ((2, 3), (4, 1))), (8, 3, 1, 1, "SAME"), (8, 3, 1, 2, "SAME"),
):
    layer = nnx.Conv(
        6, 6, (kernel, kernel), stride, padding=padding, feature_group_count=groups,
        rngs=nnx.Rngs(0),
    )
    x = rng.standard_normal((2, size, size, 6)).astype(np.float32)
    value = lambda layer, x: (layer(x) ** 2).sum()
    found = []
    for quick in (False, True):
        if quick:
            quicken(layer)
            assert layer.conv_general_dilated is convolve
        found.append(jax.tree.leaves(nnx.grad(value, argnums=(0, 1))(layer, x)))
        text = str(jax.make_jaxpr(lambda x: layer(x))(x))
        other += quick and "conv_general_dilated" not in text
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-4)
print("computed otherwise:", other)
"""


@pytest.mark.slow
def test_values_and_gradients_are_the_same(installed):
    installed("jax")
    python = environments.required("jax").python
    command = [str(python), "-c", CHECK, str(WORKERS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "computed otherwise: 7" in done.stdout
