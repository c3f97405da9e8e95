"""A module that comes back computes what the pruned ONNX model computes, whatever its weights."""

from __future__ import annotations

import copy

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional

import spa
from spa.bridge import OnnxModule
from spa.graph.execute import run
from spa.modules import rebuild
from spa.modules.drawing import draw, holding
from spa.modules.likeness import equals

LOCAL = spa.Limits(scope="local")


class Attention(nn.Module):
    """With heads that ``reshape(..., -1)`` never misses."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        b, t, _ = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        y = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1) @ v
        return self.out(y.transpose(1, 2).reshape(b, t, -1))


class Silent(nn.Module):
    """Its fresh weights say nothing of its attention."""

    def __init__(self, head: float = 1.0, scale: float = 1.0, gate: float = 1.0) -> None:
        super().__init__()
        width = 16
        self.patch, self.norm = nn.Conv2d(3, width, 4, 4), nn.LayerNorm(width)
        self.attend, self.head = Attention(width, 4), nn.Linear(width, 5)
        self.scale = nn.Parameter(torch.full((width,), scale))
        self.gate = nn.Parameter(torch.tensor(gate))
        with torch.no_grad():
            self.head.weight *= head

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        return self.head((x + self.gate * self.scale * self.attend(self.norm(x))).mean(1))


class EqualNumbers(nn.Module):
    """Heads and their size are 8, and so is what no size means."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.shift, self.unread = 8, 8, (8, 1), 8
        self.embed, self.head = nn.Linear(12, 64), nn.Linear(64, 5)
        self.qkv, self.out = nn.Linear(64, 192), nn.Linear(64, 64)

    def forward(self, x):
        x = torch.roll(self.embed(x), self.shift, (0, 1))
        b, t, _ = x.shape
        shape = (b, t, 3, self.num_heads, self.head_dim)
        q, k, v = self.qkv(x).view(shape).permute(2, 0, 3, 1, 4).unbind(0)
        y = (q @ k.transpose(-1, -2) * self.head_dim**-0.5).softmax(-1) @ v
        return self.head(self.out(y.transpose(1, 2).reshape(b, t, -1)))


class Shapes(nn.Module):
    """Sizes in a tuple, and in one of torch's own layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 24), nn.Linear(24, 4)
        self.part, self.shape = nn.Unflatten(1, (24, 1)), (24, 1)

    def forward(self, x):
        x = self.part(self.first(x)).relu() * torch.ones(self.shape)
        return self.last(x.flatten(1))


class Normed(nn.Module):
    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Conv2d(3, 32, 1), norm, nn.Conv2d(32, 4, 1)

    def forward(self, x):
        return self.last(self.norm(self.first(x)).relu())


class Lines(nn.Module):
    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(6, 32), norm, nn.Linear(32, 4)

    def forward(self, x):
        return self.last(self.norm(torch.relu(self.first(x))))


class Encoder(nn.Module):
    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(6, width), nn.Linear(width, 3)
        self.layer = nn.TransformerEncoderLayer(width, 4, 48, 0.0, batch_first=True)

    def forward(self, x):
        return self.head(self.layer(self.embed(x)))


class Chunks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.inner = nn.Conv2d(3, 32, 3), nn.Conv2d(16, 16, 1)
        self.last = nn.Conv2d(48, 4, 1)
        with torch.no_grad():  # one half goes first
            self.first.weight[:12] *= 0.01

    def forward(self, x):
        a, b = self.first(x).relu().chunk(2, 1)
        return self.last(torch.cat([a, b, b + self.inner(b)], 1))


def pruned(module, x, **more):
    return spa.prune(module.eval(), inputs=x, **{"ratio": 0.5, "limits": LOCAL, **more})


def assert_equal_once_trained(result, x):
    """With the same other values in the module and, by name, in the ONNX model."""
    net, trained = copy.deepcopy(result.module), onnx.ModelProto()
    trained.CopyFrom(result.model)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * 0.3)
    state = net.state_dict()
    for tensor in trained.graph.initializer:
        if tensor.name in state:
            array = state[tensor.name].numpy()
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    for other in (x, torch.cat([x, x[:1]])):
        (want,) = run(trained, {"input": other.numpy()})
        with torch.no_grad():
            torch.testing.assert_close(net(other), torch.from_numpy(want), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("silence", [{"head": 0.0}, {"scale": 1e-6}, {"gate": 0.0}, {}], ids=str)
def test_weights_that_say_nothing_hide_no_number_of_heads(silence):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 16, 16)
    result = pruned(Silent(**silence), x)
    assert type(result.module) is Silent
    assert result.module.attend.heads == 2
    assert_equal_once_trained(result, x)


def test_of_equal_numbers_only_what_means_a_size_follows():
    torch.manual_seed(0)
    x = torch.randn(2, 6, 12)
    result = pruned(EqualNumbers(), x)
    net = result.module
    assert type(net) is EqualNumbers
    assert (net.num_heads, net.head_dim, net.shift, net.unread) == (4, 8, (8, 1), 8)
    assert result.plan.module["attributes"] == {"num_heads": 4}
    assert_equal_once_trained(result, x)


def test_where_the_size_of_heads_shrinks_it_is_that_number():
    torch.manual_seed(0)
    net = EqualNumbers()
    # The scale of attention stays what it was, and here forward computes it from the size.
    result = pruned(net, torch.randn(2, 6, 12), attention="head_dim")
    assert isinstance(result.module, OnnxModule)
    assert "computes something else" in result.plan.notes[-1]


def test_sizes_in_tuples_and_in_layers_without_parameters_follow():
    torch.manual_seed(0)
    x = torch.randn(2, 6)
    result = pruned(Shapes(), x)
    assert type(result.module) is Shapes
    assert tuple(result.module.part.unflattened_size) == result.module.shape == (12, 1)
    again = rebuild(Shapes(), spa.Plan.from_json(result.plan.to_json())).eval()
    again.load_state_dict(result.module.state_dict())
    assert torch.equal(again(x), result.module(x))


@pytest.mark.parametrize(
    ("net", "x", "sizes"),
    [
        (Lines(nn.LayerNorm(32, elementwise_affine=False)), (2, 6), {"normalized_shape": (16,)}),
        (Lines(nn.RMSNorm(32, elementwise_affine=False)), (2, 6), {"normalized_shape": (16,)}),
        (Lines(nn.BatchNorm1d(32, affine=False)), (2, 6), {"num_features": 16}),
        (Normed(nn.InstanceNorm2d(32)), (2, 3, 8, 8), {"num_features": 16}),
        (Normed(nn.GroupNorm(4, 32, affine=False)), (2, 3, 8, 8), {"num_channels": 16}),
    ],
    ids=["layer", "rms", "batch", "instance", "group"],
)
def test_norms_without_parameters_follow(net, x, sizes):
    x = torch.randn(*x)
    result = pruned(net, x)
    assert type(result.module) is type(net), result.plan.notes
    assert {name: getattr(result.module.norm, name) for name in sizes} == sizes
    assert_equal_once_trained(result, x)


def test_torchs_own_attention_follows_where_both_of_its_widths_do():
    torch.manual_seed(0)
    x = torch.randn(2, 5, 6)
    result = pruned(Encoder(), x)
    assert type(result.module) is Encoder, result.plan.notes
    layer = result.module.layer.self_attn
    assert (layer.embed_dim, layer.num_heads, layer.head_dim) == (16, 2, 8)
    again = rebuild(Encoder(), result.plan).eval()
    again.load_state_dict(result.module.state_dict())
    assert torch.equal(again(x), result.module(x))
    assert again.layer.self_attn.head_dim == 8


def test_unequal_halves_of_a_chunk_are_what_the_note_names():
    torch.manual_seed(0)
    result = pruned(Chunks(), torch.randn(2, 3, 8, 8), limits=spa.Limits(scope="global"))
    assert isinstance(result.module, OnnxModule)
    (note,) = result.plan.notes
    assert "equal parts (chunk), which keep unequal numbers of channels" in note


def test_a_pruned_model_is_not_lost_where_no_module_can_be_made(monkeypatch):
    def fails(*_):
        raise RuntimeError("no module today")

    monkeypatch.setattr("spa.modules.shrinking.copy.deepcopy", fails)
    result = pruned(Lines(nn.Identity()), torch.randn(2, 6))
    assert isinstance(result.module, OnnxModule)
    assert "no module today" in result.plan.notes[-1]
    monkeypatch.setattr("spa.modules.shrinking.to_torch", fails)
    result = pruned(Lines(nn.Identity()), torch.randn(2, 6))
    assert result.module is None
    assert result.proof is not None
    assert "Nor can it be traced" in result.plan.notes[-1]


def test_what_comes_in_stays_as_it_is():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.Dropout(), nn.Conv2d(16, 4, 1))
    net.train()
    net[3].eval()
    before = copy.deepcopy(net.state_dict())
    random = torch.random.get_rng_state()
    result = spa.prune(net, inputs=torch.ones(2, 3, 8, 8), ratio=0.5, limits=LOCAL)
    assert type(result.module) is nn.Sequential
    after = net.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert [part.training for part in net] == [True, True, True, False]
    assert all(p.grad is None for p in net.parameters())
    assert torch.equal(torch.random.get_rng_state(), random)


def test_drawn_weights_let_the_signal_pass_and_go_again():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1), nn.Flatten())
    net.append(nn.Linear(8, 8))
    net[4].weight = nn.Parameter(torch.zeros(8, 8))
    net[2].register_parameter("tied", net[4].weight)
    own = copy.deepcopy(net.state_dict())
    values = draw(net, 0, 1.0)
    assert set(values) == {name for name in own if not name.endswith("num_batches_tracked")}
    assert (values["1.weight"] > 0).all()
    assert (values["1.running_var"] > 0).all()
    assert torch.equal(values["2.tied"], values["4.weight"])
    assert float(values["4.weight"].std()) > 0.1
    with holding(net, values):
        assert torch.equal(net[4].weight, values["4.weight"])
        net.train()(torch.randn(2, 3, 3, 3))  # statistics move
    assert all(torch.equal(own[name], value) for name, value in net.state_dict().items())


def test_small_channels_beside_large_ones_count():
    want = np.ones((2, 3, 4), np.float32) * np.array([640, 0.01, 0], np.float32)[:, None]
    have = want.copy()
    assert equals(have * (1 + 1e-6), want)
    have[:, 1] *= 2
    assert not equals(have, want)
    assert not equals(want[:1], want)
    have = want.copy()
    have[0, 0, 0] = np.nan
    assert not equals(have, want)
    assert equals(have, have)


def test_functional_layers_with_raw_parameters_are_drawn_too():
    class Raw(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Parameter(torch.zeros(16, 6)), nn.Parameter(torch.zeros(4, 16))
            self.width = 16

        def forward(self, x):
            y = functional.linear(x, self.a).reshape(-1, 1, self.width).relu()
            return functional.linear(y, self.b)

    x = torch.randn(2, 6)
    result = pruned(Raw(), x)
    assert type(result.module) is Raw
    assert result.module.width == 8
    assert_equal_once_trained(result, x)
