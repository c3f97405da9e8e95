"""docs/check.py, which shares nothing with SPA, finds prunings right, and wrong ones wrong."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest

import spa
from tests.documents import ROOT
from tests.graphs import Builder, classifier


def _constants():
    """Weights in Constant nodes, as PaddlePaddle's exporter writes them."""
    proto = classifier()
    tensors = list(proto.graph.initializer)
    del proto.graph.initializer[:]
    for tensor in tensors:
        node = onnx.helper.make_node("Constant", [], [tensor.name], value=tensor)
        proto.graph.node.insert(0, node)
    return proto


def _transposed():
    """Linear layers of torch's own: the weight behind a Transpose, the bias in an Add."""
    g = Builder()
    x = g.input(16)
    for i, o in ((16, 24), (24, 5)):
        turned = g.node("Transpose", [g.normal(o, i)], perm=[1, 0])
        x = g.node("Add", [g.node("MatMul", [x, turned]), g.normal(o)])
        x = g.node("Relu", [x]) if i == 16 else x
    return g.model(x)


def _recurrent():
    g = Builder()
    x = g.input(6, 8)
    turned = g.node("Transpose", [x], perm=[1, 0, 2])
    weights = [g.normal(1, 64, 8), g.normal(1, 64, 16), g.normal(1, 128)]
    y = g.node("LSTM", [turned, *weights], hidden_size=16)
    last = g.reduce("ReduceMean", y, [0, 1], keepdims=0)
    return g.model(g.gemm(last, 16, 5))


def _shared():
    """One vector of ones in two batch norms: each read is cut on its own."""
    proto = classifier()
    norms = [n for n in proto.graph.node if n.op_type == "BatchNormalization"]
    for node in norms:
        node.input[1] = norms[0].input[1]
    return proto


def _checked(dense, small, plan, tmp_path):
    onnx.save(dense, tmp_path / "model.onnx")
    onnx.save(small, tmp_path / "small.onnx")
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    files = [str(tmp_path / each) for each in ("model.onnx", "small.onnx", "plan.json")]
    words = [sys.executable, ROOT / "docs" / "check.py", *files]
    return subprocess.run(words, capture_output=True, text=True)


@pytest.mark.parametrize("make", [classifier, _constants, _transposed, _recurrent, _shared])
def test_a_pruning_is_found_right(make, tmp_path):
    dense = make()
    result = spa.prune(dense, ratio=0.4, criterion="random")
    done = _checked(dense, result.model, result.plan.to_json(), tmp_path)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) < 1e-5
    assert any(r.uses for r in result.plan.parameters) == (make is _shared)


def test_a_wrong_one_is_found_wrong(tmp_path):
    dense = classifier()
    result = spa.prune(dense, ratio=0.4)
    tensor = next(t for t in result.model.graph.initializer if len(t.dims) == 4)
    values = onnx.numpy_helper.to_array(tensor) * np.float32(1.01)
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    done = _checked(dense, result.model, result.plan.to_json(), tmp_path)
    assert float(done.stdout.split()[-1]) > 1e-4


def test_refitted_weights_are_checked_on_the_file_that_holds_them(tmp_path):
    import spa.obspa

    result = spa.obspa.prune(classifier(), ratio=0.4, calibration="noise", samples=16)
    done = _checked(result.reconstructed, result.model, result.plan.to_json(), tmp_path)
    assert "refitted" in done.stdout
    assert float(done.stdout.split()[-1]) < 1e-5
