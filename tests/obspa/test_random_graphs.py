"""Random graphs: whatever is refitted, the cut is proven against it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import spa
import spa.obspa
from tests.random_graphs import BLOCKS, Drawn, graphs
from tests.random_graphs.independent import calm

# Families whose operators the bridge to PyTorch has.
FAMILIES = (
    "convolution", "folding", "joining", "mlp", "movement", "norms", "reductions", "resampling",
    "spatial",
)  # fmt: skip
# Before opset 13 it has no Hardmax.
NAMES = tuple(n for n, b in BLOCKS.items() if b.family in FAMILIES and n != "hard_choice")


@pytest.mark.slow
@calm(40, shrink=False)
@given(
    drawn=graphs(sources=("image", "sequence"), names=NAMES),
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
