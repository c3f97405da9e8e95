"""A convolutional network for texts: vectors of words, windows of three to five, their maxima.

Kim, "Convolutional Neural Networks for Sentence Classification" (arXiv 1408.5882), without dropout
and with smaller sizes. Windows begin at every word; what lies behind the last one is zero, and no
window begins there, so that an answer does not depend on how far a text is padded.

    tokens: (N, T) int64, 0 behind the last word -> scores of the classes (N, classes)
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from experiments.models import MODELS
from experiments.models.shapes import check_tokens

WIDTH, FILTERS, WINDOWS = 64, 64, (3, 4, 5)
PAD = 0


class TextCnn(nn.Module):
    """A table of words, a convolution for each size of windows, one Linear."""

    def __init__(self, vocabulary: int, classes: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, WIDTH)
        self.windows = nn.ModuleList(nn.Conv1d(WIDTH, FILTERS, size) for size in WINDOWS)
        self.head = nn.Linear(FILTERS * len(WINDOWS), classes)
        # Of the size that linear layers hold weights for; vectors of variance one learn slowly.
        nn.init.normal_(self.words.weight, std=0.1)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """tokens: (N, T) -> (N, classes)."""
        there = (tokens != PAD).unsqueeze(1).to(self.words.weight.dtype)  # (N, 1, T)
        x = self.words(tokens).transpose(1, 2) * there  # (N, width, T)
        found = []
        for window, size in zip(self.windows, WINDOWS, strict=True):
            y = torch.relu(window(F.pad(x, (0, size - 1)))) * there  # (N, filters, T)
            found.append(y.amax(2))  # at least 0, as is what the mask leaves
        return self.head(torch.cat(found, 1))


@MODELS.register("text_cnn")
def text_cnn(input_shape: tuple[int, ...], classes: int, vocabulary: int) -> nn.Module:
    """0.18 million parameters with 2,000 words.

    Raises:
        InputError: the samples are no rows of tokens.
    """
    check_tokens("text_cnn", input_shape)
    return TextCnn(vocabulary, classes)
