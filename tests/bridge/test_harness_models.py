"""Every network that the harness names: through the bridge both ways, and pruned with its proof."""

import numpy as np
import onnx
import pytest
import torch
from oracle import difference, randomise, run_onnx, run_torch

import spa
from experiments.models import MODELS, takes_pictures
from spa.bridge import from_torch, to_onnx, to_torch

CLASSES = 10
DIGITS, PICTURES, POINTS = (1, 8, 8), (3, 32, 32), (2, 24)
# The size that the network is used at here; those not named take digits.
SHAPES = {"vgg16_bn": PICTURES, "dgcnn": POINTS, "pointnet": POINTS}
SLOW = ("resnet50", "densenet121", "vgg16_bn", "resnet18")
# Those of one input of floats.
NAMES = [n for n in MODELS.names() if not n.endswith("/") and takes_pictures(n)]


def alive(module, shape):
    """Random norms whose statistics fit, so that signals of a deep fresh network do not die out."""
    randomise(module)
    norms = [part for part in module.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        module.train()(torch.randn(16, *shape))
        for norm in norms:
            norm.running_var.mul_(torch.empty_like(norm.running_var).uniform_(0.8, 1.2))
    return module.eval()


def test_the_list_is_complete():
    expected = "resnet8 resnet20 resnet56 resnet18 resnet50 vgg16_bn vgg19_bn mobilenet_v2"
    assert set(NAMES) >= {*expected.split(), "densenet121", "vgg_small", "vit_p4_192"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in NAMES]
)
def test_both_ways_and_pruned(name):
    torch.set_num_threads(1)
    shape = SHAPES.get(name, DIGITS)
    module = alive(MODELS.get(name)(shape, CLASSES), shape)
    proto = from_torch(module, torch.randn(2, *shape))
    onnx.checker.check_model(proto, full_check=True)
    feed = {"input": torch.randn(3, *shape).numpy()}  # another batch size than the exported one
    expected = run_onnx(proto, feed)
    assert np.ptp(expected[0], axis=0).max() > 1e-3 * np.abs(expected[0]).max()

    with torch.no_grad():
        assert difference([module(torch.from_numpy(feed["input"])).numpy()], expected) <= 1e-4
    net = to_torch(proto)
    assert set(net.weights) == {parameter for parameter, _ in module.named_parameters()}
    assert difference(run_torch(net, feed), expected) <= 1e-4
    back = to_onnx(net, proto)
    assert difference(run_onnx(back, feed), expected) == 0.0

    result = spa.prune(proto, rf=2.0)
    # Around a norm over the channels only all else can be compared.
    assert result.proof.equal == all(g.exact for g in spa.find_groups(spa.load(proto)))
    assert any(check.startswith("equals the zeroed dense model") for check in result.proof.checks)
    assert 2.0 <= result.reached.rf <= 2.06
    assert run_onnx(result.model, feed)[0].shape == expected[0].shape
    assert result.dense.params == sum(p.numel() for p in module.parameters())
    # and the small one trains on
    small = to_torch(result.model)
    small.train()
    loss = small(torch.randn(4, *shape)).square().mean()
    loss.backward()
    assert all(weight.grad is not None for weight in small.weights.values())
