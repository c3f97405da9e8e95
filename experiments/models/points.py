"""Networks of sets of points: PointNet, which sees each alone, and DGCNN, which sees neighbours.

Qi et al., "PointNet" (arXiv 1612.00593), without the networks that turn inputs and features; Wang
et al., "Dynamic Graph CNN for Learning on Point Clouds" (arXiv 1801.07829), whose neighbours are
found anew in each layer's own features. Both with smaller widths and without dropout.

    points: (N, D, P), D coordinates of P points in any order -> scores of the classes (N, classes)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from experiments.models import MODELS
from spa.errors import InputError

POINTNET = (32, 64, 256)
DGCNN, WHOLE = (32, 32, 64), 128
HIDDEN = 64
# Of a point, itself among them; theirs are 20 of 1,024.
NEIGHBOURS = 8


def answers(channels: int, classes: int) -> nn.Sequential:
    """Two linear layers over what a whole set is."""
    return nn.Sequential(
        nn.Linear(channels, HIDDEN, bias=False),
        nn.BatchNorm1d(HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, classes),
    )


class PointNet(nn.Module):
    """Layers that every point goes through alone, the maximum over points, two Linears."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in POINTNET:
            layers += [nn.Conv1d(channels, width, 1, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
            channels = width
        self.layers = nn.Sequential(*layers)
        self.head = answers(channels, classes)

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        """points: (N, D, P) -> (N, classes)."""
        return self.head(self.layers(points).amax(2))


class EdgeConv(nn.Module):
    """What a point and each of its neighbours say together; the maximum over neighbours."""

    def __init__(self, in_chs: int, out_chs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2 * in_chs, out_chs, 1, bias=False)
        self.norm = nn.BatchNorm2d(out_chs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (N, C, P) -> (N, out_chs, P)."""
        n, channels, size = x.shape
        near = neighbours(x, min(NEIGHBOURS, size))  # (N, P, k)
        k = near.shape[2]
        index = near.reshape(n, 1, size * k).expand(n, channels, size * k)
        theirs = x.gather(2, index).reshape(n, channels, size, k)
        mine = x.unsqueeze(3).expand(n, channels, size, k)
        edges = torch.cat([mine, theirs - mine], 1)  # (N, 2C, P, k)
        return torch.relu(self.norm(self.conv(edges))).amax(3)


def neighbours(x: torch.Tensor, k: int) -> torch.Tensor:
    """Which k points are the nearest to each, itself among them; x: (N, C, P) -> (N, P, k)."""
    products = x.transpose(1, 2) @ x  # (N, P, P)
    squares = (x * x).sum(1)  # (N, P)
    distances = squares.unsqueeze(2) - 2 * products + squares.unsqueeze(1)
    return distances.topk(k, dim=2, largest=False).indices


class Dgcnn(nn.Module):
    """Layers of edges, all of them side by side through one more, the maximum, two Linears."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for width in DGCNN:
            self.layers.append(EdgeConv(channels, width))
            channels = width
        self.whole = nn.Sequential(
            nn.Conv1d(sum(DGCNN), WHOLE, 1, bias=False), nn.BatchNorm1d(WHOLE), nn.ReLU()
        )
        self.head = answers(WHOLE, classes)

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        """points: (N, D, P) -> (N, classes)."""
        x, found = points, []
        for layer in self.layers:
            x = layer(x)
            found.append(x)
        return self.head(self.whole(torch.cat(found, 1)).amax(2))


@MODELS.register("pointnet")
def pointnet(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """36,000 parameters.

    Raises:
        InputError: the samples are no sets of points.
    """
    return PointNet(_coordinates("pointnet", input_shape), classes)


@MODELS.register("dgcnn")
def dgcnn(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """32,000 parameters.

    Raises:
        InputError: the samples are no sets of points.
    """
    return Dgcnn(_coordinates("dgcnn", input_shape), classes)


def _coordinates(name: str, shape: Sequence[int]) -> int:
    if len(shape) != 2:
        raise InputError(f"{name} takes points (D, P), but theirs are {tuple(shape)}")
    return shape[0]
