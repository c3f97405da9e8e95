"""Networks that look across the batch: clips folded into it, halves, groups of samples."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.feeds import Input
from tests.free_sizes.pictures import block
from tests.free_sizes.table import grid, network

EVEN = [{"N": 2 * k} for k in (1, 2, 3, 5, 7, 4, 6, 9, 8, 11, 10, 13, 12, 17, 15, 19, 14, 23, 21)]
SMALL = Input("x", ("N", 3, 8, 8))


@network(SMALL, traced={"N": 8}, tried=EVEN, rp=2.0)
class TSM(nn.Module):
    """Some channels move to the next frame, some to the one before (Lin et al. 2019)."""

    def __init__(self, frames: int = 2) -> None:
        super().__init__()
        self.frames = frames
        self.first, self.second = block(3, 16), block(16, 24)
        self.head = nn.Linear(24, 5)

    def shift(self, x: Tensor) -> Tensor:
        rows, c, h, w = x.size()
        x = x.view(rows // self.frames, self.frames, c, h, w)
        left, right, rest = x[:, :, : c // 8], x[:, :, c // 8 : c // 4], x[:, :, c // 4 :]
        left = torch.cat([left[:, 1:], torch.zeros_like(left[:, :1])], 1)
        right = torch.cat([torch.zeros_like(right[:, :1]), right[:, :-1]], 1)
        return torch.cat([left, right, rest], 2).view(rows, c, h, w)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.shift(self.first(x)))
        x = self.head(x.mean((2, 3)))
        return x.view(-1, self.frames, 5).mean(1)


@network(SMALL, traced={"N": 16}, tried=[{**each, "N": 4 * each["N"]} for each in EVEN], rp=2.0)
class LongTSM(TSM):
    """The same of clips of eight frames: a batch of two does not run."""

    def __init__(self) -> None:
        super().__init__(8)


@network(
    Input("x", ("N", "T", 3, 8, 8)),
    traced={"N": 2, "T": 5},
    rp=2.0,
    exporters=("torchscript",),
    tried=grid(N=(1, 2, 3, 1, 4, 2, 5, 1, 2, 3, 1, 7), T=(1, 2, 4, 6, 3, 7, 1, 9, 11, 8, 3, 2)),
)
class Film(nn.Module):
    """Frames are merged with the batch for convolutions, and parted again for an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = block(3, 12), block(12, 16)
        self.over, self.head = nn.LSTM(16, 12, batch_first=True), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        n, t = x.shape[:2]
        y = self.second(self.first(x.flatten(0, 1))).mean((2, 3))
        return self.head(self.over(y.view(n, t, -1))[0])


@network(SMALL, traced={"N": 8}, tried=EVEN, rp=2.0)
class Pairs(nn.Module):
    """The first half of the batch is compared with the second (two views of a picture)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = block(3, 12), block(12, 16)
        self.project, self.head = nn.Linear(16, 20), nn.Linear(20, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.first(x)).mean((2, 3))
        y = torch.relu(self.project(y))
        half = y.size(0) // 2
        return self.head(torch.abs(y[:half] - y[half:]))


@network(SMALL, traced={"N": 8}, tried=EVEN, rp=2.0)
class Interleaved(nn.Module):
    """Neighbours in the batch are a picture and its reference: even and odd rows."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = block(3, 12), block(24, 16)
        self.head = nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        n, c, h, w = y.shape
        y = self.second(y.reshape(n // 2, 2 * c, h, w))
        return self.head(y.mean((2, 3)))


@network(
    SMALL,
    traced={"N": 8},
    tried=grid(N=(1, 2, 3, 4, 8, 12, 16, 20, 24, 28, 36, 40, 44, 52, 60, 68)),
    rp=1.3,
    exporters=("torchscript",),
)
class Discriminator(nn.Module):
    """The spread within groups of min(N, 4) samples is one more channel (Karras et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = block(3, 12), block(12, 16)
        self.last, self.head = block(17, 16), nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.first(x))
        n, c, h, w = y.shape
        group = torch.minimum(torch.as_tensor(n), torch.tensor(4))
        z = y.reshape(group, -1, c, h, w)
        z = ((z - z.mean(0)).square().mean(0) + 1e-8).sqrt().mean((1, 2, 3))
        z = z.reshape(-1, 1, 1, 1).repeat(group, 1, h, w)
        return self.head(self.last(torch.cat([y, z], 1)).mean((2, 3)))


@network(SMALL, traced={"N": 8}, tried=EVEN, rp=2.0)
class Mixed(nn.Module):
    """The batch rolled by half of itself is mixed into it (manifold mixup at test time)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = block(3, 12), block(12, 16)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        half = y.size(0) // 2
        y = 0.7 * y + 0.3 * torch.cat([y[half:], y[:half]], 0)
        return self.head(self.second(y).mean((2, 3)))
