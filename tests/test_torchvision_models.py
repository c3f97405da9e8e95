"""Networks that nobody here wrote: torchvision's, pruned to RF 1.5 and proven."""

from __future__ import annotations

import pytest
import torch

import spa
from spa.bridge import from_torch
from spa.bridge.torchvision_shim import import_torchvision
from tests.coupling.cases import silent

torch.set_num_threads(1)

# Group counts guard the coupling: fewer would mean that something is tied or kept needlessly.
NETS = {
    "convnext_tiny": (64, 22), "densenet121": (64, 120),
    "efficientnet_b0": (64, 40), "googlenet": (64, 57), "mnasnet0_5": (64, 25),
    "mobilenet_v2": (64, 25), "mobilenet_v3_small": (64, 27), "regnet_y_400mf": (64, 41),
    "resnet18": (64, 12), "resnext50_32x4d": (64, 30), "shufflenet_v2_x0_5": (64, 32),
    "squeezenet1_1": (64, 25), "swin_t": (64, 28), "vit": (32, 13),
}  # fmt: skip


def network(name: str) -> torch.nn.Module:
    models = import_torchvision().models
    torch.manual_seed(0)
    if name == "vit":
        net = models.VisionTransformer(32, 8, 6, 4, 48, 96, num_classes=10)
        torch.nn.init.normal_(net.heads.head.weight)  # torchvision starts it at zero
    else:
        extra = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
        net = getattr(models, name)(weights=None, **extra)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.1)
    return net.eval()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(NETS))
def test_network(name):
    pixels, groups = NETS[name]
    net = network(name)
    parameters = sum(p.numel() for p in net.parameters())
    model = spa.load(from_torch(net, torch.randn(2, 3, pixels, pixels)))
    found = spa.find_groups(model)
    assert len(found) == groups
    assert not silent(found)
    cost = spa.measure_cost(model)
    assert parameters <= cost.params <= 1.001 * parameters  # exporters add tables of constants
    # Norms over the channels are not exact: without their groups the outputs can be compared.
    mixed = [group.members[0].name for group in found if not group.exact]
    result = spa.prune(model, rf=1.3, limits=spa.Limits(exclude=mixed))
    assert result.proof.equal
    assert result.reached.rf >= 1.3 * (1 - 1e-9)
    if mixed:
        assert spa.prune(model, rf=1.5).proof is not None
