"""Text and series of any length: chunks, landmarks, summaries, periods, lengths as inputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.feeds import Input, lengths, words
from tests.free_sizes.table import grid, network
from tests.free_sizes.windows import attend

WIDTH, HEADS = 16, 4
FEATURES = Input("x", ("N", "T", 8))
LONG = grid(
    N=(2, 1, 2, 2, 1, 3, 1, 2, 5, 1, 2, 1, 3),
    T=(16, 32, 33, 50, 100, 7, 64, 48, 21, 90, 131, 17, 40),
)


@network(FEATURES, traced={"N": 2, "T": 50}, tried=LONG)
class Chunked(nn.Module):
    """A sequence is padded to a multiple of 32 and attends within its chunks."""

    CHUNK = 32

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.qkv = nn.Linear(8, WIDTH), nn.Linear(WIDTH, 3 * WIDTH)
        self.out, self.head = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 5)

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.size()
        n = (t + self.CHUNK - 1) // self.CHUNK
        y = F.pad(self.embed(x), (0, 0, 0, n * self.CHUNK - t))
        qkv = self.qkv(y).view(b, n, self.CHUNK, 3, HEADS, WIDTH // HEADS)
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5).unbind(0)
        y = (q @ k.transpose(-1, -2) / 3).softmax(-1) @ v
        y = self.out(y.transpose(2, 3).reshape(b, n, self.CHUNK, WIDTH)).flatten(1, 2)
        return self.head(y[:, :t])


@network(FEATURES, traced={"N": 2, "T": 50}, tried=LONG)
class Longformer(nn.Module):
    """Chunks of 16 look at themselves, and at the one before and behind (Beltagy et al. 2020)."""

    CHUNK = 16

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Linear(8, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.q, self.k, self.v = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.head = nn.Linear(WIDTH, 5)

    def parts(self, x: Tensor, n: int) -> Tensor:
        """(N, n chunks, heads, chunk, size of a head)."""
        b = x.size(0)
        return x.view(b, n, self.CHUNK, HEADS, WIDTH // HEADS).transpose(2, 3)

    def near(self, x: Tensor) -> Tensor:
        """The chunk before, the chunk, the one behind: (N, n, heads, 3 chunk, size)."""
        before = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)
        behind = torch.cat([x[:, 1:], torch.zeros_like(x[:, :1])], 1)
        return torch.cat([before, x, behind], 3)

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.size()
        x = self.embed(x)
        y = F.pad(x, (0, 0, 0, (self.CHUNK - t % self.CHUNK) % self.CHUNK))
        n = y.size(1) // self.CHUNK
        q, k, v = (self.parts(f(y), n) for f in (self.q, self.k, self.v))
        k, v = self.near(k), self.near(v)
        y = ((q @ k.transpose(-1, -2) / 2).softmax(-1) @ v).transpose(2, 3)
        y = self.out(y.reshape(b, n * self.CHUNK, WIDTH))[:, :t]
        return self.head(x + y)


@network(FEATURES, traced={"N": 2, "T": 50}, tried=LONG)
class Nystrom(nn.Module):
    """Landmarks are means over ceil(T / 6) tokens, padded in front (Xiong et al. 2021)."""

    LANDMARKS = 6

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.qkv = nn.Linear(8, WIDTH), nn.Linear(WIDTH, 3 * WIDTH)
        self.out, self.head = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 5)

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        m = self.LANDMARKS
        y = F.pad(self.embed(x), (0, 0, (m - t % m) % m, 0))
        n = y.size(1)
        q, k, v = self.qkv(y).view(b, n, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4).unbind(0)
        q = q * 0.5
        size = (t + m - 1) // m
        fewer_q, fewer_k = (z.reshape(b, HEADS, m, size, -1).mean(3) for z in (q, k))
        a = (q @ fewer_k.transpose(-1, -2)).softmax(-1)
        c = (fewer_q @ k.transpose(-1, -2)).softmax(-1)
        y = (a @ (c @ v)).transpose(1, 2).reshape(b, n, -1)
        return self.head(self.out(y)[:, -t:])


class Summary(nn.Module):
    """Some tokens made from a mean look at all."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.made = nn.Linear(8, WIDTH), nn.Linear(WIDTH, 12)
        self.places = nn.Parameter(torch.randn(140, 12))
        self.back, self.head = nn.Linear(12, WIDTH), nn.Linear(WIDTH, 5)

    def count(self, t: int) -> int:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.embed(x))
        made = self.made(y.mean(1, keepdim=True)).expand(-1, self.count(x.size(1)), -1)
        made = torch.relu(made + self.places[: made.size(1)])
        return self.head(self.back(made))


@network(FEATURES, traced={"N": 2, "T": 50}, tried=LONG)
class SummaryCeil(Summary):
    """ceil(T / 64) of them."""

    def count(self, t: int) -> int:
        return (t + 63) // 64


@network(FEATURES, traced={"N": 2, "T": 50}, tried=LONG, exporters=("torchscript",))
class SummaryMin(Summary):
    """min(T, 8) of them."""

    def count(self, t: int) -> int:
        return torch.minimum(torch.as_tensor(t), torch.tensor(8))


@network(FEATURES, traced={"N": 2, "T": 50}, tried=LONG, exporters=("torchscript",))
class SummaryMax(Summary):
    """max(T, 60) of them."""

    def count(self, t: int) -> int:
        return torch.maximum(torch.as_tensor(t), torch.tensor(60))


@network(FEATURES, traced={"N": 2, "T": 50}, tried=LONG)
class SummaryMod(Summary):
    """1 + T mod 16 of them."""

    def count(self, t: int) -> int:
        return t % 16 + 1


@network(
    Input("ids", ("N", "T"), words(40)),
    Input("lengths", ("N",), lengths),
    traced={"N": 2, "T": 50},
    tried=LONG,
    rp=1.2,
)
class Sentences(nn.Module):
    """Words, places and a mask from lengths; the mean over what is no padding."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(40, WIDTH), nn.Embedding(200, WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 5)
        self.up, self.down = nn.Linear(WIDTH, 40), nn.Linear(40, WIDTH)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        place = torch.arange(ids.size(1))
        x = self.words(ids) + self.places(place)
        seen = place[None] < lengths[:, None]
        bias = (~seen)[:, None, None].float() * -1e9
        x = self.norm(x + self.out(attend(self.qkv(x), HEADS, 0.5, bias)))
        x = x + self.down(F.gelu(self.up(x)))
        x = x * seen[..., None]
        return self.head(x.sum(1) / lengths[:, None])


@network(FEATURES, traced={"N": 2, "T": 50}, tried=LONG)
class PadOrTrim(nn.Module):
    """Everything is brought to 40 frames, by zeros or by a cut (Whisper)."""

    FRAMES = 40

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(8, 16, 3, padding=1), nn.Conv1d(16, 20, 3, 2, 1)
        self.places, self.head = nn.Parameter(torch.randn(20, 20)), nn.Linear(20, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = F.pad(F.gelu(self.first(x.transpose(1, 2))), (0, self.FRAMES))[..., : self.FRAMES]
        return self.head(F.gelu(self.second(y)).transpose(1, 2) + self.places)


@network(FEATURES, traced={"N": 2, "T": 50}, tried=LONG)
class Folded(nn.Module):
    """Long series become pictures: padded to a multiple of a period and folded (TimesNet)."""

    PERIOD = 6

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(8, 12), nn.Linear(12, 5)
        self.first, self.second = nn.Conv2d(12, 24, 3, padding=1), nn.Conv2d(24, 12, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        b, t, c = x.shape
        more = (self.PERIOD - t % self.PERIOD) % self.PERIOD
        y = torch.cat([x, torch.zeros(b, more, c)], 1)
        y = y.reshape(b, (t + more) // self.PERIOD, self.PERIOD, c).permute(0, 3, 1, 2)
        y = self.second(F.gelu(self.first(y))).permute(0, 2, 3, 1).reshape(b, -1, c)
        return self.head(x + y[:, :t])
