"""SqueezeNet 1.1: fire modules of 1x1 and 3x3 convolutions that are concatenated; no norms.

Iandola et al. (arXiv 1602.07360), in the authors' later version. As their own code has it, the
first convolution does not pad, pools take what is left over at the border (``ceil_mode``), and the
last convolution is the head. Small pictures keep their size in the stem. The ImageNet weights are
in `experiments.bench.carried`.
"""

from __future__ import annotations

import torch
from torch import nn

from experiments.models import MODELS, Shape

# Channels of each fire module: squeezed, and expanded to by each of the two convolutions.
FIRES = (
    *((16, 64), (16, 64), (32, 128), (32, 128)),
    *((48, 192), (48, 192), (64, 256), (64, 256)),
)
POOLED = (2, 4)  # fire modules that a pool comes before
SMALL = 64  # below this many pixels the stem keeps the resolution


class Fire(nn.Module):
    """A 1x1 convolution to few channels, and two from these, side by side."""

    def __init__(self, in_chs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze1x1 = nn.Conv2d(in_chs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (N, C, H, W)."""
        x = torch.relu(self.squeeze1x1(x))
        return torch.cat([torch.relu(self.expand1x1(x)), torch.relu(self.expand3x3(x))], 1)


class SqueezeNet(nn.Module):
    """``conv1``, ``fire2`` to ``fire9`` and ``conv10``, whose map is averaged."""

    def __init__(self, small: bool, in_chs: int, classes: int) -> None:
        super().__init__()
        self.small = small
        stride, padding = (1, 1) if small else (2, 0)
        self.conv1 = nn.Conv2d(in_chs, 64, 3, stride, padding)
        chs = 64
        for i, (squeezed, expanded) in enumerate(FIRES):
            setattr(self, f"fire{i + 2}", Fire(chs, squeezed, expanded))
            chs = 2 * expanded
        self.conv10 = nn.Conv2d(chs, classes, 1)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (N, C, H, W) -> (N, classes)."""
        x = torch.relu(self.conv1(x))
        x = x if self.small else self.pool(x)
        for i in range(len(FIRES)):
            x = getattr(self, f"fire{i + 2}")(self.pool(x) if i in POOLED else x)
        return torch.relu(self.conv10(x)).mean((2, 3))


@MODELS.register("squeezenet1_1")
def squeezenet1_1(input_shape: Shape, classes: int) -> nn.Module:
    """26 convolutions; 1.2 million parameters for 1000 classes."""
    return SqueezeNet(min(input_shape[1:]) < SMALL, input_shape[0], classes)
