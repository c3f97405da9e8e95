"""A traced module can be saved whole, and sent to other processes."""

from __future__ import annotations

import copy
import io
import subprocess
import sys

import torch
from torch import nn

import spa
from spa.bridge import OnnxModule, from_torch, to_torch


class Written(nn.Module):
    """A size is written in its forward, so what comes back is traced."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.drop, self.b = nn.Dropout(0.5), nn.Linear(256, 4)

    def forward(self, x):
        return self.b(self.drop(self.norm(self.a(x)).relu()).view(-1, 256)).softmax(-1)


def saved(net):
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    return file


def test_what_is_saved_whole_comes_back_equal():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 4)
    net = spa.prune(Written().eval(), inputs=x, ratio=0.5).module
    assert isinstance(net, OnnxModule)
    again = torch.load(saved(net), weights_only=False)
    assert not any(part.training for part in again.modules())
    assert torch.equal(again(x), net(x))
    assert list(again.weights) == list(net.weights)
    # In training mode it moves the same statistics.
    for each in (net, again):
        each.train()(x).sum().backward()
    for name, value in net.statistics.items():
        assert torch.equal(again.statistics[name], value)


def test_another_process_can_read_it(tmp_path):
    net = to_torch(from_torch(Written().eval(), torch.randn(2, 3, 4, 4)))
    (tmp_path / "net.pt").write_bytes(saved(net).getvalue())
    code = "import sys, torch; print(torch.load(sys.argv[1], weights_only=False).input_names)"
    found = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "net.pt")], capture_output=True, text=True
    )
    assert found.stdout.strip() == "('input',)", found.stderr[-500:]


def test_a_copy_shares_nothing():
    net = to_torch(from_torch(Written().eval(), torch.randn(2, 3, 4, 4)))
    other = copy.deepcopy(net)
    with torch.no_grad():
        for weight in other.weights.values():
            weight.zero_()
    assert all(bool(weight.any()) for name, weight in net.weights.items() if "norm" not in name)
    assert [step.run for step in other.steps] == list(other.runs)
    assert not set(map(id, other.runs)) & set(map(id, net.runs))
