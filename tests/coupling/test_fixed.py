"""Channels that say something by their place stay, and what they meet is pruned as ever."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import spa
from spa.bridge import from_torch
from spa.graph.model import Model
from tests.graph.test_fixed_numbers import MEL, RATES, WAVES

Axis = tuple[str, int]


class Spectrum(nn.Module):
    """A Fourier transform as a convolution or a product, in front of a network."""

    def __init__(self, convolves: bool) -> None:
        super().__init__()
        waves = torch.tensor(WAVES * np.hanning(64), dtype=torch.float32)
        self.convolves = convolves
        self.register_buffer("fourier", waves[:, None] if convolves else waves.T.contiguous())
        self.a, self.b = nn.Conv1d(33, 24, 1), nn.Conv1d(24, 1, 1)

    def forward(self, audio: Tensor) -> Tensor:
        if self.convolves:
            parts = nn.functional.conv1d(audio, self.fourier, stride=32)
        else:
            parts = (audio.reshape(-1, 8, 64) @ self.fourier).transpose(1, 2)
        power = parts[:, :33] ** 2 + parts[:, 33:] ** 2
        return self.b(torch.relu(self.a(power)))


class MelBands(nn.Module):
    """A bank of filters over a spectrum that is given."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mel", torch.tensor(MEL.T, dtype=torch.float32))
        self.a, self.b = nn.Linear(10, 24), nn.Linear(24, 3)

    def forward(self, spectrum: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(torch.log1p((spectrum @ self.mel).abs()))))


class Denoiser(nn.Module):
    """A time code of waves, as diffusion networks have."""

    def __init__(self) -> None:
        super().__init__()
        self.time, self.stem = nn.Linear(32, 24), nn.Conv2d(3, 24, 3, padding=1)
        self.head = nn.Conv2d(24, 3, 3, padding=1)
        self.register_buffer("rates", torch.tensor(RATES, dtype=torch.float32))

    def forward(self, x: Tensor, step: Tensor) -> Tensor:
        angle = step[:, None].float() * self.rates[None]
        code = self.time(torch.cat([angle.cos(), angle.sin()], -1))
        return self.head(torch.relu(self.stem(x) + code[:, :, None, None]))


class Boxes(nn.Module):
    """YOLO's distribution over distances, whose mean is read off by a convolution of 0, 1, 2 ..."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bins = nn.Conv2d(3, 24, 3, padding=1), nn.Conv2d(24, 64, 1)
        self.register_buffer("places", torch.arange(16.0).reshape(1, 16, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bins(torch.relu(self.stem(x))).reshape(x.shape[0], 4, 16, -1)
        return nn.functional.conv2d(y.transpose(1, 2).softmax(1), self.places)


class Categories(nn.Module):
    """A category as a one-hot row, in front of a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(12, 24), nn.Linear(24, 3)

    def forward(self, category: Tensor) -> Tensor:
        rows = (category[:, None] == torch.arange(12)[None]).float()
        return self.b(torch.relu(self.a(rows)))


class Placed(nn.Module):
    """Waves added to what an embedding makes: they go with its channels."""

    def __init__(self) -> None:
        super().__init__()
        angles = torch.arange(50.0)[:, None] * torch.tensor(RATES, dtype=torch.float32)
        self.register_buffer("places", torch.cat([angles.sin(), angles.cos()], 1))
        self.embed, self.b = nn.Linear(6, 32), nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.embed(x) + self.places[: x.shape[1]]))


class Scaled(nn.Module):
    """Scales and shifts that are a progression, by chance or as they began."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 24, 3), nn.Conv2d(24, 5, 1)
        self.scale = nn.Parameter(torch.linspace(0.5, 1, 24)[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(x) * self.scale))


class Blurred(nn.Module):
    """One kernel for all channels between two convolutions: they go together, and it follows."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 24, 3), nn.Conv2d(24, 5, 1)
        row = torch.tensor([1.0, 2.0, 1.0])
        self.register_buffer("blur", (row * row[:, None] / 16).expand(24, 1, 3, 3).contiguous())

    def forward(self, x: Tensor) -> Tensor:
        return self.b(nn.functional.conv2d(torch.relu(self.a(x)), self.blur, groups=24))


AUDIO = torch.randn(2, 1, 512)
PICTURE = torch.randn(2, 3, 8, 8)
KEPT: dict[str, tuple[Callable[[], nn.Module], tuple[Tensor, ...], str, Axis, Axis]] = {
    # name: network, inputs, what its reason says, an axis that stays, one that is pruned
    "convolved": (
        lambda: Spectrum(True), (AUDIO,), "fixed numbers", ("fourier", 0), ("a.weight", 0)
    ),
    "multiplied": (
        lambda: Spectrum(False), (AUDIO,), "fixed numbers", ("fourier", 1), ("a.weight", 0)
    ),
    "mel": (MelBands, (torch.rand(2, 33),), "a filter bank", ("mel", 1), ("a.weight", 0)),
    "time": (
        Denoiser,
        (PICTURE, torch.randint(0, 1000, (2,))),
        "a progression",
        ("time.weight", 1),
        ("stem.weight", 0),
    ),
    "bins": (Boxes, (PICTURE,), "a progression", ("bins.weight", 0), ("stem.weight", 0)),
    "one-hot": (
        Categories, (torch.arange(5),), "a progression", ("a.weight", 1), ("a.weight", 0)
    ),
}  # fmt: skip


def file_of(network: nn.Module, inputs: tuple[Tensor, ...]) -> Model:
    return spa.load(from_torch(network.eval(), inputs if len(inputs) > 1 else inputs[0]))


@pytest.mark.parametrize("name", KEPT)
def test_what_is_read_by_place_stays(name: str) -> None:
    torch.manual_seed(0)
    build, inputs, why, stays, goes = KEPT[name]
    model = file_of(build(), inputs)
    groups = spa.find_groups(model)
    reasons = {(k.tensor, k.axis): k.reason for k in groups.kept}
    assert why in reasons[stays], reasons
    assert stays not in {(m.name, m.axis.axis) for g in groups for m in g.members}
    plan = spa.prune(model, ratio=0.5, limits=spa.Limits(scope="local")).plan
    lost = {(entry.name, entry.axis) for entry in plan.parameters}
    assert goes in lost
    assert stays not in lost


@pytest.mark.parametrize(
    ("build", "shape", "axes"),
    [
        (Placed, (2, 7, 6), [("embed.weight", 0), ("places", 1), ("b.weight", 1)]),
        (Scaled, (2, 3, 8, 8), [("a.weight", 0), ("scale", 0), ("b.weight", 1)]),
        (Blurred, (2, 3, 8, 8), [("a.weight", 0), ("blur", 0), ("b.weight", 1)]),
    ],
)
def test_what_only_goes_along_is_pruned(
    build: Callable[[], nn.Module], shape: tuple[int, ...], axes: list[Axis]
) -> None:
    torch.manual_seed(0)
    groups = spa.find_groups(file_of(build(), (torch.randn(shape),)))
    found = {(m.name, m.axis.axis) for g in groups for m in g.members}
    assert found >= set(axes), (found, groups.kept)
