"""A small encoder of texts: two blocks of attention among the words that are there, and their mean.

Vaswani et al., "Attention Is All You Need" (arXiv 1706.03762), with norms first, learned positions
and the mean of the words in place of a word for the whole. What lies behind the last word is looked
at by none and counts in no mean, so that an answer does not depend on how far a text is padded.

    tokens: (N, T) int64, 0 behind the last word -> scores of the classes (N, classes)
"""

from __future__ import annotations

import torch
from torch import nn

from experiments.models import MODELS
from experiments.models.shapes import check_tokens

WIDTH, DEPTH, HEADS, MLP_RATIO = 64, 2, 4, 4
PAD = 0


class Attention(nn.Module):
    """Every word looks at all that are there. h heads, d a head's width."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """x: (N, T, width), hidden: (N, 1, 1, T), what is added to scores."""
        n, t, _ = x.shape

        def heads(y: torch.Tensor) -> torch.Tensor:
            return y.reshape(n, t, HEADS, WIDTH // HEADS).transpose(1, 2)  # (N, h, T, d)

        q, k, v = heads(self.query(x)), heads(self.key(x)), heads(self.value(x))
        scores = q @ k.transpose(2, 3) / (WIDTH // HEADS) ** 0.5 + hidden
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, t, WIDTH))


class Block(nn.Module):
    """Attention, then two linear layers; each after a norm, and added to what came in."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention = Attention()
        self.mlp = nn.Sequential(
            nn.Linear(WIDTH, MLP_RATIO * WIDTH), nn.GELU(), nn.Linear(MLP_RATIO * WIDTH, WIDTH)
        )

    def forward(self, x: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """x: (N, T, width), hidden: (N, 1, 1, T)."""
        x = x + self.attention(self.norm1(x), hidden)
        return x + self.mlp(self.norm2(x))


class TextEncoder(nn.Module):
    """Tables of words and positions, blocks, a last norm, the mean of the words, one Linear."""

    def __init__(self, length: int, vocabulary: int, classes: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, WIDTH)
        self.positions = nn.Parameter(torch.empty(length, WIDTH))
        self.blocks = nn.ModuleList(Block() for _ in range(DEPTH))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, classes)
        for table in (self.words.weight, self.positions):
            nn.init.normal_(table, std=0.1)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """tokens: (N, T) -> (N, classes)."""
        there = (tokens != PAD).to(self.positions.dtype)  # (N, T)
        hidden = (there - 1).reshape(*there.shape[:1], 1, 1, -1) * 1e4  # finite: no row is NaN
        x = self.words(tokens) + self.positions[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x, hidden)
        x = self.norm(x) * there.unsqueeze(2)
        return self.head(x.sum(1) / there.sum(1, keepdim=True).clamp(min=1))


@MODELS.register("text_encoder")
def text_encoder(input_shape: tuple[int, ...], classes: int, vocabulary: int) -> nn.Module:
    """0.23 million parameters with 2,000 words.

    Raises:
        InputError: the samples are no rows of tokens.
    """
    check_tokens("text_encoder", input_shape)
    return TextEncoder(input_shape[0], vocabulary, classes)
