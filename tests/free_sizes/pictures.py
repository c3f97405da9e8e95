"""Networks of convolutions over pictures of any size."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.feeds import Input
from tests.free_sizes.table import grid, network

PICTURE = Input("x", ("N", 3, "H", "W"))
ODD = grid(
    N=(1, 2, 1, 3, 1, 2, 1, 1, 2, 4, 1, 1, 2, 1),
    H=(64, 50, 33, 37, 101, 24, 48, 29, 71, 35, 97, 58, 44, 26),
    W=(64, 39, 64, 35, 76, 61, 32, 93, 43, 38, 28, 90, 52, 47),
)


def block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs), nn.ReLU()
    )


@network(PICTURE, traced={"N": 2, "H": 50, "W": 39}, tried=ODD, rp=2.5)
class UNet(nn.Module):
    """The upsampled map is padded to the skip's size (Ronneberger et al. 2015)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = block(3, 8), block(8, 16), block(16, 32)
        self.up2, self.up1 = nn.ConvTranspose2d(32, 16, 2, 2), nn.ConvTranspose2d(16, 8, 2, 2)
        self.left2, self.left1, self.head = block(32, 16), block(16, 8), nn.Conv2d(8, 2, 1)

    def join(self, low: Tensor, skip: Tensor) -> Tensor:
        down, right = skip.size(2) - low.size(2), skip.size(3) - low.size(3)
        low = F.pad(low, [right // 2, right - right // 2, down // 2, down - down // 2])
        return torch.cat([skip, low], 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.first(x)
        b = self.second(F.max_pool2d(a, 2))
        c = self.third(F.max_pool2d(b, 2))
        b = self.left2(self.join(self.up2(c), b))
        return self.head(self.left1(self.join(self.up1(b), a)))


@network(PICTURE, traced={"N": 2, "H": 50, "W": 39}, tried=ODD, rp=2.5)
class ResUNet(nn.Module):
    """The skip is cropped in the middle to the upsampled map's size, which saw no padding."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = block(3, 8), block(8, 16)
        self.up, self.left = nn.ConvTranspose2d(16, 8, 2, 2), block(16, 8)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.first(x)
        low = self.up(self.second(F.max_pool2d(a, 2)))
        top, left = (a.size(2) - low.size(2)) // 2, (a.size(3) - low.size(3)) // 2
        skip = a[:, :, top : top + low.size(2), left : left + low.size(3)]
        return self.head(self.left(torch.cat([skip, low], 1)))


@network(PICTURE, traced={"N": 2, "H": 50, "W": 39}, tried=ODD, rp=2.5)
class Padded(nn.Module):
    """Pictures are padded to a multiple of 16 and the result is cropped (restoration networks)."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(block(3, 12, 2), block(12, 16, 2), block(16, 24, 2))
        self.up = nn.Sequential(
            nn.ConvTranspose2d(24, 16, 2, 2),
            nn.ReLU(),
            nn.Conv2d(16, 48, 3, padding=1),
            nn.PixelShuffle(2),
            nn.ReLU(),
            nn.ConvTranspose2d(12, 3, 2, 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.size(2), x.size(3)
        y = F.pad(x, (0, (16 - w % 16) % 16, 0, (16 - h % 16) % 16), mode="replicate")
        return self.up(self.down(y))[:, :, :h, :w] + x


@network(PICTURE, traced={"N": 2, "H": 50, "W": 39}, tried=ODD, rp=2.5)
class Segmenter(nn.Module):
    """A pyramid pooled to one pixel and to cells, brought to the picture's size (DeepLab)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(block(3, 12, 2), block(12, 16, 2))
        self.pooled, self.wide, self.near = (
            nn.Conv2d(16, 8, 1),
            nn.Conv2d(16, 8, 3, 1, 2, 2),
            block(16, 8),
        )
        self.join, self.head = block(24, 12), nn.Conv2d(12, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        pooled = torch.relu(self.pooled(y.mean((2, 3), keepdim=True)))
        pooled = F.interpolate(pooled, size=y.shape[-2:], mode="bilinear", align_corners=False)
        y = torch.cat([pooled, torch.relu(self.wide(y)), self.near(y)], 1)
        return F.interpolate(self.head(self.join(y)), size=x.shape[-2:], mode="nearest")


@network(
    PICTURE,
    traced={"N": 2, "H": 50, "W": 38},
    rp=2.0,
    tried=[{**each, "H": each["H"] // 2 * 2, "W": each["W"] // 2 * 2} for each in ODD],
)
class Wavelets(nn.Module):
    """Even and odd rows and columns become channels, as in YOLOv5's Focus and in wavelets."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = block(3, 8), block(32, 16)
        self.up, self.head = nn.Conv2d(16, 32, 1), nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        parts = [y[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)]
        y = self.up(self.body(torch.cat(parts, 1)))
        n, c, h, w = y.shape
        y = y.view(n, c // 4, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3).reshape(n, c // 4, h * 2, w * 2)
        return self.head(y)
