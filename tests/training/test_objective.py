"""What is trained for: any loss, several inputs by name, targets that do not count."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import spa
from spa.bridge import to_torch
from spa.training.feed import Feed
from spa.training.how import Training
from spa.training.loop import arguments, fit
from spa.training.objective import IGNORED, Objective, labels

WANTED = np.float32([[1.0, -2.0], [0.5, 3.0]])


def two_inputs():
    """A file that gives left @ W - right."""
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("MatMul", ["left", "W"], ["product"]),
        helper.make_node("Sub", ["product", "right"], ["out"]),
    ]
    graph = helper.make_graph(
        nodes,
        "difference",
        [value(name, TensorProto.FLOAT, ["N", 2]) for name in ("left", "right")],
        [value("out", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(np.zeros((2, 2), np.float32), "W")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def batches(epoch: int):
    rng = np.random.default_rng(epoch)
    for _ in range(20):
        left, right = rng.standard_normal((2, 16, 2)).astype(np.float32)
        # Named in another order than the file's, with one that it does not take.
        yield {"right": right, "more": right, "left": left}, left @ WANTED - right


def test_a_network_of_two_inputs_is_trained_by_any_loss():
    net, rows = to_torch(two_inputs()), []
    objective = Objective(lambda outputs, targets: (outputs[0] - targets).square().sum())
    fit(
        net,
        Feed(batches, lambda epoch, step: 0.2, 3, 20, 16),
        Training(momentum=0.0),
        report=rows.append,
        objective=objective,
    )
    np.testing.assert_allclose(net.weights["W"].detach().numpy(), WANTED, atol=1e-3)
    assert rows[-1]["loss"] < 1e-4 < rows[0]["loss"]
    assert "accuracy" not in rows[0]


def test_what_is_ignored_does_not_count():
    scores = torch.eye(3)[None]  # (1, 3 classes, 3 places): guesses 0, 1, 2
    objective = Objective(lambda outputs, targets: scores.sum(), lambda outputs: scores.argmax(1))
    assert objective.right((scores,), torch.tensor([[0, 1, 2]])) == 1
    assert objective.right((scores,), torch.tensor([[0, 2, IGNORED]])) == 0.5
    assert objective.right((scores,), torch.full((1, 3), IGNORED)) == 0


def test_the_loss_of_labels_is_cross_entropy():
    scores = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    found = labels().loss((scores,), torch.tensor([0, 1]))
    assert float(found) == pytest.approx(np.log(1 + np.exp(-2)) + np.log(2), rel=1e-6)
    assert float(labels(0.5).loss((scores,), torch.tensor([0, 1]))) > float(found)


def test_inputs_go_by_name_where_there_are_several():
    x, y = np.zeros(1), np.ones(1)
    assert arguments(nn.Identity(), {"b": y, "a": x}) == [y, x]
    assert arguments(to_torch(two_inputs()), {"right": y, "left": x}) == [x, y]
    with pytest.raises(spa.SettingError, match=r"takes left, right, .* have left; there is no rig"):
        arguments(to_torch(two_inputs()), {"left": x})
