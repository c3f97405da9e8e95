"""The benchmark of other collections: a row for a network, whatever becomes of it."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from torch import Tensor, nn

from experiments.bench import collections
from experiments.bench.networks import COLLECTIONS, NETWORKS, Network


class Halves(nn.Module):
    """Calls chunk, so that its class is only kept where halves shrink alike."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 32, 3), nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.a(x).chunk(2, 1)
        return self.b(a * torch.sigmoid(b)).mean((2, 3))


def _network(name: str) -> Network:
    if name == "broken":
        raise RuntimeError("no such weights")
    net: nn.Module = Halves() if name == "halves" else nn.Linear(3, 4)
    image = torch.randn(2, 3, 8, 8) if name == "halves" else torch.randn(2, 3)
    return Network("own", net.eval(), (image,))


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    NETWORKS.names()
    monkeypatch.setitem(NETWORKS._entries, "own/", _network)


@pytest.mark.usefixtures("own")
def test_a_row_says_what_became_of_a_network() -> None:
    row = collections.judge("own/halves")
    assert row["stage"] == "done"
    assert row["rf"] >= 2
    assert row["kept"] is row["proven"] is row["trained"] is True


@pytest.mark.usefixtures("own")
def test_what_cannot_be_built_or_pruned_is_a_row_too() -> None:
    broken = collections.judge("own/broken")
    assert (broken["stage"], broken["reason"]) == ("build", "RuntimeError: no such weights")
    rigid = collections.judge("own/rigid")  # one layer: its outputs are the model's
    assert (rigid["stage"], rigid["rf"]) == ("done", 1)
    assert rigid["reason"].startswith("InfeasibleTarget")
    table = collections.report([broken, rigid, {"network": "gone/x", "stage": "missing"}])
    assert "| own | 2 | 0 | 1 | 1 | 0 | 1 |" in table
    assert "own/broken | build | — | — | RuntimeError" in table
    assert "gone" not in table


def test_every_collection_names_networks_that_it_can_build() -> None:
    NETWORKS.names()
    assert sum(len(names()) for names in COLLECTIONS.values()) >= 50
    for family, names in COLLECTIONS.items():
        assert len(set(names())) == len(names())
        assert f"{family}/" in NETWORKS._entries


def test_a_collection_that_is_not_installed_is_left_out(monkeypatch, capsys) -> None:
    for name in ("monai", "monai.networks"):  # wherever it is installed
        monkeypatch.setitem(sys.modules, name, None)
    collections.main(["--one", "monai/UNet"])
    row = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert row["stage"] == "missing"
    assert "monai" in row["reason"]
