"""Modules whose code has sizes in it keep their class where that is asked for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import spa
from tests.oracles import run


class WidthIn(nn.Module):
    """YOLOv10's attention: what comes out is as wide as what came in, whatever its heads are."""

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.key, self.value = 4, 4, 8
        self.qkv, self.proj = nn.Conv2d(32, 64, 1), nn.Conv2d(32, 32, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        parts = self.qkv(x).view(b, self.heads, self.key * 2 + self.value, h * w)
        q, k, v = parts.split([self.key, self.key, self.value], 2)
        x = (v @ (q.transpose(-2, -1) @ k).softmax(-1).transpose(-2, -1)).view(b, c, h, w)
        return self.proj(x)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.middle = nn.Conv2d(3, 48, 3), nn.Conv2d(48, 32, 1)
        self.attn, self.last = WidthIn(), nn.Conv2d(32, 40, 3)
        self.head = nn.Conv2d(40, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.middle(torch.relu(self.stem(x)))
        return self.head(torch.relu(self.last(x + self.attn(x)))).mean((2, 3))


IMAGE = torch.randn(2, 3, 10, 10)


def net() -> Net:
    torch.manual_seed(0)
    made = Net().eval()
    with torch.no_grad():
        made.attn.proj.weight.mul_(0.1)  # the attention's channels go first
        made.attn.qkv.weight.mul_(0.1)
    return made


def test_what_has_a_size_in_it_stays_and_the_rest_reaches_the_target() -> None:
    traced = spa.prune(net(), inputs=IMAGE, rf=1.6)
    assert type(traced.module) is not Net
    kept = spa.prune(net(), inputs=IMAGE, rf=1.6, keep_class=True)
    assert type(kept.module) is Net
    assert kept.reached.rf >= 1.6
    assert kept.proof.equal
    assert kept.module.attn.qkv.weight.shape == (64, 32, 1, 1)
    assert kept.module.stem.out_channels < 48
    (note,) = (note for note in kept.plan.notes if "class is kept" in note)
    assert "attn" in note
    x = torch.randn(3, 3, 10, 10)
    (want,) = run(kept.model, {kept.model.graph.input[0].name: x.numpy()}).values()
    torch.testing.assert_close(kept.module(x), torch.from_numpy(want), rtol=1e-4, atol=1e-5)


def test_a_target_that_the_class_forbids_says_so() -> None:
    assert spa.prune(net(), inputs=IMAGE, rf=12).reached.rf >= 12
    with pytest.raises(spa.InfeasibleTarget, match="class can be kept.*attn"):
        spa.prune(net(), inputs=IMAGE, rf=12, keep_class=True)


def test_nothing_is_held_where_the_class_follows_anyway() -> None:
    plain = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 5, 1)).eval()
    one = spa.prune(plain, inputs=IMAGE, rf=1.5)
    other = spa.prune(plain, inputs=IMAGE, rf=1.5, keep_class=True)
    assert other.plan.parameters == one.plan.parameters
    assert not any("class" in note for note in other.plan.notes)


class Encoder(nn.Module):
    """Torch's own attention: one width inside and outside."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(12, 24), nn.Linear(24, 5)
        self.attention = nn.ModuleList(
            nn.MultiheadAttention(24, 4, batch_first=True) for _ in range(2)
        )
        self.up = nn.ModuleList(nn.Linear(24, 96) for _ in range(2))
        self.down = nn.ModuleList(nn.Linear(96, 24) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for attention, up, down in zip(self.attention, self.up, self.down, strict=True):
            x = x + attention(x, x, x, need_weights=False)[0]
            x = x + down(torch.relu(up(x)))
        return self.head(x.mean(1))


def test_torch_s_own_attention_stays_as_it_is() -> None:
    torch.manual_seed(0)
    net = Encoder().eval()
    result = spa.prune(net, inputs=torch.randn(2, 7, 12), rf=1.4, keep_class=True)
    assert type(result.module) is Encoder, result.plan.notes
    assert result.reached.rf >= 1.4
    assert all(part.embed_dim == 24 for part in result.module.attention)
    assert all(part.out_features < 96 for part in result.module.up)


def test_a_wrapped_module_keeps_its_class_too() -> None:
    """Paths are those of the module inside of torch.compile's wrapper."""
    torch.manual_seed(0)
    wrapped = torch.compile(Encoder().eval())
    result = spa.prune(wrapped, inputs=torch.randn(2, 7, 12), rf=1.4, keep_class=True)
    assert type(result.module) is Encoder, result.plan.notes
