"""LSTMs of two layers, for series and for texts: the mean of what they say at each step.

Hochreiter and Schmidhuber, "Long Short-Term Memory" (1997). They read forwards, and what lies
behind a series' last step counts in no mean, so that an answer does not depend on how far a series
is padded.

    series: (N, C, T), mask: (N, T) bool -> scores of the classes (N, classes)
    tokens: (N, T) int64, 0 behind the last word -> the same
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from experiments.models import MODELS
from experiments.models.shapes import channels_of_series, check_tokens

WIDTH, DEPTH = 64, 2
PAD = 0


class Lstm(nn.Module):
    """Layers, the mean over the steps that are there, one Linear."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.layers = nn.LSTM(channels, WIDTH, DEPTH, batch_first=True)
        self.head = nn.Linear(WIDTH, classes)

    def forward(self, series: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """series: (N, C, T), mask: (N, T) -> (N, classes)."""
        there = mask.unsqueeze(2).to(series.dtype)  # (N, T, 1)
        x, _ = self.layers(series.transpose(1, 2) * there)  # (N, T, width)
        return self.head((x * there).sum(1) / there.sum(1).clamp(min=1))


class TextLstm(nn.Module):
    """A table of words, and an `Lstm` of their vectors."""

    def __init__(self, vocabulary: int, classes: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, WIDTH)
        self.lstm = Lstm(WIDTH, classes)
        nn.init.normal_(self.words.weight, std=0.1)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """tokens: (N, T) -> (N, classes)."""
        return self.lstm(self.words(tokens).transpose(1, 2), tokens != PAD)


@MODELS.register("series_lstm")
def series_lstm(input_shapes: Mapping[str, tuple[int, ...]], classes: int) -> nn.Module:
    """54,000 parameters with 12 channels.

    Raises:
        InputError: the samples are no series with their masks.
    """
    return Lstm(channels_of_series("series_lstm", input_shapes), classes)


@MODELS.register("text_lstm")
def text_lstm(input_shape: tuple[int, ...], classes: int, vocabulary: int) -> nn.Module:
    """0.2 million parameters with 2,000 words.

    Raises:
        InputError: the samples are no rows of tokens.
    """
    check_tokens("text_lstm", input_shape)
    return TextLstm(vocabulary, classes)
