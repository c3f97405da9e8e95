"""Modules of Flax's older kind: exported and pruned as ONNX."""

from __future__ import annotations

import pytest

import spa
from spa.errors import FrameworkError
from spa.frameworks import framework
from tests.frameworks.test_round_trip import NETWORKS

pytestmark = pytest.mark.slow


def test_a_linen_module_with_its_variables_goes_in(installed):
    installed("jax")
    proto = framework("jax").export(f"{NETWORKS}/small_linen.py:small", [(8, 8, 3)])
    result = spa.prune(proto, ratio=0.5)
    assert result.proof.equal
    # The residual stream, which the first convolution writes, and nothing but the ends stay.
    assert [group.channels for group in result.plan.groups] == [16]
    assert result.reached.rp > 2


def test_a_linen_module_alone_is_refused(installed):
    installed("jax")
    with pytest.raises(FrameworkError, match="holds no weights; give them beside it"):
        framework("jax").export(f"{NETWORKS}/small_linen.py:no_weights", [(8, 8, 3)])
