"""Concat, split, chunk, slice and reshape are followed by offset; size 1 couples with nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.coupling.cases import kept
from tests.graphs import initializer
from tests.what_users_ask_for.asked import check, exported

# --- Concat (item 4) -------------------------------------------------------------------------


def test_concat_of_the_same_tensor_twice():
    """VainF/Torch-Pruning#146: the next layer kept 960 inputs where 896 came in."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block1 = nn.Sequential(
                nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.GELU(), nn.Conv2d(8, 8, 1)
            )
            self.block2 = nn.Sequential(nn.Conv2d(16, 8, 1), nn.BatchNorm2d(8))
            self.head = nn.Conv2d(8, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.block1(x)
            return self.head(self.block2(torch.cat([x, x], dim=1)))

    pruned = check(
        exported(Net(), 8, 7, 7),
        "8: block1.0.bias.0 block1.0.weight.0 block1.1.bias.0 block1.1.running_mean.0 "
        "block1.1.running_var.0 block1.1.weight.0 block1.3.weight.1",
        "8: block1.3.bias.0 block1.3.weight.0 block2.0.weight.1*2",
        "8: block2.0.bias.0 block2.0.weight.0 block2.1.bias.0 block2.1.running_mean.0 "
        "block2.1.running_var.0 block2.1.weight.0 head.weight.1",
    )
    assert initializer(pruned, "block2.0.weight").shape == (4, 8, 1, 1)


def test_concat_of_unequal_branches_keeps_their_groups_apart():
    """VainF/Torch-Pruning#481: a wide and a deep branch were merged into one group."""

    class WideDeep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mlp = nn.Sequential(
                nn.Linear(10, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 5)
            )
            self.linear = nn.Linear(10, 3)
            self.lin2 = nn.Linear(8, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = x.reshape(x.shape[0], -1)
            return torch.sigmoid(self.lin2(torch.concat([self.linear(x), self.mlp(x)], dim=-1)))

    check(
        exported(WideDeep(), 2, 5),
        "3: lin2.weight.1 linear.bias.0 linear.weight.0",
        "5: lin2.weight.1 mlp.4.bias.0 mlp.4.weight.0",
        "8: mlp.0.bias.0 mlp.0.weight.0 mlp.1.bias.0 mlp.1.running_mean.0 "
        "mlp.1.running_var.0 mlp.1.weight.0 mlp.4.weight.1",
    )


def test_concat_of_what_is_pruned_and_what_is_not():
    """Xilinx/Vitis-AI#957: one input pruned and the other not was refused."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3, padding=1)
            self.head = nn.Conv2d(11, 5, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.cat([x, functional.relu(self.conv(x))], 1))

    proto = exported(Net(), 3, 6, 6)
    check(proto, "8: conv.bias.0 conv.weight.0 head.weight.1")
    assert kept(proto)["head.weight.1"].startswith("3 of 11")


def test_concat_within_concat_keeps_offsets():
    """Over-merged or misplaced channels: microsoft/nni#4637, microsoft/nni#3548,
    tianyic/only_train_once_personal_footprint#50."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 6, 1)
            self.c = nn.Conv2d(10, 2, 1)
            self.d = nn.Conv2d(22, 5, 1)

        def forward(self, x: Tensor) -> Tensor:
            a, b = self.a(x).relu(), self.b(x).sigmoid()
            inner = torch.cat([b, a], 1)
            return self.d(torch.cat([inner, self.c(inner), inner], 1))

    check(
        exported(Net(), 3, 5, 5),
        "2: c.bias.0 c.weight.0 d.weight.1",
        "4: a.bias.0 a.weight.0 c.weight.1 d.weight.1*2",
        "6: b.bias.0 b.weight.0 c.weight.1 d.weight.1*2",
    )


# --- Split, chunk, slice, reshape (item 5) ----------------------------------------------------


def test_a_chunk_needs_no_rewritten_block():
    """VainF/Torch-Pruning#147: YOLOv8's C2f had to be rewritten with two convolutions."""

    class C2f(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 6, 3, padding=1)
            self.cv1 = nn.Conv2d(6, 16, 1)
            self.m = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(2))
            self.cv2 = nn.Conv2d(32, 6, 1)
            self.head = nn.Conv2d(6, 5, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = list(functional.silu(self.cv1(self.stem(x))).chunk(2, 1))
            for bottleneck in self.m:
                y.append(y[-1] + functional.silu(bottleneck(y[-1])))
            return self.head(self.cv2(torch.cat(y, 1)))

    pruned = check(
        exported(C2f(), 3, 8, 8),
        "6: cv1.weight.1 stem.bias.0 stem.weight.0",
        "6: cv2.bias.0 cv2.weight.0 head.weight.1",
        "8: cv1.bias.0 cv1.weight.0 cv2.weight.1",
        "8: cv1.bias.0 cv1.weight.0 cv2.weight.1*3 m.0.bias.0 m.0.weight.0 "
        "m.0.weight.1 m.1.bias.0 m.1.weight.0 m.1.weight.1",
    )
    assert initializer(pruned, "cv1.weight").shape[0] == 8


@pytest.mark.parametrize("how", ["split", "chunk", "slice", "strided", "reshape"])
def test_parts_of_a_tensor_are_followed(how):
    """microsoft/nni#5416: split, slice and reshape stopped the speed-up."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 12, 3, padding=1)
            self.head = nn.Conv2d(6, 5, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            if how == "split":
                a, b = torch.split(y, [6, 6], dim=1)
            elif how == "chunk":
                a, b = y.chunk(2, dim=1)
            elif how == "slice":
                a, b = y[:, :6], y[:, 6:]
            elif how == "strided":
                a, b = y[:, ::2], y[:, 1::2]
            else:
                n, c, h, w = y.shape
                y = y.reshape(n, 2, c // 2, h, w)
                a, b = y[:, 0], y[:, 1]
            return self.head(a * torch.sigmoid(b))

    check(exported(Net(), 3, 6, 6), "6: conv.bias.0*2 conv.weight.0*2 head.weight.1")


def test_a_linear_layer_behind_flatten_and_transpose_is_found():
    """VainF/Torch-Pruning#188: linear layers of a detection transformer were not in the graph."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3, padding=1)
            self.project = nn.Linear(8, 6)
            self.query = nn.Parameter(torch.randn(4, 6))
            self.out = nn.Linear(6, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = self.project(self.conv(x).flatten(2).permute(2, 0, 1)).permute(1, 0, 2)
            return self.out(functional.relu(x.mean(1, keepdim=True) + self.query))

    check(
        exported(Net(), 3, 4, 4),
        "6: out.weight.1 project.bias.0 project.weight.0 query.1",
        "8: conv.bias.0 conv.weight.0 project.weight.1",
    )


# --- Broadcasting (item 9) --------------------------------------------------------------------


def test_a_mask_of_one_channel_is_not_tied_to_thirty_two():
    """VainF/Torch-Pruning#510: mask (B, 1, H, W) times x (B, 32, H, W)."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mask = nn.Conv2d(3, 1, 3, padding=1)
            self.conv = nn.Conv2d(3, 32, 3, padding=1)
            self.head = nn.Conv2d(32, 5, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.sigmoid(self.mask(x)) * self.conv(x))

    proto = exported(Net(), 3, 6, 6)
    pruned = check(proto, "32: conv.bias.0 conv.weight.0 head.weight.1")
    assert initializer(pruned, "mask.weight").shape == (1, 3, 3, 3)
