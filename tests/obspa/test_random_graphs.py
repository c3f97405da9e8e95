"""Random convolutional graphs: whatever is refitted, the cut is proven against it."""

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import spa
import spa.obspa
from tests.random_graphs import Drawn, graphs


@pytest.mark.slow
@settings(
    max_examples=40,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(
    drawn=graphs(),
    calibration=st.sampled_from(("bn", "noise", "uniform")),
    changes=st.fixed_dictionaries(
        {
            "selection": st.sampled_from(("obs", "l1")),
            "target_outputs": st.sampled_from(("dense", "own")),
            "batch_norms": st.sampled_from(("keep", "refresh", "relative")),
            "batch_statistics": st.booleans(),
        }
    ),
)
def test_random_graphs_are_refitted_and_proven(drawn: Drawn, calibration, changes):
    before = drawn.proto.SerializeToString(deterministic=True)
    quick = spa.obspa.Settings(samples=8, **changes)
    result = spa.obspa.prune(drawn.proto, ratio=0.4, calibration=calibration, settings=quick)
    assert drawn.proto.SerializeToString(deterministic=True) == before
    assert result.proof.equal == result.plan.exact
    refitted = spa.load(result.reconstructed)
    assert refitted.sha256 == result.plan.weights
