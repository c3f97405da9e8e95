"""Grouped and depthwise convolutions: the number of groups is what the file says."""

from __future__ import annotations

import pytest
from torch import Tensor, nn
from torch.nn import functional

import spa
from tests.graphs import attribute, initializer, node_of
from tests.what_users_ask_for.asked import check, exported

# --- Grouped and depthwise (item 8) -----------------------------------------------------------


def test_a_convolution_with_one_output_is_not_depthwise():
    """VainF/Torch-Pruning#126, #179: out_channels == groups == 1 was taken for depthwise."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
            self.conv2, self.bn2 = nn.Conv2d(8, 12, 2, stride=2), nn.BatchNorm2d(12)
            self.conv3, self.bn3 = nn.Conv2d(12, 1, 3, padding=1), nn.BatchNorm2d(1)

        def forward(self, x: Tensor) -> Tensor:
            x = functional.relu(self.bn1(self.conv1(x)))
            x = functional.relu(self.bn2(self.conv2(x)))
            return self.bn3(self.conv3(x))

    pruned = check(
        exported(Net(), 3, 8, 8),
        "12: bn2.bias.0 bn2.running_mean.0 bn2.running_var.0 bn2.weight.0 "
        "conv2.bias.0 conv2.weight.0 conv3.weight.1",
        "8: bn1.bias.0 bn1.running_mean.0 bn1.running_var.0 bn1.weight.0 conv1.bias.0 "
        "conv1.weight.0 conv2.weight.1",
    )
    assert initializer(pruned, "conv3.weight").shape == (1, 6, 3, 3)


@pytest.mark.parametrize("multiplier", [1, 2, 3])
def test_several_outputs_for_every_input(multiplier):
    """openvinotoolkit/nncf#986: groups == in_channels with k outputs each gave wrong masks."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 6, 3, padding=1)
            self.depth = nn.Conv2d(6, 6 * multiplier, 3, padding=1, groups=6)
            self.head = nn.Conv2d(6 * multiplier, 5, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(functional.relu(self.depth(functional.relu(self.stem(x)))))

    times = "" if multiplier == 1 else f"*{multiplier}"
    pruned = check(
        exported(Net(), 3, 6, 6),
        f"6: depth.bias.0{times} depth.weight.0{times} head.weight.1{times} "
        f"stem.bias.0 stem.weight.0",
    )
    assert attribute(node_of(pruned, "Conv", 1), "group") == 3


@pytest.mark.parametrize("groups", [2, 4])
def test_grouped_convolutions_stay_evenly_divided(groups):
    """VainF/Torch-Pruning#9: grouped convolutions could not be pruned."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 3, padding=1)
            self.conv = nn.Conv2d(8, 16, 3, padding=1, groups=groups)
            self.head = nn.Conv2d(16, 5, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(functional.relu(self.conv(functional.relu(self.stem(x)))))

    check(
        exported(Net(), 3, 6, 6),
        f"{8 // groups}: conv.weight.1 stem.bias.0*{groups} stem.weight.0*{groups}",
        f"{16 // groups}: conv.bias.0*{groups} conv.weight.0*{groups} head.weight.1*{groups}",
    )


def test_any_layer_of_an_inverted_residual_can_start():
    """VainF/Torch-Pruning#328: "Given groups=27, expected weight to be divisible by 27"."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 6, 3, padding=1)
            self.expand, self.bn1 = nn.Conv2d(6, 18, 1, bias=False), nn.BatchNorm2d(18)
            self.depth, self.bn2 = nn.Conv2d(18, 18, 3, 1, 1, groups=18), nn.BatchNorm2d(18)
            self.project = nn.Conv2d(18, 6, 1, bias=False)
            self.head = nn.Conv2d(6, 5, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            y = functional.hardswish(self.bn1(self.expand(x)))
            y = functional.hardswish(self.bn2(self.depth(y)))
            return self.head(x + self.project(y))

    proto = exported(Net(), 3, 6, 6)
    check(
        proto,
        "18: bn1.bias.0 bn1.running_mean.0 bn1.running_var.0 bn1.weight.0 bn2.bias.0 "
        "bn2.running_mean.0 bn2.running_var.0 bn2.weight.0 depth.bias.0 "
        "depth.weight.0 expand.weight.0 project.weight.1",
        "6: expand.weight.1 head.weight.1 project.weight.0 stem.bias.0 stem.weight.0",
    )
    for name in ("stem", "expand", "depth", "project"):
        limits = spa.Limits(scope="local", include=[f"{name}.weight"])
        result = spa.prune(proto, ratio=0.2, criterion="random", limits=limits)
        assert result.proof.equal
        assert any(group.removed for group in result.plan.groups)
