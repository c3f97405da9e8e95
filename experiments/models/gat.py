"""A graph attention network: each atom looks at its neighbours, twice; then the mean of the atoms.

Velickovic et al., "Graph Attention Networks" (arXiv 1710.10903), on graphs with a full table of
neighbours. Heads are put side by side; a network over the mean of the atoms answers.

    nodes: (N, V, C), adjacency: (N, V, V) bool with each atom beside itself, mask: (N, V) bool
    -> scores of the classes (N, classes)
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional as F

from experiments.models import MODELS
from spa.errors import InputError

HEADS, WIDTH, DEPTH, HIDDEN = 8, 8, 2, 64


class Layer(nn.Module):
    """Vectors of neighbours, weighed by what both ends of an edge say. h heads, d a head's width.

    Their equation 3 asks a . [W x_i, W x_j], which is a sum of a score of either end; each is one
    row of a Linear a head.
    """

    def __init__(self, in_chs: int) -> None:
        super().__init__()
        self.value = nn.Linear(in_chs, HEADS * WIDTH, bias=False)
        self.looks, self.seen = (nn.Parameter(torch.empty(HEADS, 1, WIDTH)) for _ in range(2))
        self.bias = nn.Parameter(torch.zeros(HEADS * WIDTH))
        for scores in (self.looks, self.seen):
            nn.init.xavier_uniform_(scores)

    def forward(self, x: torch.Tensor, apart: torch.Tensor) -> torch.Tensor:
        """x: (N, V, C), apart: (N, 1, V, V), what is added to scores -> (N, V, h * d)."""
        n, nodes, _ = x.shape
        value = self.value(x).reshape(n, nodes, HEADS, WIDTH).transpose(1, 2)  # (N, h, V, d)
        mine = (value * self.looks).sum(3, keepdim=True)  # (N, h, V, 1)
        theirs = (value * self.seen).sum(3, keepdim=True).transpose(2, 3)  # (N, h, 1, V)
        weights = (F.leaky_relu(mine + theirs, 0.2) + apart).softmax(-1)
        return (weights @ value).transpose(1, 2).reshape(n, nodes, HEADS * WIDTH) + self.bias


class Gat(nn.Module):
    """Layers with ELU, the mean over the nodes that are there, two Linears."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for _ in range(DEPTH):
            self.layers.append(Layer(channels))
            channels = HEADS * WIDTH
        self.head = nn.Sequential(
            nn.Linear(channels, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, classes)
        )

    def forward(
        self, nodes: torch.Tensor, adjacency: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """nodes: (N, V, C), adjacency: (N, V, V), mask: (N, V) -> (N, classes)."""
        apart = (adjacency.to(nodes.dtype) - 1).unsqueeze(1) * 1e4  # finite: no row is NaN
        there = mask.to(nodes.dtype).unsqueeze(2)  # (N, V, 1)
        x = nodes
        for layer in self.layers:
            x = F.elu(layer(x, apart))
        return self.head((x * there).sum(1) / there.sum(1).clamp(min=1))


@MODELS.register("gat")
def gat(input_shapes: Mapping[str, tuple[int, ...]], classes: int) -> nn.Module:
    """9,200 parameters with 7 kinds of nodes.

    Raises:
        InputError: the samples are no graphs.
    """
    shapes = dict(input_shapes) if isinstance(input_shapes, Mapping) else {"input": input_shapes}
    if list(shapes) != ["nodes", "adjacency", "mask"] or len(shapes["nodes"]) != 2:
        given = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise InputError(
            "gat takes nodes (V, C), their adjacency (V, V) and their mask (V,), but theirs are "
            f"{given}"
        )
    return Gat(shapes["nodes"][1], classes)
