"""Networks that take many sizes are pruned at the default example, and right at sizes never seen.

The oracle is its own: the dense file with the plan's slices at zero, and the pruned file, both on
ONNX Runtime, at ten tuples of sizes at which nothing ran while SPA worked.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import pytest
import torch

import spa
from spa.graph.nodes import real_inputs
from tests.comparing import ROUNDING, Shapes, furthest, recorded, shapes_of
from tests.free_sizes import NETWORKS, Network
from tests.oracles import session, zeroed_dense

TUPLES = 10


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    torch.set_num_threads(1)


def outcomes(
    dense: onnx.ModelProto,
    result: spa.Pruned,
    network: Network,
    seen: set[Shapes],
    *,
    exact: bool = True,
) -> list[str]:
    """What is wrong, a line for each tuple of sizes that had not been seen.

    Where the plan is not exact, the pruned file has to run and to keep its output's shapes.
    """
    reference = session(zeroed_dense(dense, result.plan.to_json()), optimize=False)
    pruned = session(result.model, optimize=False)
    wrong, compared = [], 0
    for sizes in network.tried:
        feeds = network.feeds(sizes, seed=1)
        if shapes_of(feeds) in seen or compared == TUPLES:
            continue
        compared += 1
        wants = reference.run(None, feeds)
        assert all(np.isfinite(want).all() for want in wants)
        try:
            haves = pruned.run(None, feeds)
        except Exception as error:  # ONNX Runtime's exceptions share no base but Exception.
            wrong.append(f"{sizes}: fails: {' '.join(str(error).split())[:160]}")
            continue
        for want, have in zip(wants, haves, strict=True):
            if want.shape != have.shape:
                wrong.append(f"{sizes}: {have.shape} instead of {want.shape}")
            elif exact and (far := furthest([want], [have])) > 1:
                wrong.append(f"{sizes}: differs by {far * ROUNDING:.1e} of its line")
    assert compared == TUPLES, f"{compared} tuples of sizes were left to compare at"
    return wrong


def cases() -> Iterator[object]:
    """Each network by each exporter; torch.export takes ten seconds, so most of its wait."""
    for name, network in NETWORKS.items():
        for exporter in network.exporters:
            waits = exporter == "dynamo" and name not in ("unet", "axial", "chunked", "tsm")
            mark = pytest.mark.long if waits and len(network.exporters) > 1 else pytest.mark.slow
            yield pytest.param(name, exporter, marks=mark)


@pytest.mark.parametrize(("name", "exporter"), cases())
def test_a_network_is_right_at_sizes_that_were_never_seen(name, exporter):
    network = NETWORKS[name]
    dense = network.exported(exporter)
    with recorded() as seen:
        groups = spa.find_groups(spa.load(dense))
        inexact = [group.members[0].name for group in groups if not group.exact]
        result = spa.prune(dense, ratio=0.5, limits=spa.Limits(exclude=inexact))
        whole = spa.prune(dense, ratio=0.5) if inexact else None
    assert {v.name for v in real_inputs(dense.graph)} == set(network.feeds(network.traced))
    assert result.reached.rp >= network.rp
    wrong = outcomes(dense, result, network, seen)
    if whole is not None:  # a norm over what goes is not exact, but it runs
        wrong += outcomes(dense, whole, network, seen, exact=False)
    assert not wrong, "\n".join(wrong)


def test_a_small_part_of_a_tensor_counts_as_much_as_a_large_one():
    """Scores beside boxes: off by a tenth, they are 1e-5 of the whole tensor's scale."""
    boxes, scores = np.full((1, 4, 9), 640.0), np.full((1, 3, 9), 0.01)
    want = np.concatenate([boxes, scores], 1)
    have = np.concatenate([boxes, 1.1 * scores], 1)
    assert furthest([want], [have]) > 1
    assert furthest([want], [want * (1 + 1e-6)]) <= 1


def test_a_number_that_is_none_counts_as_different():
    want, have = np.ones((2, 3)), np.ones((2, 3))
    have[1, 2] = np.nan
    assert furthest([want], [have]) == float("inf")
    assert furthest([have], [have]) == 0
