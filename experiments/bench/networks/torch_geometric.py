"""PyTorch Geometric's convolutions over dense graphs, two layers and a mean of the nodes."""

from __future__ import annotations

from typing import Any

from experiments.bench.networks import COLLECTIONS, NETWORKS, Network
from experiments.bench.networks.waking import wake

NAMES = ("DenseGCNConv", "DenseSAGEConv", "DenseGraphConv", "DenseGINConv", "DenseGATConv")
FEATURES, HIDDEN, CLASSES, NODES = 7, 32, 3, 10


@NETWORKS.register("torch_geometric/")
def torch_geometric(name: str) -> Network:
    """Builds a network of a layer."""
    import torch
    from torch import Tensor, nn
    from torch_geometric.nn import dense

    def layer(wide: int, out: int) -> Any:
        if name == "DenseGINConv":
            return dense.DenseGINConv(nn.Sequential(nn.Linear(wide, out), nn.ReLU()))
        if name == "DenseGATConv":
            return dense.DenseGATConv(wide, out // 4, heads=4)
        return getattr(dense, name)(wide, out)

    class Net(nn.Module):
        """Nodes (N, nodes, features) and who is next to whom (N, nodes, nodes)."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = layer(FEATURES, HIDDEN), layer(HIDDEN, HIDDEN)
            self.last = nn.Linear(HIDDEN, CLASSES)

        def forward(self, x: Tensor, edges: Tensor) -> Any:
            x = torch.relu(self.first(x, edges))
            return self.last(torch.relu(self.second(x, edges)).mean(1))

    module = Net().eval()
    wake(module)
    edges = (torch.rand(2, NODES, NODES) < 0.4).float()
    return Network("torch_geometric", module, (torch.randn(2, NODES, FEATURES), edges))


COLLECTIONS["torch_geometric"] = lambda: NAMES
