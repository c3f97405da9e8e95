"""OpenCLIP's towers for pictures and texts, at small sizes."""

from __future__ import annotations

from typing import Any

from experiments.bench.networks import COLLECTIONS, NETWORKS, Network
from experiments.bench.networks.waking import wake

NAMES = ("VisionTransformer", "ModifiedResNet", "TextTransformer")


@NETWORKS.register("open_clip/")
def open_clip(name: str) -> Network:
    """Builds a tower by its class."""
    from spa.bridge.torchvision_shim import import_torchvision

    import_torchvision()
    import torch
    from open_clip import modified_resnet, transformer

    inputs: Any = torch.randn(2, 3, 64, 64)
    if name == "VisionTransformer":
        module = transformer.VisionTransformer(64, 16, 48, 3, 4, 2.0, output_dim=24)
    elif name == "ModifiedResNet":
        module = modified_resnet.ModifiedResNet((1, 1, 1, 1), 24, 8, image_size=64, width=16)
    else:
        module = transformer.TextTransformer(16, 99, 48, 4, 3, output_dim=24)
        inputs = torch.randint(1, 99, (2, 16))
    module = module.eval()
    wake(module)
    return Network("open_clip", module, (inputs,))


COLLECTIONS["open_clip"] = lambda: NAMES
