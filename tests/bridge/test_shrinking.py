"""Torch modules come back as smaller modules of their own class, or traced with the reason."""

from __future__ import annotations

import copy
import json
import re

import pytest
import torch
from torch import nn

import spa
from spa.bridge import OnnxModule
from spa.errors import BridgeError
from spa.graph.execute import run
from spa.modules import rebuild


class Residual(nn.Module):
    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width))
        self.wide = nn.Conv2d(width, 4 * width, 1)
        self.depthwise = nn.Conv2d(4 * width, 4 * width, 3, padding=1, groups=4 * width)
        self.narrow = nn.Conv2d(4 * width, width, 1)
        self.norm = nn.GroupNorm(4, width)
        self.slope = nn.PReLU(width)
        self.up = nn.ConvTranspose2d(width, 8, 2, stride=2)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.stem(x).relu()
        x = x + self.narrow(self.depthwise(self.wide(x)).relu())
        return self.head(self.up(self.slope(self.norm(x))).mean((2, 3)))


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x):
        n, t, _ = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.heads, self.size).permute(2, 0, 3, 1, 4).unbind(0)
        weights = (q @ k.transpose(-2, -1) * self.size**-0.5).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).reshape(n, t, self.heads * self.size))


class Transformer(nn.Module):
    """Six layers and six heads: the number of layers must not be taken for that of heads."""

    def __init__(self) -> None:
        super().__init__()
        self.depth = 6
        self.embed = nn.Embedding(20, 48)
        self.norms = nn.ModuleList(nn.LayerNorm(48) for _ in range(self.depth))
        self.blocks = nn.ModuleList(Attention(48, 6) for _ in range(self.depth))
        self.head = nn.Linear(48, 20, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        x = self.embed(tokens)
        for i in range(self.depth):
            x = x + self.blocks[i](self.norms[i](x))
        return self.head(x)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(6, 16, batch_first=True, bidirectional=True)
        self.head = nn.Linear(32, 3)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


class Halves(nn.Module):
    """Half of the channels, written as a number."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 16, 3), nn.Conv2d(8, 4, 1)

    def forward(self, x):
        x = self.first(x)
        return self.last(x[:, :8] * x[:, 8:].sigmoid()).mean((2, 3))


class Shaped(nn.Module):
    """A size that is written in forward, which does not break there."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 16), nn.Linear(16, 4)

    def forward(self, x):
        return self.last(torch.relu(self.first(x))) * (self.first.out_features / 16)


CASES = {
    "residual": (Residual, lambda: torch.randn(2, 3, 8, 8)),
    "transformer": (Transformer, lambda: torch.randint(20, (2, 5))),
    "recurrent": (Recurrent, lambda: torch.randn(2, 5, 6)),
}


def pruned(kind, x, ratio=0.5):
    torch.manual_seed(0)
    module = kind().eval()
    for parameter in module.parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter, 1.0, 0.3)
    return module, spa.prune(module, inputs=x, ratio=ratio, limits=spa.Limits(scope="local"))


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_class_stays_and_its_layers_are_smaller(name):
    kind, example = CASES[name]
    torch.manual_seed(1)
    x = example()
    module, result = pruned(kind, x)
    smaller = result.module
    assert type(smaller) is kind
    assert not smaller.training
    sizes = [sum(p.numel() for p in net.parameters()) for net in (smaller, module)]
    assert sizes[0] < 0.7 * sizes[1]
    for other in (x, torch.cat([x, x[:1]])):
        (want,) = run(result.model, {"input": other.numpy()})
        with torch.no_grad():
            torch.testing.assert_close(smaller(other), torch.from_numpy(want), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", sorted(CASES))
def test_it_is_rebuilt_from_the_constructor_and_the_plan(name, tmp_path):
    kind, example = CASES[name]
    x = example()
    _, result = pruned(kind, x)
    torch.save(result.module.state_dict(), tmp_path / "smaller.pt")
    plan = json.loads(json.dumps(result.plan.to_json()))
    again = rebuild(kind(), plan).eval()
    again.load_state_dict(torch.load(tmp_path / "smaller.pt", weights_only=True))
    with torch.no_grad():
        assert torch.equal(again(x), result.module(x))


def test_layers_show_their_new_sizes_and_numbers_of_the_class_follow():
    _, result = pruned(Residual, torch.randn(2, 3, 8, 8))
    net = result.module
    assert (net.wide.in_channels, net.wide.out_channels) == (8, 32)
    assert (net.depthwise.groups, net.depthwise.in_channels, net.depthwise.out_channels) == (
        32,
    ) * 3
    assert net.stem[1].num_features == net.norm.num_channels == net.slope.num_parameters == 8
    assert (net.up.in_channels, net.up.out_channels, net.head.in_features) == (8, 4, 4)
    _, result = pruned(Transformer, torch.randint(20, (2, 5)))
    net = result.module
    assert {block.heads for block in net.blocks} == {3}
    assert net.depth == 6
    assert net.head.weight is net.embed.weight
    assert set(result.plan.module["attributes"]) == {f"blocks.{i}.heads" for i in range(6)}


def test_it_trains_and_exports():
    x = torch.randn(4, 3, 8, 8)
    module, result = pruned(Residual, x)
    net = copy.deepcopy(result.module).train()
    net(x).square().mean().backward()
    assert all(p.grad is not None for p in net.parameters())
    program = torch.export.export(result.module, (x,))
    torch.testing.assert_close(program.module()(x), result.module(x))
    assert module.wide.out_channels == 64  # what came in is what it was


def test_a_module_in_train_mode_comes_back_in_train_mode():
    torch.manual_seed(0)
    result = spa.prune(Residual().train(), inputs=torch.randn(2, 3, 8, 8), ratio=0.25)
    assert result.module.training


@pytest.mark.parametrize(
    ("kind", "shape", "words"),
    [
        (Halves, (2, 3, 8, 8), r"written in the forward of Halves \(RuntimeError: "),
        (Shaped, (2, 6), "computes something else"),
        (
            lambda: nn.TransformerEncoderLayer(24, 4, 32, batch_first=True),
            (2, 5, 24),
            "MultiheadAttention has one width inside and outside",
        ),
    ],
)
def test_where_a_size_cannot_follow_the_module_is_traced_and_the_plan_says_why(kind, shape, words):
    x = torch.randn(*shape)
    _, result = pruned(kind, x)
    assert isinstance(result.module, OnnxModule)
    (note,) = result.plan.notes
    assert result.plan.module is None
    assert re.search(words, note), note
    (want,) = run(result.model, {"input": x.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(result.module(x), torch.from_numpy(want), rtol=0, atol=1e-4)
    with pytest.raises(BridgeError, match="no torch module whose class"):
        rebuild(kind(), result.plan)


def test_a_plan_of_another_module_is_refused():
    _, result = pruned(Residual, torch.randn(2, 3, 8, 8))
    with pytest.raises(BridgeError, match="it is of another module"):
        rebuild(Residual(4), result.plan)
