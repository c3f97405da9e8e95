"""A vision transformer for small pictures: patches of 4x4, width 192, 6 blocks of 3 heads.

Dosovitskiy et al., "An Image is Worth 16x16 Words" (arXiv 2010.11929), with the width and the heads
of DeiT-Tiny (arXiv 2012.12877). Norms come first in a block; the class token is classified.
"""

from __future__ import annotations

import torch
from torch import nn

from experiments.models import MODELS, Shape
from spa.errors import InputError

PATCH, WIDTH, DEPTH, HEADS, MLP_RATIO = 4, 192, 6, 3, 4
EPSILON = 1e-6


class Embedding(nn.Module):
    """Patches as tokens, after a class token; a learned position is added to each."""

    def __init__(self, input_shape: Shape) -> None:
        super().__init__()
        channels, h, w = input_shape
        self.patches = nn.Conv2d(channels, WIDTH, PATCH, stride=PATCH)
        self.class_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.positions = nn.Parameter(torch.empty(1, 1 + h // PATCH * (w // PATCH), WIDTH))
        nn.init.normal_(self.positions, std=0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (N, C, H, W) -> (N, 1 + T, width)."""
        tokens = self.patches(x).flatten(2).transpose(1, 2)  # (N, width, h, w) -> (N, T, width)
        first = self.class_token.expand(tokens.shape[0], -1, -1)
        return torch.cat([first, tokens], dim=1) + self.positions


class Block(nn.Module):
    """Attention, then two linear layers; each after a norm, and added to what came in."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDTH, EPSILON)
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.norm2 = nn.LayerNorm(WIDTH, EPSILON)
        self.mlp = nn.Sequential(
            nn.Linear(WIDTH, MLP_RATIO * WIDTH), nn.GELU(), nn.Linear(MLP_RATIO * WIDTH, WIDTH)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (N, T, width)."""
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class Vit(nn.Module):
    """Embedding, blocks, a last norm, one Linear on the class token."""

    def __init__(self, input_shape: Shape, classes: int) -> None:
        super().__init__()
        self.embedding = Embedding(input_shape)
        self.blocks = nn.Sequential(*(Block() for _ in range(DEPTH)))
        self.norm = nn.LayerNorm(WIDTH, EPSILON)
        self.head = nn.Linear(WIDTH, classes)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (N, C, H, W) -> (N, classes)."""
        tokens = self.norm(self.blocks(self.embedding(x)))
        return self.head(tokens[:, 0])


@MODELS.register("vit_p4_192")
def vit_p4_192(input_shape: Shape, classes: int) -> nn.Module:
    """2.7 million parameters.

    Raises:
        InputError: the pictures cannot be cut into whole patches.
    """
    _, h, w = input_shape
    if h % PATCH or w % PATCH:
        raise InputError(
            f"vit_p4_192 cuts pictures into patches of {PATCH}x{PATCH}, but theirs are {h}x{w}; "
            "use sizes that 4 divides, or another model."
        )
    return Vit(input_shape, classes)
