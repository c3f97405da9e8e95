"""A convolutional network for series: three convolutions over time, and the mean over time.

Wang, Yan and Oates, "Time Series Classification from Scratch with Deep Neural Networks" (arXiv
1611.06455), their FCN at half its widths, with windows of 7, 5 and 3 in place of 8, 5 and 3, which
lie evenly. What lies behind a series' last step is zero before every convolution and counts in no
mean, so that an answer does not depend on how far a series is padded.

    series: (N, C, T), mask: (N, T) bool -> scores of the classes (N, classes)
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from experiments.models import MODELS
from experiments.models.shapes import channels_of_series

# Channels and window of each convolution.
LAYERS = ((64, 7), (128, 5), (64, 3))


class Layer(nn.Module):
    """Convolution without bias, batch norm, ReLU; nothing where there is no step."""

    def __init__(self, in_chs: int, out_chs: int, size: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(in_chs, out_chs, size, padding=size // 2, bias=False)
        self.norm = nn.BatchNorm1d(out_chs)

    def forward(self, x: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """x: (N, C, T), there: (N, 1, T)."""
        return torch.relu(self.norm(self.conv(x))) * there


class SeriesFcn(nn.Module):
    """Layers, the mean over the steps that are there, one Linear."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for out_chs, size in LAYERS:
            self.layers.append(Layer(channels, out_chs, size))
            channels = out_chs
        self.head = nn.Linear(channels, classes)

    def forward(self, series: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """series: (N, C, T), mask: (N, T) -> (N, classes)."""
        there = mask.unsqueeze(1).to(series.dtype)  # (N, 1, T)
        x = series * there
        for layer in self.layers:
            x = layer(x, there)
        steps = there.sum(2).clamp(min=1)  # (N, 1)
        return self.head(x.sum(2) / steps)


@MODELS.register("series_fcn")
def series_fcn(input_shapes: Mapping[str, tuple[int, ...]], classes: int) -> nn.Module:
    """71,000 parameters with 12 channels.

    Raises:
        InputError: the samples are no series with their masks.
    """
    return SeriesFcn(channels_of_series("series_fcn", input_shapes), classes)
