"""Unknown operators; what is tied, why something stays, what must not go."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import Tensor, nn
from torch.nn import functional

import spa
from spa.cli.main import main
from spa.coupling.rules.base import RULES
from tests.coupling.cases import described, kept, prove
from tests.graphs import Builder, initializer
from tests.oracles import run
from tests.what_users_ask_for.asked import check, exported

# --- Operators without a rule (item 10) -------------------------------------------------------


def _two_stages(op: str) -> onnx.ModelProto:
    """Two stages of convolutions; what lies between them is an operator of another domain."""
    g = Builder()
    x = g.node("Relu", [g.conv(g.input(3, 4, 4), 3, 8)])
    x = g.conv(x, 8, 6)
    if op == "Inverse":  # far from singular, or rounding grows beyond what is compared
        x = g.node("Add", [x, g.weight(np.float32(20 * np.eye(4)).reshape(1, 1, 4, 4), "eye")])
    x = g.node(op, [x], domain="com.microsoft")
    x = g.node("Relu", [g.conv(x, 6, 8)])
    return g.model(g.conv(x, 8, 5))


def test_hard_swish_is_followed():
    """microsoft/nni#5172: "Has not supported replacing module with type: Hardswish"."""
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Hardswish(), nn.Conv2d(8, 5, 1))
    check(exported(net, 3, 6, 6), "8: 0.bias.0 0.weight.0 2.weight.1")


def test_an_operator_without_a_rule_keeps_only_what_it_touches():
    """microsoft/nni#4635, #4885: one unknown operator stopped everything."""
    proto = _two_stages("Inverse")
    assert described(proto) == ["8: b0.0 w0.0 w1.1", "8: b2.0 w2.0 w3.1"]
    reason = kept(proto)["w1.0"]
    assert reason.startswith("6 of 6: ")
    assert 'com.microsoft::Inverse "n_inverse_0"' in reason
    prove(proto)


def test_one_function_teaches_an_operator(monkeypatch):
    """A plug-in is one function: triangles of matrices are taken apart, so channels pass."""

    def triangle(node, tracker):
        layers = tracker.keep_axes(tracker.read(node, 0), [2, 3], node, "a triangle is cut")
        tracker.write(node, layers)

    monkeypatch.setitem(RULES, "com.microsoft::Trilu", triangle)
    proto = _two_stages("Trilu")
    assert described(proto) == ["6: b1.0 w1.0 w2.1", "8: b0.0 w0.0 w1.1", "8: b2.0 w2.0 w3.1"]
    prove(proto)


def test_control_flow_does_not_stop_the_rest():
    """microsoft/nni#2922, #3050: models with control flow could not even be traced.

    The condition is a mean over channels, and another one without some of them.
    """
    g = Builder()
    x = g.node("Relu", [g.conv(g.input(3, 4, 4), 3, 8)])
    y = g.conv(x, 8, 6)
    positive = g.node("Greater", [g.reduce("ReduceMean", y, [0, 1, 2, 3], keepdims=0),
                                  g.weight(np.float32(0), "zero")])  # fmt: skip
    branches = {}
    for name, op in (("then_branch", "Relu"), ("else_branch", "Neg")):
        node = helper.make_node(op, [y], [f"{name}_out"])
        out = helper.make_tensor_value_info(f"{name}_out", onnx.TensorProto.FLOAT, None)
        branches[name] = helper.make_graph([node], name, [], [out])
    z = g.node("If", [positive], **branches)
    proto = g.model(g.conv(z, 6, 5))
    assert described(proto) == ["8: b0.0 w0.0 w1.1", "~6: b1.0 w1.0 w2.1"]
    pruned = prove(proto, plain=False, equal=False)
    assert [n.op_type for n in pruned.graph.node] == [n.op_type for n in proto.graph.node]


# --- What is tied, why something stays, what must not go (item 15) ----------------------------


class Residual(nn.Module):
    """A stem, a block that is added to it, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.up, self.down = nn.Conv2d(8, 16, 1, bias=False), nn.Conv2d(16, 8, 1, bias=False)
        self.head = nn.Conv2d(8, 5, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn(self.stem(x)))
        return self.head(x + self.down(functional.relu(self.up(x))))


def _inspected(proto: onnx.ModelProto, tmp_path, capfd) -> tuple[dict, str]:
    path = tmp_path / "model.onnx"
    onnx.save(proto, path)
    texts = []
    for extra in (["--json"], []):
        capfd.readouterr()
        assert main(["inspect", str(path), *extra]) == 0
        texts.append(capfd.readouterr().out)
    return json.loads(texts[0]), texts[1]


def test_inspect_says_which_layers_are_tied(tmp_path, capfd):
    """VainF/Torch-Pruning#193, #482, #483: which layers must be pruned along with this one?"""
    document, text = _inspected(exported(Residual(), 3, 6, 6), tmp_path, capfd)
    tied = {(m["name"], m["axis"]) for m in document["groups"][0]["members"]}
    batch_norm = {(f"bn.{n}", 0) for n in ("weight", "bias", "running_mean", "running_var")}
    assert tied == batch_norm | {
        ("stem.weight", 0), ("down.weight", 0), ("up.weight", 1), ("head.weight", 1),
    }  # fmt: skip
    for name, axis in tied:
        assert f"{name} axis {axis}" in text


def test_a_group_is_found_from_the_inputs_of_its_reader():
    """VainF/Torch-Pruning#520: groups were listed by output channels alone."""
    groups = spa.find_groups(spa.load(exported(Residual(), 3, 6, 6)))
    (inner,) = [
        g for g in groups if ("down.weight", 1) in [(m.name, m.axis.axis) for m in g.members]
    ]
    assert {(m.name, m.axis.axis) for m in inner.members} == {("up.weight", 0), ("down.weight", 1)}


def test_inspect_says_why_something_is_not_pruned(tmp_path, capfd):
    """VainF/Torch-Pruning#356: a layer stayed as it was, and nothing said why."""
    document, text = _inspected(exported(Residual(), 3, 6, 6), tmp_path, capfd)
    reasons = {(entry["name"], entry["axis"]): entry["reason"] for entry in document["kept"]}
    assert reasons["head.weight", 0] == "it is an output of the model"
    assert "Conv" in reasons["stem.weight", 1]
    assert "head.weight axis 0 (5): it is an output of the model" in text


class Model(nn.Module):
    """A backbone of convolutions and a head of linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x).mean((2, 3)))


@pytest.mark.parametrize(
    ("limits", "widths"),
    [
        ({"include": ["backbone.*"]}, (4, 3, 10)),
        ({"exclude": ["head.0.*"]}, (4, 6, 10)),  # neither what it reads nor what it makes
        ({"exclude": ["head.2.*"]}, (4, 3, 10)),
        ({"include": ["head.2.weight"]}, (8, 6, 5)),
    ],
)
def test_only_a_part_is_pruned(limits, widths):
    """NVIDIA/Model-Optimizer#176: prune the backbone alone, or all but some layers."""
    proto = exported(Model(), 3, 8, 8)
    limits = spa.Limits(scope="local", **limits)
    result = spa.prune(proto, ratio=0.5, limits=limits)
    names = ("backbone.0.bias", "backbone.2.bias", "head.0.bias")
    assert tuple(initializer(result.model, name).size for name in names) == widths
    assert result.proof.equal


def test_no_part_is_left_to_be_pruned():
    limits = spa.Limits(include=["*.0.weight"], exclude=["*.2.*"])
    with pytest.raises(spa.InfeasibleTarget, match="leave no group that may shrink"):
        spa.prune(exported(Model(), 3, 8, 8), ratio=0.5, limits=limits)


@pytest.mark.parametrize("least", [1, 3])
def test_no_layer_is_wiped_out(least):
    """VainF/Torch-Pruning#8, Eric-mingjie/rethinking-network-pruning#18, microsoft/nni#2335: a
    layer of small weights lost all its channels in a global ranking, and the model broke."""
    net = Residual()
    with torch.no_grad():
        net.up.weight.mul_(1e-6)
        net.down.weight.mul_(1e-6)
    proto = exported(net, 3, 6, 6)
    limits = spa.Limits(scope="global", min_channels=least, max_ratio=1.0)
    result = spa.prune(proto, ratio=0.7, normalize="none", limits=limits)
    assert initializer(result.model, "up.weight").shape[0] == least
    assert result.proof.equal
    (output,) = run(result.model, {"input": np.ones((1, 3, 6, 6), np.float32)}).values()
    assert np.isfinite(output).all()
