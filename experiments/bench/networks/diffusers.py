"""Diffusers' networks, at small sizes."""

from __future__ import annotations

from typing import Any

from experiments.bench.networks import COLLECTIONS, NETWORKS, Network
from experiments.bench.networks.waking import wake

_BLOCKS = {
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "norm_num_groups": 8,
}
_CODER = {
    "block_out_channels": (16, 32),
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "latent_channels": 4,
    "norm_num_groups": 8,
}
NETS: dict[str, dict[str, Any]] = {
    "UNet2DModel": {"sample_size": 16, "block_out_channels": (32, 64), "layers_per_block": 1,
                    "attention_head_dim": 8, **_BLOCKS},
    "UNet2DConditionModel": {"sample_size": 16, "block_out_channels": (32, 64),
                             "layers_per_block": 1, "cross_attention_dim": 32,
                             "attention_head_dim": 8, "norm_num_groups": 8,
                             "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
                             "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D")},
    "AutoencoderKL": _CODER,
    "VQModel": {**_CODER, "num_vq_embeddings": 32},
    "DiTTransformer2DModel": {"num_attention_heads": 4, "attention_head_dim": 8, "in_channels": 4,
                              "out_channels": 4, "num_layers": 2, "sample_size": 8,
                              "patch_size": 2, "norm_num_groups": 4},
}  # fmt: skip


@NETWORKS.register("diffusers/")
def diffusers(name: str) -> Network:
    """Builds a network by its class."""
    from spa.bridge.torchvision_shim import import_torchvision

    import_torchvision()
    import diffusers as library
    import torch

    module = getattr(library, name)(**NETS[name]).eval()
    wake(module)
    step, picture = torch.tensor([3, 700]), torch.randn(2, 3, 16, 16)
    inputs: tuple[Any, ...] = {
        "UNet2DModel": (picture, step),
        "UNet2DConditionModel": (torch.randn(2, 4, 16, 16), step, torch.randn(2, 5, 32)),
        "DiTTransformer2DModel": (torch.randn(2, 4, 8, 8), step, torch.tensor([1, 7])),
    }.get(name, (picture,))
    return Network("diffusers", module, inputs)


COLLECTIONS["diffusers"] = lambda: tuple(NETS)
