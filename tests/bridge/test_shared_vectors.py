"""What a module uses twice is one parameter: it loses the same channels for all of its uses."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

import spa
from spa.graph.execute import run


class OneActivation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.c, self.act = nn.Conv2d(16, 4, 1), nn.PReLU(16)

    def forward(self, x):
        return self.c(self.act(self.b(self.act(self.a(x)))))


class OneNormOfTwoBranches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(3, 16, 1)
        self.c, self.d, self.norm = nn.Conv2d(16, 4, 1), nn.Conv2d(16, 2, 1), nn.BatchNorm2d(16)

    def forward(self, x):
        return self.c(self.norm(self.a(x)).relu()), self.d(self.norm(self.b(x)).relu())


class OneLayerNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 16), nn.Linear(16, 16), nn.Linear(16, 4)
        self.norm, self.shift = nn.LayerNorm(16), nn.Parameter(torch.zeros(16))

    def forward(self, x):
        x = functional.relu(self.norm(self.a(x)) + self.shift)
        return self.c(functional.relu(self.norm(self.b(x)) + self.shift))


class Parametrized(nn.Module):
    def __init__(self, how) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 16), how(nn.Linear(16, 1))

    def forward(self, x):
        return self.b(functional.leaky_relu(self.a(x), 0.2))


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (OneActivation, (2, 3, 8, 8)),
        (OneNormOfTwoBranches, (2, 3, 8, 8)),
        (OneLayerNorm, (2, 6)),
        (lambda: Parametrized(spectral_norm), (2, 6)),
        (lambda: Parametrized(weight_norm), (2, 6)),
    ],
    ids=["activation", "branches", "norm", "spectral", "weight"],
)
def test_it_is_cut_once_and_the_class_stays(make, shape):
    torch.manual_seed(0)
    net, x = make().eval(), torch.randn(*shape)
    for parameter in net.parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter, 1.0, 0.3)
    result = spa.prune(net, inputs=x, ratio=0.5, limits=spa.Limits(scope="local"))
    assert type(result.module) is type(net), result.plan.notes
    assert not any(removal.uses for removal in result.plan.parameters)
    assert result.module.a.weight.shape[0] == 8
    wanted = run(result.model, {"input": x.numpy()})
    with torch.no_grad():
        found = result.module(x)
    for have, want in zip(found if isinstance(found, tuple) else (found,), wanted, strict=True):
        torch.testing.assert_close(have, torch.from_numpy(want), rtol=0, atol=1e-5)


def test_equal_vectors_of_different_parameters_stay_apart():
    torch.manual_seed(0)
    net = nn.Sequential()
    for inputs, outputs in ((6, 16), (16, 16), (16, 16)):  # every norm's vectors are ones and zeros
        net.extend([nn.Linear(inputs, outputs), nn.LayerNorm(outputs), nn.ReLU()])
    net.append(nn.Linear(16, 4))
    x = torch.randn(2, 6)
    result = spa.prune(net.eval(), inputs=x, ratio=0.5, limits=spa.Limits(scope="local"))
    gone = {removal.name: removal.removed for removal in result.plan.parameters}
    assert gone["1.weight"] != gone["4.weight"]
    assert type(result.module) is nn.Sequential
