"""torchvision networks through the whole bridge: export, import, write back."""

import numpy as np
import onnx
import pytest
import torch
from oracle import difference, randomise, run_onnx, run_torch
from torch import nn

from spa.bridge import from_torch, to_onnx, to_torch
from spa.bridge.torchvision_shim import import_torchvision
from spa.errors import BridgeError

models = import_torchvision().models


def network(name):
    module = getattr(models, name)(num_classes=10)
    if name == "vgg16_bn":  # its 120 million parameters of Linear layers prove nothing more
        module.avgpool = nn.AdaptiveAvgPool2d(1)
        module.classifier = nn.Sequential(nn.Linear(512, 32), nn.ReLU(), nn.Linear(32, 10))
    return randomise(module).eval()


def check(module, exporter, size=64):
    x = torch.randn(2, 3, size, size)
    proto = from_torch(module, x, exporters=(exporter,))
    net = to_torch(proto)
    state = module.state_dict()

    names = {name for name, _ in module.named_parameters()}
    assert set(net.weights) == names
    for name, weight in net.weights.items():
        assert torch.equal(weight, state[name])
    assert set(net.statistics) == {n for n in state if n.endswith(("running_mean", "running_var"))}
    norms = sum(isinstance(part, nn.BatchNorm2d) for part in module.modules())
    assert sum(step.op == "BatchNormalization" for step in net.steps) == norms

    # another batch size than the exported one
    feed = {"input": torch.randn(3, 3, size, size).numpy()}
    ours, theirs = run_torch(net, feed), run_onnx(proto, feed)
    assert difference(ours, theirs) <= 1e-4
    with torch.no_grad():
        assert difference(ours, [module(torch.from_numpy(feed["input"])).numpy()]) <= 1e-4
    assert np.ptp(theirs[0]) > 1e-3  # a constant output would prove nothing

    back = to_onnx(net, proto)
    onnx.checker.check_model(back, full_check=True)
    assert difference(run_onnx(back, feed), theirs) == 0.0


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "vgg16_bn",
        "mobilenet_v2",
        "densenet121",
        "shufflenet_v2_x0_5",
        "efficientnet_b0",
        pytest.param("resnet50", marks=pytest.mark.slow),
    ],
)
def test_by_the_torchscript_exporter(name):
    check(network(name), "torchscript")


@pytest.mark.parametrize(
    "name", ["resnet18", pytest.param("shufflenet_v2_x0_5", marks=pytest.mark.slow)]
)
def test_by_the_dynamo_exporter(name):
    check(network(name), "dynamo")


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_fresh_equal_tensors_keep_their_names(exporter):
    # All gammas are 1 and all betas 0: the TorchScript exporter would share them.
    block = [nn.Conv2d(4, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU()]
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), *block)
    proto = from_torch(module, torch.randn(2, 3, 8, 8), exporters=(exporter,))
    net = to_torch(proto)
    assert set(net.weights) == {name for name, _ in module.named_parameters()}
    assert len(net.statistics) == 4
    assert not any(node.op_type == "Identity" for node in proto.graph.node)


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_tied_parameters_stay_one(exporter):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
            self.second.weight = self.first.weight

        def forward(self, x):
            return self.second(torch.relu(self.first(x)))

    module = Tied()
    proto = from_torch(module, torch.randn(2, 6), exporters=(exporter,))
    assert sum(t.dims == [6, 6] for t in proto.graph.initializer) == 1
    net = to_torch(proto)
    x = torch.randn(4, 6)
    (tied,) = [w for w in net.weights.values() if w.dim() == 2]
    net(x).square().sum().backward()
    module(x).square().sum().backward()
    torch.testing.assert_close(tied.grad, module.first.weight.grad)


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.unused = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x, y):
        return self.linear(x), x + y


def test_several_inputs_and_outputs_have_stable_names():
    for exporter in ("torchscript", "dynamo"):
        example = (torch.randn(1, 4), torch.randn(1, 4))
        proto = from_torch(TwoInputs(), example, exporters=(exporter,))
        assert [value.name for value in proto.graph.input] == ["input_0", "input_1"]
        assert [value.name for value in proto.graph.output] == ["output_0", "output_1"]
        net = to_torch(proto)
        assert set(net.weights) == {"linear.weight", "linear.bias"}
        assert len(net(torch.randn(5, 4), torch.randn(5, 4))) == 2


def test_fixed_batch_and_modes_and_silence(capfd):
    module = nn.Sequential(nn.Linear(4, 4), nn.Dropout(), nn.Linear(4, 2)).train()
    module[0].eval()
    proto = from_torch(module, torch.randn(3, 4), dynamic_batch=False)
    assert proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 3
    assert [part.training for part in module] == [False, True, True]
    assert not proto.graph.value_info
    assert capfd.readouterr() == ("", "")


class Strange(nn.Module):
    def forward(self, x):
        return x.new_tensor(float(x.sum().item()) * np.random.default_rng().random())


def test_failure_of_both_exporters_is_told(capfd):
    with pytest.raises(BridgeError, match=r"Strange cannot be exported.*torchscript.*dynamo"):
        from_torch(Strange(), torch.randn(2, 4))
    assert capfd.readouterr() == ("", "")


@torch.jit.script
def _collected(x: torch.Tensor) -> torch.Tensor:
    found = torch.zeros((0, 6))
    for i in range(x.size(0)):
        found = torch.cat((found, 2 * x[i : i + 1]))
    return found


class _Collecting(nn.Module):
    """Mask R-CNN pastes its masks so: the exporter declares the first, empty shape for the Loop."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.last(_collected(self.first(x).relu()))


def test_what_a_loop_collects_is_not_folded_away():
    torch.manual_seed(0)
    proto = from_torch(_Collecting().eval(), (torch.randn(2, 4),))
    assert "Loop" in [node.op_type for node in proto.graph.node]
