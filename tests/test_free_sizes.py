"""Networks that take many sizes are pruned at the default example, and right at sizes never seen.

The oracle is its own: the dense file with the plan's slices at zero, and the pruned file, both on
ONNX Runtime, at ten tuples of sizes at which nothing ran while SPA worked. Every element counts: it
is held to the largest value of its own line along any axis, not to that of the whole tensor.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

import spa
from spa.graph.nodes import real_inputs
from tests.free_sizes import NETWORKS, Network
from tests.oracles import run, zeroed_dense

# What float32 rounds by, in networks as shallow as these, as a share of a line's largest value.
ROUNDING = 1e-4
TUPLES = 10

Shapes = frozenset[tuple[str, tuple[int, ...]]]


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    torch.set_num_threads(1)


@contextlib.contextmanager
def recorded() -> Iterator[set[Shapes]]:
    """The shapes of all inputs that ONNX Runtime is given meanwhile."""
    seen: set[Shapes] = set()
    by_array, by_value = ort.InferenceSession.run, ort.InferenceSession.run_with_ort_values

    def run_arrays(self, names, feeds, *more):
        seen.add(frozenset((k, tuple(np.shape(v))) for k, v in feeds.items()))
        return by_array(self, names, feeds, *more)

    def run_values(self, names, feeds, *more):
        seen.add(frozenset((k, tuple(v.shape())) for k, v in feeds.items()))
        return by_value(self, names, feeds, *more)

    with (
        mock.patch.object(ort.InferenceSession, "run", run_arrays),
        mock.patch.object(ort.InferenceSession, "run_with_ort_values", run_values),
    ):
        yield seen


def line_scale(want: np.ndarray) -> np.ndarray:
    """For each element, the least of the largest values of the lines it lies in, one per axis.

    Scores of 0.01 beside boxes of 640 have their own line along one axis, whichever that is.
    """
    size = np.abs(want)
    if want.ndim == 0:
        return size
    scale = np.full(want.shape, np.inf)
    for axis in range(want.ndim):
        others = tuple(k for k in range(want.ndim) if k != axis)
        scale = np.minimum(scale, size.max(axis=others, keepdims=True))
    return scale


def furthest(want: np.ndarray, have: np.ndarray) -> float:
    """Largest difference of two arrays, each element's as a share of what rounding may be there."""
    want, have = np.asarray(want, np.float64), np.asarray(have, np.float64)
    if not want.size:
        return 0.0
    return float((np.abs(want - have) / (ROUNDING * line_scale(want) + 1e-12)).max())


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
    reference = zeroed_dense(dense, result.plan.to_json())
    wrong, compared = [], 0
    for sizes in network.tried:
        feeds = network.feeds(sizes, seed=1)
        if frozenset((k, v.shape) for k, v in feeds.items()) in seen or compared == TUPLES:
            continue
        compared += 1
        expected = run(reference, feeds, optimize=False)
        assert all(np.isfinite(value).all() for value in expected.values())
        try:
            got = run(result.model, feeds, optimize=False)
        except Exception as error:  # ONNX Runtime's exceptions share no base but Exception.
            wrong.append(f"{sizes}: fails: {' '.join(str(error).split())[:120]}")
            continue
        for name, want in expected.items():
            if want.shape != got[name].shape:
                wrong.append(f"{sizes}: {name} {got[name].shape} instead of {want.shape}")
            elif exact and (far := furthest(want, got[name])) > 1:
                wrong.append(f"{sizes}: {name} differs by {far * ROUNDING:.1e} of its line")
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
        inexact = [
            group.members[0].name for group in spa.find_groups(spa.load(dense)) if not group.exact
        ]
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
    assert furthest(want, have) > 1
    assert furthest(want, want * (1 + 1e-6)) <= 1
