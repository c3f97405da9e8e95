"""How users call their modules, and what an export of them is held to."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import spa
from spa.bridge import from_torch, to_torch
from spa.bridge.calls import call_of

LOCAL = {"ratio": 0.5, "limits": spa.Limits(scope="local")}


class Small(nn.Module):
    def __init__(self, inputs=8):
        super().__init__()
        self.a, self.b = nn.Linear(inputs, 32), nn.Linear(32, 4)

    def forward(self, x):
        return self.b(torch.relu(self.a(x)))


class Two(Small):
    def forward(self, x, mask=None, y=None, *, scale=1.0):
        x = x if y is None else x + y
        return super().forward(x if mask is None else x * mask) * scale


class OfDict(Small):
    def forward(self, batch):
        return super().forward(batch["x"] + batch["more"][0])


class Listed(Small):
    def forward(self, xs):
        return [super(Listed, self).forward(x) for x in xs]


X, Y = torch.randn(3, 8, generator=torch.Generator().manual_seed(1)), torch.ones(3, 8)


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        (Small, X), (Small, [X]), (Small, X.numpy()), (Small, (3, 8)), (Small, {"x": X}),
        (Two, (X, None, Y)), (Two, {"x": X, "y": Y}), (Two, (X, {"y": Y, "scale": 0.5})),
        (Two, ((3, 8), (3, 8))), (OfDict, ({"x": X, "more": [Y]},)),
        (OfDict, {"x": X, "more": (Y,)}),
        (Listed, ([X, Y],)),
    ],
)  # fmt: skip
def test_inputs_in_whatever_containers(kind, inputs):
    net = kind()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    result = spa.prune(net, inputs=inputs, **LOCAL)
    assert type(net) is kind
    assert type(result.module) is kind
    assert result.proof.equal
    assert result.reached.rp > 1.5
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    copy.deepcopy(result.module)
    pickle.dumps(result.module)


@pytest.mark.parametrize(
    "inputs", ["x", None, {"x": None}, (None,), (-1, 8), torch.randn(3, 9), {}]
)
def test_what_is_no_input_is_refused(inputs):
    with pytest.raises(spa.InputError):
        spa.prune(Small(), inputs=inputs, **LOCAL)


def test_ids_of_a_shape():
    net = nn.Sequential(nn.Embedding(10, 16), nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
    assert call_of(net, (2, 7)).tensors[0].dtype == torch.int64
    with pytest.raises(spa.InputError, match="2, 9"):
        call_of(Small(), (2, 9))


def test_the_example_is_the_user_s_to_the_end():
    class Likelihood(Small):
        def forward(self, p):
            return super().forward(torch.log(p))

    given = torch.rand(4, 8)
    model = spa.load(Likelihood(), given)
    assert np.array_equal(model.example["input"], given.numpy())
    assert model.varied is not None
    result = spa.prune(Likelihood(), inputs=given, **LOCAL)
    assert not any("unproven" in check for check in result.proof.checks)


def test_wrappers_are_seen_through():
    for wrapped in (torch.compile(Small(), backend="eager"), nn.DataParallel(Small())):
        assert type(spa.prune(wrapped, inputs=X, **LOCAL).module) is Small


class Pair(Small):
    def forward(self, x):
        assert x.shape[0] % 2 == 0
        a, b = x.chunk(2, 0)
        return super().forward(a) * super().forward(b)


class Fixed(Small):
    def forward(self, x):
        assert x.shape[0] == 3
        return super().forward(x)


class Ascending(Small):
    def forward(self, x, times):
        if bool((times[1:] < times[:-1]).any()):
            raise ValueError("times must ascend")
        return super().forward(x) * times[:, None]


class Adjacent(Small):
    def forward(self, x, graph):
        return super().forward(graph @ x)


@pytest.mark.parametrize(
    ("net", "inputs", "fixed"),
    [
        (Pair(), torch.randn(4, 8), False), (Fixed(), X, True),
        (Ascending(), (X, torch.arange(3) / 3), False), (Adjacent(), (X, torch.rand(3, 3)), True),
    ],
)  # fmt: skip
def test_batches_that_a_module_takes_and_no_others(net, inputs, fixed):
    result = spa.prune(net, inputs=inputs, **LOCAL)
    assert type(result.module) is type(net)
    assert any("batch is fixed" in note for note in result.plan.notes) == fixed


def test_precisions():
    for kind in (torch.float16, torch.float64):
        result = spa.prune(Small().to(kind), inputs=X.to(kind), **LOCAL)
        assert type(result.module) is Small
        assert result.module.a.weight.dtype == kind
    with pytest.raises(spa.BridgeError, match="bfloat16"):
        spa.prune(Small().bfloat16(), inputs=X.bfloat16(), **LOCAL)


def test_autocast():
    class Cast(Small):
        def forward(self, x):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return super().forward(x).float()

    assert type(spa.prune(Cast(), inputs=X, **LOCAL).module) is Cast
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert type(spa.prune(Small(), inputs=X, **LOCAL).module) is Small


class Noisy(Small):
    def forward(self, x):
        h = torch.relu(self.a(x))
        h = h + 0.3 * torch.randn_like(h) * torch.rand_like(h)
        return self.b(functional.dropout(h, 0.5, training=True))


class WrongNoise(Noisy):
    def forward(self, x):
        return super().forward(x) * (1 if torch.jit.is_tracing() else 2)


def test_modules_that_draw_are_compared_without_what_they_draw():
    assert type(spa.prune(Noisy(), inputs=X, **LOCAL).module) is Noisy
    with pytest.raises(spa.BridgeError, match="differs from PyTorch"):
        from_torch(WrongNoise(), X, exporters=("torchscript",))


class Best(nn.Module):
    def __init__(self, spread=1e-5, wrong=False):
        super().__init__()
        self.a, self.score, self.b = nn.Conv1d(3, 32, 3), nn.Conv1d(32, 1, 1), nn.Linear(32, 4)
        nn.init.normal_(self.score.weight, std=spread)
        self.wrong = wrong

    def forward(self, x):
        h = torch.relu(self.a(x))
        s = self.score(h)[:, 0]
        largest = not (self.wrong and torch.jit.is_tracing())
        best = torch.topk(s, 40, dim=1, largest=largest).indices
        return self.b(h.transpose(1, 2).gather(1, best[..., None].expand(-1, -1, 32)))


def test_choices_of_near_ties_are_torch_s_own():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 400)
    for spread in (1e-6, 1.0):
        proto = from_torch(Best(spread).eval(), x)
        assert "TopK" in [node.op_type for node in proto.graph.node]
    with pytest.raises(spa.BridgeError, match="chooses otherwise|differs"):
        from_torch(Best(1.0, wrong=True).eval(), x, exporters=("torchscript",))


def test_norms_that_run_but_are_not_read():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 4, 3)
            self.first = nn.BatchNorm2d(3, affine=False)
            self.side = nn.Sequential(nn.Conv2d(16, 8, 1), nn.BatchNorm2d(8), nn.ReLU(inplace=True))

        def forward(self, x):
            h = torch.relu(self.a(self.first(x)))
            side, y = self.side(h), self.b(h)
            return (y, side) if self.training else y

    net, x = Net().eval(), torch.randn(2, 3, 16, 16)
    for norm in (net.first, net.side[1]):
        norm.running_mean.uniform_(0.5, 1.5)
    names = {t.name for t in from_torch(net, x).graph.initializer}
    assert "first.running_mean" in names
    assert not any(name.startswith("side") for name in names)
    assert spa.prune(net, inputs=x, **LOCAL).proof.equal


def test_a_layer_at_two_paths_stays_one():
    shared = nn.Linear(16, 16)
    net = nn.Sequential(
        nn.Linear(8, 16), nn.Sequential(shared), nn.ReLU(), nn.Sequential(shared), nn.Linear(16, 4)
    )
    result = spa.prune(net, inputs=X, **LOCAL)
    assert all(isinstance(p, nn.Parameter) for p in net.parameters())
    assert net[1][0].weight is net[3][0].weight
    assert result.module[1][0] is result.module[3][0]


def test_a_module_of_a_file_is_pruned_again():
    proto = from_torch(Small(), X)
    assert spa.prune(to_torch(proto), inputs=X, **LOCAL).proof.equal
