"""Detectors: anchors from sizes, levels side by side, queries that look at a memory."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.feeds import Input, mask
from tests.free_sizes.pictures import block
from tests.free_sizes.table import grid, network

BINS, CLASSES, WIDTH, HEADS = 4, 3, 16, 4


@network(
    Input("images", ("N", 3, "H", "W")),
    traced={"N": 2, "H": 64, "W": 96},
    rp=2.5,
    tried=grid(
        N=(1, 2, 1, 3, 1, 2, 1, 1, 2, 1, 1, 1, 1),
        H=(64, 96, 32, 64, 160, 32, 128, 224, 96, 192, 64, 32, 160),
        W=(64, 64, 128, 32, 96, 192, 128, 32, 160, 64, 224, 64, 32),
    ),
)
class YOLO(nn.Module):
    """Three levels, a distribution over distances, cells computed from sizes (YOLOv8)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(block(3, 8, 2), block(8, 12, 2))
        self.downs = nn.ModuleList([block(12, 16, 2), block(16, 20, 2), block(20, 24, 2)])
        self.laterals = nn.ModuleList([nn.Conv2d(c, 16, 1) for c in (16, 20, 24)])
        self.boxes = nn.ModuleList([nn.Conv2d(16, 4 * BINS, 3, padding=1) for _ in range(3)])
        self.hidden = nn.ModuleList([block(16, 16) for _ in range(3)])
        self.scores = nn.ModuleList([nn.Conv2d(16, CLASSES, 1) for _ in range(3)])
        self.register_buffer("bins", torch.arange(BINS, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        y, levels = self.stem(x), []
        for down in self.downs:
            y = down(y)
            levels.append(y)
        levels = [f(y) for f, y in zip(self.laterals, levels, strict=True)]
        for k in (1, 0):
            up = F.interpolate(levels[k + 1], size=levels[k].shape[-2:], mode="nearest")
            levels[k] = levels[k] + up
        found = []
        for k, (y, stride) in enumerate(zip(levels, (8, 16, 32), strict=True)):
            y = self.hidden[k](y)
            n, _, h, w = y.shape
            boxes = self.boxes[k](y).view(n, 4, BINS, h * w).softmax(2)
            left, top, right, bottom = (boxes * self.bins.view(1, 1, -1, 1)).sum(2).unbind(1)
            rows, columns = torch.meshgrid(
                torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij"
            )
            rows, columns = rows.reshape(-1), columns.reshape(-1)
            corners = [columns - left, rows - top, columns + right, rows + bottom]
            scores = (self.scores[k](y).flatten(2) - 4).sigmoid()
            found.append(torch.cat([stride * torch.stack(corners, 1), scores], 1))
        return torch.cat(found, 2)


def heads_of(x: Tensor) -> Tensor:
    """(N, T, C) -> (N, heads, T, C / heads)."""
    return x.view(x.size(0), x.size(1), HEADS, WIDTH // HEADS).transpose(1, 2)


class Cross(nn.Module):
    """Queries look at keys of another count; what the mask says is padding is not seen."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x: Tensor, memory: Tensor, padding: Tensor | None = None) -> Tensor:
        scores = heads_of(self.q(x)) @ heads_of(self.k(memory)).transpose(-1, -2) / 2
        if padding is not None:
            scores = scores.masked_fill(padding[:, None, None, :], float("-inf"))
        y = scores.softmax(-1) @ heads_of(self.v(memory))
        return x + self.out(y.transpose(1, 2).reshape(x.size(0), x.size(1), WIDTH))


MANY = grid(
    N=(1, 2, 3, 2, 1, 2, 5, 1, 3, 2, 1, 4, 2),
    S=(16, 5, 7, 19, 1, 33, 8, 50, 11, 3, 29, 6, 40),
    Q=(16, 9, 7, 2, 13, 1, 8, 3, 12, 21, 30, 5, 41),
)


@network(
    Input("memory", ("N", "S", WIDTH)),
    Input("queries", ("N", "Q", WIDTH)),
    Input("padding", ("N", "S"), mask),
    traced={"N": 2, "S": 11, "Q": 6},
    tried=MANY,
)
class Decoder(nn.Module):
    """The decoder of DETR (Carion et al. 2020): to itself, then to a memory with padding."""

    def __init__(self) -> None:
        super().__init__()
        self.own, self.cross = Cross(), Cross()
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(3))
        self.up, self.down = nn.Linear(WIDTH, 40), nn.Linear(40, WIDTH)
        self.boxes, self.last = nn.Linear(WIDTH, 12), nn.Linear(12, 4)

    def forward(self, memory: Tensor, queries: Tensor, padding: Tensor) -> Tensor:
        x = self.norms[0](self.own(queries, queries))
        x = self.norms[1](self.cross(x, memory, padding))
        x = self.norms[2](x + self.down(torch.relu(self.up(x))))
        return self.last(torch.relu(self.boxes(x))).sigmoid()


@network(
    Input("memory", ("N", "S", WIDTH)),
    Input("queries", ("N", "Q", WIDTH)),
    Input("padding", ("N", "S"), mask),
    traced={"N": 2, "S": 11, "Q": 6},
    tried=MANY,
    rp=1.3,
    exporters=("dynamo",),  # TorchScript's tracer writes the number of queries down
)
class TorchDecoder(nn.Module):
    """The same of torch's own layers, whose heads lie in one axis with the batch."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerDecoderLayer(WIDTH, HEADS, 40, batch_first=True, dropout=0.0)
        self.decoder, self.head = nn.TransformerDecoder(layer, 2), nn.Linear(WIDTH, 4)

    def forward(self, memory: Tensor, queries: Tensor, padding: Tensor) -> Tensor:
        return self.head(self.decoder(queries, memory, memory_key_padding_mask=padding))


@network(
    Input("image", ("N", 3, "H", "W")),
    traced={"N": 2, "H": 40, "W": 56},
    rp=1.3,
    tried=grid(
        N=(1, 2, 1, 3, 1, 2, 1, 1, 2, 1, 1, 1),
        H=(64, 50, 33, 37, 101, 24, 48, 29, 71, 35, 97, 58),
        W=(64, 39, 64, 35, 76, 61, 32, 93, 43, 38, 28, 90),
    ),
)
class DETR(nn.Module):
    """A map becomes a memory of H W tokens with sines for places; learnt queries look at it."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(block(3, 12, 2), block(12, 20, 2), block(20, 24, 2))
        self.project, self.queries = nn.Conv2d(24, WIDTH, 1), nn.Parameter(torch.randn(7, WIDTH))
        self.encoder, self.cross, self.head = Cross(), Cross(), nn.Linear(WIDTH, 4)
        self.register_buffer("rates", 100.0 ** (-torch.arange(4) / 4))

    def places(self, h: int, w: int) -> Tensor:
        """(H W, C): sines and cosines of the row's and the column's number."""
        rows = torch.arange(h).float()[:, None, None] * self.rates + torch.zeros(h, w, 1)
        columns = torch.arange(w).float()[None, :, None] * self.rates + torch.zeros(h, w, 1)
        both = torch.cat([rows.sin(), rows.cos(), columns.sin(), columns.cos()], -1)
        return both.flatten(0, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.backbone(x))
        memory = y.flatten(2).transpose(1, 2) + self.places(y.size(2), y.size(3))
        memory = self.encoder(memory, memory)
        queries = self.queries.expand(x.size(0), -1, -1)
        return self.head(self.cross(queries, memory))


@network(
    Input("search", ("N", 3, "H", "W")),
    Input("template", ("N", 3, "h", "w")),
    traced={"N": 2, "H": 31, "W": 29, "h": 15, "w": 13},
    rp=2.5,
    tried=grid(
        N=(1, 2, 3, 1, 2, 1, 1, 2, 3, 1, 2, 1),
        H=(24, 31, 40, 29, 33, 48, 21, 27, 50, 35, 28, 41),
        W=(24, 40, 31, 36, 25, 30, 43, 22, 28, 39, 47, 26),
        h=(12, 15, 9, 16, 8, 11, 14, 10, 7, 13, 12, 9),
        w=(12, 8, 15, 11, 10, 14, 9, 13, 16, 7, 8, 12),
    ),
    exporters=("torchscript",),
)
class Siamese(nn.Module):
    """A template's features weigh a picture's, sample by sample (Bertinetto et al. 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(block(3, 12), nn.Conv2d(12, 16, 3, padding=1))
        self.head = nn.Conv2d(1, 2, 1)

    def forward(self, search: Tensor, template: Tensor) -> Tensor:
        a, b = self.features(search), self.features(template)
        n, c = a.size(0), a.size(1)
        windows = F.adaptive_avg_pool2d(b, 1)
        y = (a * windows).sum(1, keepdim=True)
        return self.head(y.view(n, 1, a.size(2), a.size(3)) / c)
