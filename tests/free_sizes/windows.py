"""Attention over windows, grids, rows and rolled halves of pictures of any size."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spa.bridge.torchvision_shim import import_torchvision
from tests.feeds import Input
from tests.free_sizes.table import NETWORKS, Network, grid, network

PICTURE = Input("x", ("N", 3, "H", "W"))
WIDTH, HEADS, WINDOW = 16, 4, 4
# No side is shorter than a window.
WIDE = grid(
    N=(1, 2, 1, 3, 1, 2, 1, 1, 2, 3, 1, 1, 2, 1),
    H=(24, 17, 31, 12, 29, 20, 16, 13, 9, 23, 11, 28, 19, 15),
    W=(24, 30, 14, 25, 10, 27, 16, 21, 33, 18, 26, 22, 9, 12),
)


def attend(qkv: Tensor, heads: int, scale: float, bias: Tensor | None = None) -> Tensor:
    """(B, T, 3 C) -> (B, T, C)."""
    b, t, wide = qkv.shape
    q, k, v = qkv.view(b, t, 3, heads, wide // 3 // heads).permute(2, 0, 3, 1, 4).unbind(0)
    scores = q @ k.transpose(-1, -2) * scale
    scores = scores if bias is None else scores + bias
    return (scores.softmax(-1) @ v).transpose(1, 2).reshape(b, t, wide // 3)


def swin() -> nn.Module:
    """torchvision's own, with fewer and narrower layers (Liu et al. 2021)."""
    kind = import_torchvision().models.SwinTransformer
    return kind([2, 2], 16, [2, 2], [2, 4], [4, 4], stochastic_depth_prob=0.0, num_classes=5)


NETWORKS["swin"] = Network(
    swin,
    (PICTURE,),
    {"N": 2, "H": 44, "W": 38},
    rp=1.5,
    tried=[{"N": each["N"], "H": each["H"] + 10, "W": each["W"] + 11} for each in WIDE],
)


@network(PICTURE, traced={"N": 2, "H": 17, "W": 22}, tried=WIDE)
class Windowed(nn.Module):
    """Windows of a map that is padded to a multiple, and cropped again, without a norm over C."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, WIDTH, 3, padding=1), nn.BatchNorm2d(WIDTH))
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down, self.head = (
            nn.Linear(WIDTH, 40),
            nn.Linear(40, WIDTH),
            nn.Linear(WIDTH, 5),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).permute(0, 2, 3, 1)
        n, h, w, c = x.shape
        down, right = (WINDOW - h % WINDOW) % WINDOW, (WINDOW - w % WINDOW) % WINDOW
        y = F.pad(x, (0, 0, 0, right, 0, down))
        tall, wide = h + down, w + right
        y = y.view(n, tall // WINDOW, WINDOW, wide // WINDOW, WINDOW, c)
        y = y.permute(0, 1, 3, 2, 4, 5).reshape(-1, WINDOW * WINDOW, c)
        y = self.out(attend(self.qkv(y), HEADS, 0.5))
        y = y.view(n, tall // WINDOW, wide // WINDOW, WINDOW, WINDOW, c)
        y = y.permute(0, 1, 3, 2, 4, 5).reshape(n, tall, wide, c)
        x = x + y[:, :h, :w]
        return self.head(x + self.down(F.gelu(self.up(x)))).mean((1, 2))


class Partitioned(nn.Module):
    """Attention within windows, or over a grid of pixels that lie far apart."""

    def __init__(self, over_grid: bool) -> None:
        super().__init__()
        self.over_grid = over_grid
        self.norm = nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.bias = nn.Parameter(torch.randn(HEADS, WINDOW**2, WINDOW**2))

    def forward(self, x: Tensor) -> Tensor:
        n, h, w, c = x.shape
        y = self.norm(x)
        if self.over_grid:
            y = y.view(n, WINDOW, h // WINDOW, WINDOW, w // WINDOW, c).permute(0, 2, 4, 1, 3, 5)
        else:
            y = y.view(n, h // WINDOW, WINDOW, w // WINDOW, WINDOW, c).permute(0, 1, 3, 2, 4, 5)
        y = self.out(attend(self.qkv(y.reshape(-1, WINDOW * WINDOW, c)), HEADS, 0.5, self.bias))
        y = y.view(n, h // WINDOW, w // WINDOW, WINDOW, WINDOW, c)
        y = y.permute(0, 3, 1, 4, 2, 5) if self.over_grid else y.permute(0, 1, 3, 2, 4, 5)
        return x + y.reshape(n, h, w, c)


@network(PICTURE, traced={"N": 2, "H": 17, "W": 22}, tried=WIDE)
class MaxViT(nn.Module):
    """Convolution, windows and grid on a map padded to a multiple (Tu et al. 2022)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.expand = nn.Conv2d(3, WIDTH, 3, padding=1), nn.Conv2d(WIDTH, 32, 1)
        self.each, self.squeeze = nn.Conv2d(32, 32, 3, padding=1, groups=32), nn.Conv2d(32, 8, 1)
        self.excite, self.project = nn.Conv2d(8, 32, 1), nn.Conv2d(32, WIDTH, 1)
        self.windows, self.grid = Partitioned(False), Partitioned(True)
        self.head = nn.Linear(WIDTH, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        h, w = x.size(2), x.size(3)
        x = F.pad(x, (0, (WINDOW - w % WINDOW) % WINDOW, 0, (WINDOW - h % WINDOW) % WINDOW))
        y = F.gelu(self.each(F.gelu(self.expand(x))))
        gate = self.excite(F.silu(self.squeeze(y.mean((2, 3), keepdim=True)))).sigmoid()
        x = (x + self.project(y * gate)).permute(0, 2, 3, 1)
        x = self.grid(self.windows(x))
        return self.head(x[:, :h, :w])


@network(
    PICTURE,
    traced={"N": 2, "H": 5, "W": 7},
    tried=grid(
        N=(1, 2, 2, 3, 1, 1, 2, 5, 1, 2, 3, 1, 1),
        H=(9, 16, 4, 16, 8, 6, 21, 3, 30, 11, 7, 12, 2),
        W=(3, 16, 11, 48, 6, 8, 5, 13, 4, 12, 2, 11, 19),
    ),
)
class Axial(nn.Module):
    """Attention along rows, then along columns (Ho et al. 2019; Wang et al. 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, WIDTH, 3, padding=1), nn.Conv2d(WIDTH, 3, 1)
        self.rows, self.columns = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, 3 * WIDTH)
        self.out, self.last = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).permute(0, 2, 3, 1)
        n, h, w, c = x.shape
        y = attend(self.rows(x.reshape(n * h, w, c)), HEADS, 0.5)
        x = x + self.out(y.reshape(n, h, w, c))
        y = attend(self.columns(x.transpose(1, 2).reshape(n * w, h, c)), HEADS, 0.5)
        x = x + self.last(y.reshape(n, w, h, c).transpose(1, 2))
        return self.head(x.permute(0, 3, 1, 2))


@network(PICTURE, traced={"N": 2, "H": 10, "W": 14}, tried=WIDE)
class Rolled(nn.Module):
    """Half of the channels roll by half of the picture, so that the middle and the edges meet."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.mix = nn.Conv2d(3, WIDTH, 3, padding=1), nn.Conv2d(WIDTH, 24, 3, padding=1)
        self.head = nn.Conv2d(24, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.stem(x))
        h, w = y.size(2) // 2, y.size(3) // 2
        y = torch.cat([y[:, :, h:], y[:, :, :h]], 2)
        y = torch.relu(self.mix(torch.cat([y[:, :, :, w:], y[:, :, :, :w]], 3)))
        return self.head(y)


@network(PICTURE, traced={"N": 2, "H": 10, "W": 14}, tried=WIDE)
class Coordinates(nn.Module):
    """Means of rows and columns lie behind one another, H + W of them, and part again."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.gate = nn.Conv2d(3, WIDTH, 3, padding=1), nn.Conv2d(WIDTH, 8, 1)
        self.tall, self.wide = nn.Conv2d(8, WIDTH, 1), nn.Conv2d(8, WIDTH, 1)
        self.head = nn.Conv2d(WIDTH, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Coordinate attention (Hou et al. 2021)."""
        y = torch.relu(self.stem(x))
        h, w = y.size(2), y.size(3)
        both = torch.cat([y.mean(3, keepdim=True), y.mean(2, keepdim=True).transpose(2, 3)], 2)
        a, b = torch.split(torch.relu(self.gate(both)), [h, w], 2)
        return self.head(y * self.tall(a).sigmoid() * self.wide(b.transpose(2, 3)).sigmoid())
