"""A small U-Net: down three times, up again, each time beside what was there on the way down.

Ronneberger, Fischer and Brox, "U-Net" (arXiv 1505.04597), with batch norm, convolutions that keep
the size, an eighth of the widths and one level less.

    pictures: (N, C, H, W) -> scores of every pixel's classes (N, classes, H, W)
"""

from __future__ import annotations

import torch
from torch import nn

from experiments.models import MODELS, Shape
from spa.errors import InputError

# Channels at full resolution, at half of it, and so on.
WIDTHS = (8, 16, 32, 64)


class Pair(nn.Sequential):
    """Convolution, batch norm and ReLU, twice."""

    def __init__(self, in_chs: int, out_chs: int) -> None:
        super().__init__(
            nn.Conv2d(in_chs, out_chs, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_chs),
            nn.ReLU(),
            nn.Conv2d(out_chs, out_chs, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_chs),
            nn.ReLU(),
        )


class UNet(nn.Module):
    """Pairs on the way down and on the way up, one convolution of single pixels."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.down, self.grow, self.up = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for width in WIDTHS:
            self.down.append(Pair(channels, width))
            channels = width
        for width in reversed(WIDTHS[:-1]):
            self.grow.append(nn.ConvTranspose2d(channels, width, 2, stride=2))
            self.up.append(Pair(2 * width, width))
            channels = width
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Conv2d(channels, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (N, C, H, W) -> (N, classes, H, W)."""
        passed = []
        for pair in self.down:
            x = pair(self.pool(x) if passed else x)
            passed.append(x)
        passed.pop()
        for grow, pair in zip(self.grow, self.up, strict=True):
            x = pair(torch.cat([passed.pop(), grow(x)], 1))
        return self.head(x)


@MODELS.register("unet_small")
def unet_small(input_shape: Shape, classes: int) -> nn.Module:
    """0.12 million parameters.

    Raises:
        InputError: a picture cannot be halved so often.
    """
    halved = 2 ** (len(WIDTHS) - 1)
    if len(input_shape) != 3 or any(side % halved for side in input_shape[1:]):
        raise InputError(
            f"unet_small takes pictures (C, H, W) with sides that are multiples of {halved}, but "
            f"theirs are {input_shape}"
        )
    return UNet(input_shape[0], classes)
