"""The plan of one small model, written down: it may change on purpose only.

To renew it after such a change: ``python -m tests.pruning.test_golden_plan``.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

import spa
from tests.graphs import classifier

GOLDEN = Path(__file__).parents[1] / "golden" / "classifier_l1_rf2.json"


def _model() -> onnx.ModelProto:
    """Weights that no library's generator decides."""
    proto = classifier()
    for number, tensor in enumerate(proto.graph.initializer):
        size = int(np.prod(tensor.dims))
        wave = np.sin(np.arange(1, size + 1) * (number + 1) * 0.7).astype(np.float32)
        if tensor.name.startswith("var"):
            wave = np.abs(wave) + np.float32(0.5)
        wave = wave.reshape(tuple(tensor.dims)).round(3)
        tensor.CopyFrom(numpy_helper.from_array(wave, tensor.name))
    return proto


def _plan() -> dict:
    document = spa.prune(_model(), rf=2.0).plan.to_json()
    document["reached"] = {name: round(value, 6) for name, value in document["reached"].items()}
    # How a protobuf is written is not SPA's.
    document["model"] = "-"
    return document


def test_the_plan_is_what_it_was():
    assert _plan() == json.loads(GOLDEN.read_text())


def test_two_calls_give_the_same_bytes():
    first, second = (spa.prune(_model(), rf=2.0, criterion="random", seed=3) for _ in range(2))
    assert first.plan == second.plan
    assert first.model.SerializeToString(deterministic=True) == second.model.SerializeToString(
        deterministic=True
    )


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps(_plan(), indent=1) + "\n")
