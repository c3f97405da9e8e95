"""Speech of any length, with the lengths without padding as a second input."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.feeds import Input, lengths
from tests.free_sizes.sequences import HEADS, LONG, WIDTH
from tests.free_sizes.table import grid, network
from tests.free_sizes.windows import attend


class Relative(nn.Module):
    """Self-attention with positions relative to each other, by the shift of Transformer-XL."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.place = nn.Linear(WIDTH, WIDTH, bias=False)
        self.u, self.w = (nn.Parameter(torch.randn(HEADS, WIDTH // HEADS)) for _ in range(2))
        self.register_buffer("rates", 50.0 ** (-torch.arange(WIDTH // 2) / (WIDTH // 2)))

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        n, t, c = x.shape
        q = self.q(x).view(n, t, HEADS, -1)
        k, v = (f(x).view(n, t, HEADS, -1).transpose(1, 2) for f in (self.k, self.v))
        far = torch.arange(2 * t - 1) - (t - 1)
        angles = -far.float()[:, None] * self.rates
        p = self.place(torch.cat([angles.sin(), angles.cos()], -1))
        p = p.view(1, 2 * t - 1, HEADS, -1).transpose(1, 2)
        by_content = (q + self.u).transpose(1, 2) @ k.transpose(-1, -2)
        by_place = (q + self.w).transpose(1, 2) @ p.transpose(-1, -2)  # (N, heads, T, 2 T - 1)
        by_place = F.pad(by_place, (1, 0)).view(n, HEADS, 2 * t, t)[:, :, 1:]
        by_place = by_place.reshape(n, HEADS, t, 2 * t - 1)[..., :t]
        scores = ((by_content + by_place) / 2).masked_fill(hidden[:, None, None], -1e4)
        y = scores.softmax(-1) @ v
        return self.out(y.transpose(1, 2).reshape(n, t, c))


@network(
    Input("x", ("N", "T", 8)),
    Input("lengths", ("N",), lengths),
    traced={"N": 2, "T": 50},
    tried=LONG,
    rp=1.8,
)
class Conformer(nn.Module):
    """Half a step up and down, attention, a gated depthwise convolution (Gulati et al. 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.subsample = nn.Conv1d(8, WIDTH, 3, 2, 1)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(5))
        self.up1, self.down1 = nn.Linear(WIDTH, 40), nn.Linear(40, WIDTH)
        self.up2, self.down2 = nn.Linear(WIDTH, 40), nn.Linear(40, WIDTH)
        self.attention = Relative()
        self.gated, self.each = (
            nn.Conv1d(WIDTH, 2 * 24, 1),
            nn.Conv1d(24, 24, 7, padding=3, groups=24),
        )
        self.batch, self.last = nn.BatchNorm1d(24), nn.Conv1d(24, WIDTH, 1)
        self.head = nn.Linear(WIDTH, 6)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        x = self.subsample(x.transpose(1, 2)).transpose(1, 2)
        hidden = torch.arange(x.size(1))[None] >= ((lengths + 1) // 2)[:, None]
        x = x + 0.5 * self.down1(F.silu(self.up1(self.norms[0](x))))
        x = x + self.attention(self.norms[1](x), hidden)
        y = self.norms[2](x).masked_fill(hidden[..., None], 0.0).transpose(1, 2)
        y = self.last(F.silu(self.batch(self.each(F.glu(self.gated(y), 1)))))
        x = x + y.transpose(1, 2)
        x = x + 0.5 * self.down2(F.silu(self.up2(self.norms[3](x))))
        return self.head(self.norms[4](x)).log_softmax(-1)


@network(
    Input("wave", ("N", "T")),
    Input("lengths", ("N",), lengths),
    traced={"N": 2, "T": 400},
    rp=1.5,
    tried=grid(
        N=(1, 2, 3, 1, 2, 1, 4, 2, 1, 2, 1, 3),
        T=(320, 401, 257, 640, 333, 100, 512, 199, 777, 64, 450, 160),
    ),
)
class Wav2Vec(nn.Module):
    """Strided convolutions, grouped ones for places, a mask from lengths (Baevski et al. 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv1d(1, 12, 10, 5, bias=False), nn.GroupNorm(12, 12)
        self.second, self.third = nn.Conv1d(12, 12, 3, 2, bias=False), nn.Conv1d(12, 12, 2, 2)
        self.before, self.project = nn.LayerNorm(12), nn.Linear(12, WIDTH)
        self.place = nn.utils.parametrizations.weight_norm(
            nn.Conv1d(WIDTH, WIDTH, 4, padding=2, groups=4), dim=2
        )
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.after = nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 40), nn.Linear(40, WIDTH)
        self.head = nn.Linear(WIDTH, 6)

    def forward(self, wave: Tensor, lengths: Tensor) -> Tensor:
        x = F.gelu(self.norm(self.first(wave[:, None])))
        x = F.gelu(self.third(F.gelu(self.second(x)))).transpose(1, 2)
        x = self.project(self.before(x))
        for kernel, stride in ((10, 5), (3, 2), (2, 2)):
            lengths = torch.div(lengths - kernel, stride, rounding_mode="floor") + 1
        hidden = torch.arange(x.size(1))[None] >= lengths.clamp(min=1)[:, None]
        x = x.masked_fill(hidden[..., None], 0.0)
        place = self.place(x.transpose(1, 2))[..., :-1]  # an even kernel gives one too many
        x = x + F.gelu(place).transpose(1, 2)
        bias = hidden[:, None, None].float() * -1e4
        x = self.after(x + self.out(attend(self.qkv(x), HEADS, 0.5, bias)))
        return self.head(x + self.down(F.gelu(self.up(x))))
