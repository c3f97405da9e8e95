"""A pruned shape from fresh weights: of the shape, of the fresh draw, and for as long as asked."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import spa
from experiments.config.settings import dense_key
from experiments.data import load
from experiments.models.network import fresh
from experiments.runs.scratch import lengthened, with_fresh_weights
from experiments.times import Drawn, Once
from experiments.training.budget import Budget
from spa.errors import SettingError
from spa.graph.execute import run


def values(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def test_shapes_are_the_pruned_ones_and_weights_a_fresh_draw():
    data = load({"name": "digits"})
    (_, dense), (_, other) = (fresh("resnet8", data, seed) for seed in (0, 1))
    pruned = spa.prune(dense, rf=3.0).model
    made = with_fresh_weights(pruned, other)
    onnx.checker.check_model(made, full_check=True)
    old, new, drawn = values(pruned), values(made), values(other)
    assert {n: v.shape for n, v in new.items()} == {n: v.shape for n, v in old.items()}
    assert [node.op_type for node in made.graph.node] == [n.op_type for n in pruned.graph.node]
    # Any seed's entries have one spread: that of the initialiser, for layers narrower than these.
    wide = [n for n, v in new.items() if v.ndim == 4 and v.size > 1000 and n in drawn]
    assert wide
    for name in wide:
        shrunk = drawn[name].size / new[name].size
        assert new[name].std() == pytest.approx(drawn[name].std() * shrunk**0.25, rel=0.1)
        assert abs(np.corrcoef(new[name].ravel(), old[name].ravel())[0, 1]) < 0.15
    (x,) = data.example().values()
    assert np.isfinite(run(made, {made.graph.input[0].name: x})[0]).all()


def test_a_weight_that_the_network_does_not_have_is_named():
    data = load({"name": "digits"})
    _, dense = fresh("resnet8", data, 0)
    other = onnx.ModelProto()
    other.CopyFrom(dense)
    name = next(t.name for t in other.graph.initializer if len(t.dims) == 4)
    for tensor in other.graph.initializer:
        if tensor.name == name:
            tensor.name = "another"
    with pytest.raises(SettingError, match=f"time=scratch finds no fresh weights for {name}"):
        with_fresh_weights(dense, other)


def test_equal_flops_are_as_many_more_epochs():
    budget = Budget(epochs=20, batch=8, schedule="multistep", milestones=(10, 15), warmup=2)
    assert lengthened(budget, Drawn(), 2.6) == budget == lengthened(budget, Once(), 2.6)
    longer = lengthened(budget, Drawn("flops"), 2.6)
    assert (longer.epochs, longer.milestones, longer.warmup) == (52, (26, 39), 5)


def test_the_time_is_a_run_of_its_own_beside_the_same_dense_network(parsed):
    tuned, equal, longer = (
        parsed(*time) for time in (
            ("time=train_prune_finetune",), ("time=scratch",),
            ("time=scratch", "time.budget=flops"),
        )
    )  # fmt: skip
    assert len({s.run_id for s in (tuned, equal, longer)}) == 3
    assert len({dense_key(s) for s in (tuned, equal, longer)}) == 1
    with pytest.raises(SettingError, match="unknown time scratch.budget"):
        parsed("time=scratch", "time.budget=hours")
    with pytest.raises(SettingError, match="time=scratch trains from fresh weights, which model="):
        parsed("time=scratch", "framework=tensorflow", "model=resnet20")
