"""The networks of DepGraph's experiments that no package has, with random weights.

"DepGraph: Towards Any Structural Pruning" (arXiv 2301.12900) prunes, beside convolutional and
vision networks, an LSTM for AG News, a GAT for PPI and a DGCNN for ModelNet. They are written after
their own papers here; widths are theirs, inputs are small.

Letters: N batch, T tokens, P points or nodes, K neighbours, I/O channels, h heads, d head size.
"""

from __future__ import annotations

from collections.abc import Callable

from experiments.bench.networks import LISTS, NETWORKS, Network
from experiments.bench.networks.waking import wake
from experiments.ground.registry import unknown


@NETWORKS.register("paper/")
def paper(name: str) -> Network:
    """Builds a network by its name here."""
    if name not in _BUILDERS:
        raise unknown("network", name, _BUILDERS)
    network = _BUILDERS[name]()
    wake(network.module.eval())
    return network


def gat() -> Network:
    """Graph attention network (arXiv 1710.10903), with the settings for PPI of its section 3.3.

    Three layers: 4 heads of 256, concatenated, twice, the second with a skip connection; then 6
    heads of 121 classes, averaged. The graph is a dense adjacency matrix.
    """
    import torch
    from torch import Tensor, nn
    from torch.nn import functional as F

    class Attention(nn.Module):
        """One layer: every node attends to its neighbours."""

        def __init__(self, inputs: int, heads: int, size: int) -> None:
            super().__init__()
            self.heads, self.size = heads, size
            self.linear = nn.Linear(inputs, heads * size, bias=False)
            self.source = nn.Parameter(torch.randn(heads, size) / size**0.5)
            self.target = nn.Parameter(torch.randn(heads, size) / size**0.5)

        def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
            # x: (N, P, I)   adjacency: (N, P, P)   y: (N, P, h, d)
            values = self.linear(x).unflatten(2, (self.heads, self.size))
            source = (values * self.source).sum(3).transpose(1, 2)  # (N, h, P)
            target = (values * self.target).sum(3).transpose(1, 2)
            scores = F.leaky_relu(source[..., :, None] + target[..., None, :], 0.2)
            shares = scores.masked_fill(adjacency[:, None] == 0, -1e9).softmax(3)
            return (shares @ values.transpose(1, 2)).transpose(1, 2)

    class GAT(nn.Module):
        def __init__(self, inputs: int = 50, size: int = 256, classes: int = 121) -> None:
            super().__init__()
            self.first = Attention(inputs, 4, size)
            self.second = Attention(4 * size, 4, size)
            self.last = Attention(4 * size, 6, classes)

        def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
            x = F.elu(self.first(x, adjacency).flatten(2))
            x = F.elu(self.second(x, adjacency).flatten(2) + x)
            return self.last(x, adjacency).mean(2)

    nodes = 12
    edges = (torch.rand(2, nodes, nodes) < 0.3).float()
    adjacency = (edges + edges.transpose(1, 2) + torch.eye(nodes)).clamp(max=1)
    return Network("graph", GAT(), (torch.randn(2, nodes, 50), adjacency))


def dgcnn() -> Network:
    """Dynamic graph network for point clouds (arXiv 1801.07829), as it classifies ModelNet40.

    In every layer a point's neighbours are the nearest ones in the features so far.
    """
    import torch
    from torch import Tensor, nn
    from torch.nn import functional as F

    class EdgeConvolution(nn.Module):
        """The largest of a network's answers over the edges to the nearest points."""

        def __init__(self, inputs: int, outputs: int, neighbours: int) -> None:
            super().__init__()
            self.neighbours = neighbours
            self.conv = nn.Conv2d(2 * inputs, outputs, 1, bias=False)
            self.norm = nn.BatchNorm2d(outputs)

        def forward(self, x: Tensor) -> Tensor:
            # x: (N, I, P)   edges: (N, 2I, P, K)   y: (N, O, P)
            squares = x.square().sum(1)
            distances = squares[:, :, None] - 2 * x.transpose(1, 2) @ x + squares[:, None]
            nearest = distances.topk(self.neighbours, largest=False).indices  # (N, P, K)
            channels, points = x.shape[1], x.shape[2]
            index = nearest.flatten(1)[:, None].expand(-1, channels, -1)
            around = x.gather(2, index).unflatten(2, (points, self.neighbours))
            centre = x[..., None].expand_as(around)
            edges = torch.cat([around - centre, centre], 1)
            return F.leaky_relu(self.norm(self.conv(edges)), 0.2).amax(3)

    class DGCNN(nn.Module):
        def __init__(self, neighbours: int = 5, classes: int = 40) -> None:
            super().__init__()
            widths = (3, 64, 64, 128, 256)
            self.layers = nn.ModuleList(
                EdgeConvolution(i, o, neighbours) for i, o in zip(widths, widths[1:], strict=False)
            )
            self.joined = nn.Sequential(
                nn.Conv1d(sum(widths[1:]), 1024, 1, bias=False),
                nn.BatchNorm1d(1024),
                nn.LeakyReLU(0.2),
            )
            self.head = nn.Sequential(
                nn.Linear(2048, 512, bias=False),
                nn.BatchNorm1d(512),
                nn.LeakyReLU(0.2),
                nn.Linear(512, 256),
                nn.BatchNorm1d(256),
                nn.LeakyReLU(0.2),
                nn.Linear(256, classes),
            )

        def forward(self, x: Tensor) -> Tensor:
            levels = []
            for layer in self.layers:
                x = layer(x)
                levels.append(x)
            x = self.joined(torch.cat(levels, 1))  # (N, 1024, P)
            return self.head(torch.cat([x.amax(2), x.mean(2)], 1))

    return Network("point cloud", DGCNN(), (torch.randn(2, 3, 24),))


def lstm() -> Network:
    """Text classifier for AG News: embedding, LSTM in both directions, linear.

    DepGraph gives no widths; these are usual ones.
    """
    import torch
    from torch import Tensor, nn

    class Classifier(nn.Module):
        def __init__(self, words: int = 1000, width: int = 128, classes: int = 4) -> None:
            super().__init__()
            self.embedding = nn.Embedding(words, width)
            self.lstm = nn.LSTM(width, width, 2, batch_first=True, bidirectional=True)
            self.head = nn.Linear(2 * width, classes)

        def forward(self, tokens: Tensor) -> Tensor:
            states, _ = self.lstm(self.embedding(tokens))  # (N, T, 2 * O)
            return self.head(states.mean(1))

    return Network("text classifier", Classifier(), (torch.randint(0, 1000, (2, 16)),))


_BUILDERS: dict[str, Callable[[], Network]] = {
    builder.__name__: builder for builder in (dgcnn, gat, lstm)
}


def _names() -> tuple[str, ...]:
    return tuple(_BUILDERS)


LISTS["paper"] = _names
