"""Gradients and batch norm statistics are torch's own, and training works."""

import copy

import pytest
import torch
from oracle import compare, difference, randomise, run_onnx, run_torch, text_model
from torch import nn
from torch.nn import functional

from spa.bridge import from_torch, to_onnx, to_torch
from spa.bridge.torchvision_shim import import_torchvision


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(0)
    module = randomise(import_torchvision().models.resnet18(num_classes=10))
    return module, from_torch(module, torch.randn(2, 3, 32, 32))


def test_gradients_in_train_mode(resnet):
    module, proto = copy.deepcopy(resnet[0]).train(), resnet[1]
    net = to_torch(proto).train()
    x, y = torch.randn(8, 3, 32, 32), torch.randint(10, (8,))
    functional.cross_entropy(module(x), y).backward()
    functional.cross_entropy(net(x), y).backward()
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(net.weights[name].grad, parameter.grad, rtol=1e-3, atol=1e-5)
    state = module.state_dict()
    for name, statistic in net.statistics.items():
        torch.testing.assert_close(statistic, state[name])


@pytest.mark.parametrize("momentum", [0.1, 0.3])
@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_statistics_move_as_in_torch(momentum, exporter):
    module = randomise(nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5, momentum=momentum)))
    proto = from_torch(module, torch.randn(2, 3, 8, 8), exporters=(exporter,))
    net = to_torch(proto).train()
    module.train()
    for _ in range(3):
        x = torch.randn(4, 3, 8, 8) + 1
        torch.testing.assert_close(net(x), module(x))
    for name, statistic in net.statistics.items():
        torch.testing.assert_close(statistic, module.state_dict()[name])
    feed = {"input": torch.randn(2, 3, 8, 8).numpy()}
    with torch.no_grad():
        expected = [module.eval()(torch.from_numpy(feed["input"])).numpy()]
    assert difference(run_torch(net.eval(), feed), expected) <= 1e-5
    assert difference(run_onnx(to_onnx(net, proto), feed), expected) <= 1e-5


def test_one_norm_in_train_mode_leaves_the_others(resnet):
    net = to_torch(resnet[1])
    before = {name: value.clone() for name, value in net.statistics.items()}
    step = next(step for step in net.steps if step.op == "BatchNormalization")
    step.run.train()
    net(torch.randn(4, 3, 32, 32))
    moved = {n for n, value in net.statistics.items() if not torch.equal(value, before[n])}
    assert moved == set(step.inputs[3:])


def test_walking_the_steps_equals_forward(resnet):
    net = to_torch(resnet[1])
    values = {**net.constants(), "input": torch.randn(2, 3, 32, 32)}
    with torch.no_grad():
        for step in net.steps:
            outputs = step.run(*(values[name] if name else None for name in step.inputs))
            values.update(zip(step.outputs, outputs, strict=False))
        assert torch.equal(values["output"], net(values["input"]))


def test_three_steps_lower_the_loss_and_reach_the_file(resnet):
    proto = resnet[1]
    net = to_torch(proto).train()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.02)
    x, y = torch.randn(8, 3, 32, 32), torch.randint(10, (8,))
    losses = []
    for _ in range(4):
        loss = functional.cross_entropy(net(x), y)
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses[-1] < losses[0]
    before = proto.SerializeToString()
    tuned = to_onnx(net.eval(), proto)
    assert proto.SerializeToString() == before
    feed = {"input": x.numpy()}
    assert difference(run_torch(net, feed), run_onnx(tuned, feed)) <= 1e-4
    assert difference(run_onnx(tuned, feed), run_onnx(proto, feed)) > 1e-3


def test_scale_and_shift_written_as_mul_and_add_train():
    # Keras writes batch norm this way; MatMul weights come as plain operands.
    proto = text_model(
        """
        <ir_version: 8, opset_import: ["" : 13]>
        agraph (float[N, 3] x) => (float[N, 2] y)
        <float[3] scale = {1.5, 0.5, 2.0}, float[3] shift = {0.1, 0.2, 0.3},
         float[3, 2] weight = {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}> {
            a = Mul (x, scale)
            b = Add (a, shift)
            c = Relu (b)
            y = MatMul (c, weight)
        }
        """
    )
    net = to_torch(proto)
    assert set(net.weights) == {"scale", "shift", "weight"}
    net(torch.rand(4, 3)).sum().backward()
    assert all(float(w.grad.abs().sum()) > 0 for w in net.parameters())
    assert compare(proto, {"x": torch.randn(4, 3).numpy()}) <= 1e-6
