"""At least 300 random graphs: every pruned model is proven by SPA and by oracles of its own.

Each shard draws its own graphs from a fixed seed, so that workers share them.
`SPA_RANDOM_SHARDS=100` hunts longer.
"""

from __future__ import annotations

import json
import os

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import spa
from spa.coupling.couple import Cut
from spa.pruning.plan import cut_of
from tests.oracles import assert_change_stays_inside, assert_equals_zeroed
from tests.random_graphs import Drawn, graphs

SHARDS = int(os.environ.get("SPA_RANDOM_SHARDS", "10"))
PER_SHARD = 34
PERTURBED_SHARDS = max(4, SHARDS // 2)
PERTURBED_PER_SHARD = 25


def calm(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )


def plans(draw, model: spa.Model, groups: spa.Groups):
    """A local plan, and a global one of another criterion."""
    for scope in ("local", "global"):
        criterion = draw(st.sampled_from(("l1", "l2", "random")))
        scores = spa.score(model, groups, criterion, seed=draw(st.integers(0, 99)))
        limits = spa.Limits(scope=scope, round_to=draw(st.sampled_from((1, 1, 2, 4))))
        target = draw(st.sampled_from(("ratio", "ratio", "rf", "rp")))
        value = draw(st.sampled_from((0.25, 0.5, 0.8)))
        if target != "ratio":
            value = 1 + value
        try:
            yield spa.make_plan(groups, scores, spa.Target(**{target: value}), limits)
        except spa.InfeasibleTarget as error:
            if not 1.0 <= error.reachable < error.asked:
                raise AssertionError(f"{error.reachable} of {error.asked}") from error


def serialised(proto: onnx.ModelProto) -> bytes:
    return proto.SerializeToString(deterministic=True)


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
def test_pruned_random_graphs_equal_the_zeroed_dense_ones(shard):
    @calm(PER_SHARD)
    @seed(shard)
    @given(drawn=graphs(), data=st.data())
    def holds(drawn: Drawn, data) -> None:
        before = serialised(drawn.proto)
        model = spa.load(drawn.proto)
        groups = spa.find_groups(model)
        assert len(groups) >= 1
        for plan in plans(data.draw, model, groups):
            pruned = spa.apply_plan(model, plan, groups)
            proof = spa.verify(model, pruned, plan, groups)
            document = json.loads(json.dumps(plan.to_json()))
            assert proof.equal == plan.exact
            if plan.exact:
                batches = (1, 3) if isinstance(drawn.batch, str) else (drawn.batch,)
                assert_equals_zeroed(drawn.proto, pruned, document, batches=batches)
            # A fresh call, from the plan's JSON alone, gives the same bytes.
            again = spa.apply_plan(spa.load(drawn.proto), spa.Plan.from_json(document))
            assert serialised(again) == serialised(pruned)
        assert serialised(drawn.proto) == before

    holds()


def _expected(model: spa.Model, cut: Cut, name: str) -> list[tuple[int, np.ndarray]]:
    """Axis and indices of every removed channel of a tensor that some producer's noise must reach.

    Left out are entries that no producer makes: padding, and what is known from its reader alone.
    """
    coupling = cut.coupling
    loud = np.array([axis.is_parameter and not _is_consumed(model, axis) for axis in coupling.axes])
    found = []
    for layer in coupling.layers.get(name, []):
        axes = [k for k in range(layer.ndim) if layer.shape[k] > 1]
        if len(axes) != 1:
            continue
        labels = layer.reshape(-1)
        components = coupling.components.of[labels]
        goes = cut.removed[labels] & loud[coupling.axis_of_label[labels]]
        for component in np.unique(components[goes]):
            found.append((axes[0], np.flatnonzero(goes & (components == component))))
    return found


def _is_consumed(model: spa.Model, axis) -> bool:
    """Whether a parameter axis is what a contraction sums over."""
    for node in model.graph.nodes:
        if axis.tensor not in node.inputs:
            continue
        position = node.inputs.index(axis.tensor)
        if node.op == "Conv" and position == 1:
            return axis.axis == 1
        if node.op == "ConvTranspose" and position == 1:
            return axis.axis == 0
        if node.op == "Gemm" and position == 1:
            return axis.axis == (1 if node.attr("transB", 0) else 0)
        if node.op == "MatMul":
            rank = len(model.shapes[axis.tensor])
            return axis.axis == (rank - 2 if position == 1 else rank - 1)
    return False


def _after_inexact(model: spa.Model, cut: Cut) -> set[str]:
    """Tensors from the first operator on at which a removal is not exact."""
    tainted: set[str] = set()
    nodes = {remark.node for remark in cut.coupling.inexact if cut.removed[remark.labels].any()}
    for node in model.graph.nodes:
        if node.index in nodes or tainted.intersection(node.inputs):
            tainted.update(node.outputs)
    return tainted


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(PERTURBED_SHARDS))
def test_a_change_of_what_goes_reaches_exactly_the_predicted_slices(shard):
    @calm(PERTURBED_PER_SHARD)
    @seed(1000 + shard)
    @given(drawn=graphs(plain=True, max_blocks=4), data=st.data())
    def holds(drawn: Drawn, data) -> None:
        model = spa.load(drawn.proto)
        groups = spa.find_groups(model)
        for plan in plans(data.draw, model, groups):
            cut = cut_of(plan, groups.coupling)
            names = [name for node in model.graph.nodes for name in node.outputs if name]
            assert_change_stays_inside(
                drawn.proto,
                plan.to_json(),
                {name: cut.of_tensor(name) for name in names},
                skip=_after_inexact(model, cut),
                reached={name: _expected(model, cut, name) for name in names},
            )

    holds()
