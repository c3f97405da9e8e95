"""A small language model: learned positions, two blocks of causal attention, norms first.

The form is that of Radford et al., "Language Models are Unsupervised Multitask Learners" (2019),
with a head of its own. Sizes are for a context of some dozens of tokens and a small vocabulary.

    tokens: (N, T) int64 -> scores of the next token (N, T, V)
"""

from __future__ import annotations

import torch
from torch import nn

from experiments.models import MODELS
from experiments.models.shapes import check_tokens

WIDTH, DEPTH, HEADS, MLP_RATIO = 64, 2, 4, 4


class Attention(nn.Module):
    """Every token looks at itself and those before it. h heads, d a head's width."""

    def __init__(self, context: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.out = nn.Linear(WIDTH, WIDTH)
        later = torch.full((context, context), -1e4).triu(1)  # finite, so that no row is NaN
        self.register_buffer("later", later, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (N, T, width)."""
        n, t, _ = x.shape

        def heads(y: torch.Tensor) -> torch.Tensor:
            return y.reshape(n, t, HEADS, WIDTH // HEADS).transpose(1, 2)  # (N, h, T, d)

        q, k, v = heads(self.query(x)), heads(self.key(x)), heads(self.value(x))
        scores = q @ k.transpose(2, 3) / (WIDTH // HEADS) ** 0.5 + self.later
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, t, WIDTH))


class Block(nn.Module):
    """Attention, then two linear layers; each after a norm, and added to what came in."""

    def __init__(self, context: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention = Attention(context)
        self.mlp = nn.Sequential(
            nn.Linear(WIDTH, MLP_RATIO * WIDTH), nn.GELU(), nn.Linear(MLP_RATIO * WIDTH, WIDTH)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (N, T, width)."""
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Gpt(nn.Module):
    """Tables of tokens and positions, blocks, a last norm, one Linear."""

    def __init__(self, context: int, vocabulary: int, classes: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, WIDTH)
        self.positions = nn.Parameter(torch.empty(context, WIDTH))
        self.blocks = nn.Sequential(*(Block(context) for _ in range(DEPTH)))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, classes, bias=False)
        for table in (self.tokens.weight, self.positions):
            nn.init.normal_(table, std=0.02)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """tokens: (N, T) -> (N, T, V)."""
        x = self.tokens(tokens) + self.positions
        return self.head(self.norm(self.blocks(x)))


@MODELS.register("gpt_small")
def gpt_small(input_shape: tuple[int, ...], classes: int, vocabulary: int) -> nn.Module:
    """0.1 million parameters.

    Raises:
        InputError: the samples are no rows of tokens.
    """
    check_tokens("gpt_small", input_shape)
    return Gpt(input_shape[0], vocabulary, classes)
