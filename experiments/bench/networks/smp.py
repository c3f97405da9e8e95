"""The networks of segmentation_models_pytorch, on a ResNet-18."""

from __future__ import annotations

from experiments.bench.networks import COLLECTIONS, NETWORKS, Network
from experiments.bench.networks.waking import wake

NAMES = (
    "Unet", "UnetPlusPlus", "MAnet", "Linknet", "FPN", "PSPNet", "PAN", "DeepLabV3",
    "DeepLabV3Plus", "UPerNet", "Segformer",
)  # fmt: skip


@NETWORKS.register("smp/")
def smp(name: str) -> Network:
    """Builds a network by its class."""
    from spa.bridge.torchvision_shim import import_torchvision

    import_torchvision()
    import segmentation_models_pytorch as library
    import torch

    module = getattr(library, name)("resnet18", encoder_weights=None, classes=3).eval()
    wake(module)
    return Network("smp", module, (torch.randn(2, 3, 64, 64),))


COLLECTIONS["smp"] = lambda: NAMES
