"""MONAI's networks of pictures and volumes, at small sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from experiments.bench.networks import COLLECTIONS, NETWORKS, Network
from experiments.bench.networks.waking import wake

PLANE, CUBE = (1, 64, 64), (1, 32, 32, 32)
# By name: arguments, and the shape of a sample.
NETS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "UNet": ({"spatial_dims": 2, "in_channels": 1, "out_channels": 2, "channels": (8, 16, 32),
              "strides": (2, 2), "num_res_units": 2}, PLANE),
    "AttentionUnet": ({"spatial_dims": 2, "in_channels": 1, "out_channels": 2,
                       "channels": (8, 16, 32), "strides": (2, 2)}, PLANE),
    "BasicUNet": ({"spatial_dims": 2, "in_channels": 1, "out_channels": 2,
                   "features": (8, 8, 16, 32, 32, 8)}, PLANE),
    "SegResNet": ({"spatial_dims": 3, "in_channels": 1, "out_channels": 2, "init_filters": 8},
                  CUBE),
    "DynUNet": ({"spatial_dims": 2, "in_channels": 1, "out_channels": 2,
                 "kernel_size": (3, 3, 3), "strides": (1, 2, 2),
                 "upsample_kernel_size": (2, 2), "filters": (8, 16, 32)}, PLANE),
    "VNet": ({"spatial_dims": 3, "in_channels": 1, "out_channels": 2}, CUBE),
    "HighResNet": ({"spatial_dims": 2, "in_channels": 1, "out_channels": 2}, PLANE),
    "UNETR": ({"in_channels": 1, "out_channels": 2, "img_size": (32, 32, 32), "feature_size": 8,
               "hidden_size": 48, "mlp_dim": 96, "num_heads": 4}, CUBE),
    "DenseNet121": ({"spatial_dims": 2, "in_channels": 1, "out_channels": 3}, PLANE),
    "SEResNet50": ({"spatial_dims": 2, "in_channels": 1, "num_classes": 3}, PLANE),
    "EfficientNetBN": ({"model_name": "efficientnet-b0", "pretrained": False, "spatial_dims": 2,
                        "in_channels": 1, "num_classes": 3}, PLANE),
    "ViT": ({"in_channels": 1, "img_size": (32, 32), "patch_size": (8, 8), "spatial_dims": 2,
             "hidden_size": 48, "mlp_dim": 96, "num_layers": 3, "num_heads": 4,
             "classification": True}, (1, 32, 32)),
}  # fmt: skip


@NETWORKS.register("monai/")
def monai(name: str) -> Network:
    """Builds a network by its class."""
    from spa.bridge.torchvision_shim import import_torchvision

    import_torchvision()
    import torch
    from monai.networks import nets

    arguments, shape = NETS[name]
    build: Callable[..., Any] = getattr(nets, name)
    module = build(**arguments).eval()
    wake(module)
    return Network("monai", module, (torch.randn(2, *shape),))


COLLECTIONS["monai"] = lambda: tuple(NETS)
