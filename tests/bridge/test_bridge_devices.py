"""The module moves to another device; shapes and axes stay with the host."""

import pytest
import torch
from oracle import randomise

from spa.bridge import from_torch, to_torch
from spa.bridge.torchvision_shim import import_torchvision

torchvision = import_torchvision()


@pytest.fixture(scope="module")
def shuffle():
    torch.manual_seed(0)
    module = randomise(torchvision.models.shufflenet_v2_x0_5(num_classes=10)).eval()
    return module, from_torch(module, torch.randn(2, 3, 32, 32))


def test_shape_arithmetic_runs_without_the_device(shuffle):
    # The meta device has no values at all: whatever needs one must have stayed in host memory.
    net = to_torch(shuffle[1]).to("meta")
    y = net(torch.empty(5, 3, 32, 32, device="meta"))
    assert y.device.type == "meta"
    assert y.shape == (5, 10)


@pytest.mark.parametrize("device", ["cpu", *["cuda"] * torch.cuda.is_available()])
def test_it_runs_and_trains_there(shuffle, device):
    module, proto = shuffle
    x = torch.randn(4, 3, 32, 32)
    net = to_torch(proto).to(device)
    with torch.no_grad():
        torch.testing.assert_close(net(x.to(device)).cpu(), module(x), rtol=1e-3, atol=1e-3)
    net.train()(x.to(device)).square().sum().backward()
    assert all(weight.grad is not None for weight in net.weights.values())


def test_torchvision_imports_beside_any_torch():
    assert torchvision.__name__ == "torchvision"
    assert hasattr(torch.ops.torchvision, "nms")
    assert import_torchvision() is torchvision
