"""What users of pruning tools asked for or complained about, item by item.

Every test reproduces the situation of an issue thread, named in its docstring, as a small model
that torch exports, without any hint; then it asks for the groups that are right there, prunes, and
has the result proven by SPA and by the oracle that shares no code with it.

1. Concat.                      2. Split, chunk, slice, reshape.    3. Heads and view sizes.
4. Shared key and value heads.  5. Grouped and depthwise.           6. Broadcasting.
7. Operators without a rule.    8. What is tied, why something stays, what must not go.
"""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import Tensor, nn
from torch.nn import functional

import spa
from spa.bridge import from_torch
from spa.cli.main import main
from spa.coupling.rules.base import RULES
from tests.coupling.cases import described, kept, prove
from tests.graphs import Builder, attribute, initializer, node_of
from tests.oracles import assert_equals_zeroed, run


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    torch.set_num_threads(1)


def exported(module: nn.Module, *shape: int) -> onnx.ModelProto:
    torch.manual_seed(0)
    for part in module.modules():
        if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
    return from_torch(module.eval(), torch.randn(2, *shape))


def check(proto: onnx.ModelProto, *groups: str) -> onnx.ModelProto:
    """The groups are as expected, and a model pruned at random is proven; returns it."""
    assert described(proto) == sorted(groups)
    exact = not any(group.startswith("~") for group in groups)
    return prove(proto, plain=False, equal=exact, seeds=(0, 1))


# --- 1. Concat (item 4) -------------------------------------------------------------------------


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


# --- 2. Split, chunk, slice, reshape (item 5) ----------------------------------------------------


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


# --- 3. Heads and view sizes (item 6) ------------------------------------------------------------


class Packed(nn.Module):
    """qkv in one layer, parted by reshape, permute and unbind: DeiT and vit-pytorch."""

    def __init__(self, width: int = 12, heads: int = 4, dim: int = 3) -> None:
        super().__init__()
        self.heads, self.dim = heads, dim
        self.to_qkv = nn.Linear(width, 3 * heads * dim)
        self.to_out = nn.Linear(heads * dim, width)

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = self.to_qkv(x).reshape(b, n, 3, self.heads, self.dim).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-1, -2) * self.dim**-0.5).softmax(-1)
        return self.to_out((weights @ v).transpose(1, 2).reshape(b, n, -1))


def test_heads_need_no_head_count():
    """VainF/Torch-Pruning#340, #450: head counts were given by hand, and views failed after."""
    check(exported(Packed(), 5, 12), "4: to_out.weight.1*3 to_qkv.bias.0*9 to_qkv.weight.0*9")


class Viewed(nn.Module):
    """q, k and v apart, with fixed sizes in each view: BERT and Hugging Face's ViT."""

    def __init__(self, width: int = 12, heads: int = 4, dim: int = 3) -> None:
        super().__init__()
        self.heads, self.dim = heads, dim
        self.query, self.key, self.value = (nn.Linear(width, heads * dim) for _ in range(3))
        self.dense = nn.Linear(heads * dim, width)

    def split(self, x: Tensor) -> Tensor:
        return x.view(x.size(0), x.size(1), self.heads, self.dim).permute(0, 2, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        scores = torch.matmul(q, k.transpose(-1, -2)) / self.dim**0.5
        y = torch.matmul(scores.softmax(-1), v).permute(0, 2, 1, 3).contiguous()
        return self.dense(y.view(y.size(0), y.size(1), self.heads * self.dim))


def test_fixed_view_sizes_follow():
    """intel/neural-compressor#525: "shape '[32, 44, 8, 64]' is invalid" after head pruning."""
    check(
        exported(Viewed(), 5, 12),
        "4: dense.weight.1*3 key.bias.0*3 key.weight.0*3 query.bias.0*3 "
        "query.weight.0*3 value.bias.0*3 value.weight.0*3",
    )


def test_heads_go_in_several_steps():
    """VainF/Torch-Pruning#411: five iterative steps broke a Hugging Face ViT."""
    proto = exported(nn.Sequential(Viewed(heads=8), nn.GELU(), Viewed(heads=8)), 5, 12)
    result = spa.prune(proto, ratio=0.6, steps=5, limits=spa.Limits(scope="local"))
    assert result.proof.equal
    assert_equals_zeroed(proto, result.model, result.plan.to_json(), batches=(1, 3))
    # 4 of 8 heads of 3 are left, and 5 of the 12 channels between the two layers.
    assert initializer(result.model, "0.dense.weight").shape == (5, 4 * 3)


def test_torch_s_own_attention():
    """VainF/Torch-Pruning#101: num_heads and hidden sizes of ViT were to be adjusted by hand."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(12, 4, batch_first=True)
            self.mlp = nn.Sequential(nn.Linear(12, 16), nn.GELU(), nn.Linear(16, 12))

        def forward(self, x: Tensor) -> Tensor:
            y, _ = self.attention(x, x, x, need_weights=False)
            x = x + y
            return x + self.mlp(x)

    check(
        exported(Block(), 5, 12),
        "16: mlp.0.bias.0 mlp.0.weight.0 mlp.2.weight.1",
        "4: attention.in_proj_bias.0*9 attention.in_proj_weight.0*9 attention.out_proj.weight.1*3",
    )


def test_pooled_attention():
    """VainF/Torch-Pruning#287: MViT pools q, k and v of every head with depthwise convolutions."""

    class Pooled(Viewed):
        def __init__(self) -> None:
            super().__init__()
            self.pool = nn.ModuleList(
                nn.Conv2d(3, 3, 3, stride=s, padding=1, groups=3) for s in (1, 2, 2)
            )

        def pooled(self, i: int, x: Tensor) -> Tensor:
            b, h, _, d = x.shape
            x = self.pool[i](x.reshape(b * h, 4, 4, d).permute(0, 3, 1, 2))
            return x.reshape(b, h, d, -1).transpose(2, 3)

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = (
                self.pooled(i, self.split(layer(x)))
                for i, layer in enumerate((self.query, self.key, self.value))
            )
            y = torch.matmul((q @ k.transpose(-1, -2) * 0.5).softmax(-1), v) + q
            return self.dense(y.transpose(1, 2).reshape(y.size(0), 16, -1))

    check(
        exported(Pooled(), 16, 12),
        "3: dense.weight.1*4 key.bias.0*4 key.weight.0*4 pool.0.bias.0 "
        "pool.0.weight.0 pool.1.bias.0 pool.1.weight.0 pool.2.bias.0 pool.2.weight.0 "
        "query.bias.0*4 query.weight.0*4 value.bias.0*4 value.weight.0*4",
    )


# --- 4. Shared key and value heads (item 7) ------------------------------------------------------


class Shared(nn.Module):
    """Query heads that share key and value heads, repeated by expand as in Llama."""

    def __init__(self, heads: int, kv_heads: int, dim: int = 4, width: int = 12) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.dim = heads, kv_heads, dim
        self.q_proj = nn.Linear(width, heads * dim, bias=False)
        self.k_proj = nn.Linear(width, kv_heads * dim, bias=False)
        self.v_proj = nn.Linear(width, kv_heads * dim, bias=False)
        self.o_proj = nn.Linear(heads * dim, width, bias=False)

    def repeated(self, x: Tensor) -> Tensor:
        b, h, t, d = x.shape
        repeats = self.heads // self.kv_heads
        return x[:, :, None].expand(b, h, repeats, t, d).reshape(b, h * repeats, t, d)

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        q = self.q_proj(x).view(b, t, self.heads, self.dim).transpose(1, 2)
        k, v = (
            self.repeated(layer(x).view(b, t, self.kv_heads, self.dim).transpose(1, 2))
            for layer in (self.k_proj, self.v_proj)
        )
        y = (q @ k.transpose(2, 3) * self.dim**-0.5).softmax(-1) @ v
        return self.o_proj(y.transpose(1, 2).reshape(b, t, -1))


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 2), (8, 4)])
def test_a_kv_head_goes_with_all_its_query_heads(heads, kv_heads):
    """VainF/Torch-Pruning#461, horseee/LLM-Pruner#64: query and kv heads no longer fitted."""
    members = "k_proj.weight.0*4 o_proj.weight.1*8 q_proj.weight.0*8 v_proj.weight.0*4"
    pruned = check(exported(Shared(heads, kv_heads), 5, 12), f"{kv_heads}: {members}")
    assert initializer(pruned, "k_proj.weight").size == kv_heads // 2 * 4 * 12


def test_the_same_query_head_of_every_kv_head_goes_where_that_is_finer():
    """IntelLabs/Hardware-Aware-Automated-Machine-Learning#37: with 14 query and 2 kv heads whole
    groups are only two. princeton-nlp/LLM-Shearing#62: every kv head keeps as many query heads."""
    proto = exported(Shared(14, 2), 5, 12)
    pruned = check(proto, "7: o_proj.weight.1*8 q_proj.weight.0*8")
    assert initializer(pruned, "q_proj.weight").size == 4 * 2 * 4 * 12
    assert initializer(pruned, "k_proj.weight").size == 2 * 4 * 12


def test_query_heads_of_one_kv_head_go_alone():
    """onnxsim/onnxsim#1103: with a single kv head (MQA), head pruning silently did nothing."""
    check(exported(Shared(8, 1), 5, 12), "8: o_proj.weight.1*4 q_proj.weight.0*4")


# --- 5. Grouped and depthwise (item 8) -----------------------------------------------------------


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


# --- 6. Broadcasting (item 9) --------------------------------------------------------------------


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


# --- 7. Operators without a rule (item 10) -------------------------------------------------------


def _two_stages(op: str) -> onnx.ModelProto:
    """Two stages of convolutions; what lies between them is an operator of another domain."""
    g = Builder()
    x = g.node("Relu", [g.conv(g.input(3, 4, 4), 3, 8)])
    x = g.node(op, [g.conv(x, 8, 6)], domain="com.microsoft")
    x = g.node("Relu", [g.conv(x, 6, 8)])
    return g.model(g.conv(x, 8, 5))


def test_hard_swish_is_followed():
    """microsoft/nni#5172: "Has not supported replacing module with type: Hardswish"."""
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Hardswish(), nn.Conv2d(8, 5, 1))
    check(exported(net, 3, 6, 6), "8: 0.bias.0 0.weight.0 2.weight.1")


def test_an_operator_without_a_rule_keeps_only_what_it_touches():
    """microsoft/nni#4635, #4885: one unknown operator stopped everything."""
    proto = _two_stages("Inverse")
    assert described(proto) == ["8: b0.0 w0.0 w1.1", "8: b2.0 w2.0 w3.1"]
    reason = kept(proto)["w1.0"]
    assert reason.startswith("6 of 6: ")
    assert 'com.microsoft::Inverse "n_inverse_0"' in reason
    prove(proto)


def test_one_function_teaches_an_operator(monkeypatch):
    """A plug-in is one function: triangles of matrices are taken apart, so channels pass."""

    def triangle(node, tracker):
        layers = tracker.keep_axes(tracker.read(node, 0), [2, 3], node, "a triangle is cut")
        tracker.write(node, layers)

    monkeypatch.setitem(RULES, "com.microsoft::Trilu", triangle)
    proto = _two_stages("Trilu")
    assert described(proto) == ["6: b1.0 w1.0 w2.1", "8: b0.0 w0.0 w1.1", "8: b2.0 w2.0 w3.1"]
    prove(proto)


def test_control_flow_does_not_stop_the_rest():
    """microsoft/nni#2922, #3050: models with control flow could not even be traced."""
    g = Builder()
    x = g.node("Relu", [g.conv(g.input(3, 4, 4), 3, 8)])
    y = g.conv(x, 8, 6)
    positive = g.node("Greater", [g.reduce("ReduceMean", y, [0, 1, 2, 3], keepdims=0),
                                  g.weight(np.float32(0), "zero")])  # fmt: skip
    branches = {}
    for name, op in (("then_branch", "Relu"), ("else_branch", "Neg")):
        node = helper.make_node(op, [y], [f"{name}_out"])
        out = helper.make_tensor_value_info(f"{name}_out", onnx.TensorProto.FLOAT, None)
        branches[name] = helper.make_graph([node], name, [], [out])
    z = g.node("If", [positive], **branches)
    proto = g.model(g.conv(z, 6, 5))
    assert described(proto) == ["8: b0.0 w0.0 w1.1"]
    assert "subgraph" in kept(proto)["w1.0"]
    prove(proto)


# --- 8. What is tied, why something stays, what must not go (item 15) ----------------------------


class Residual(nn.Module):
    """A stem, a block that is added to it, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.up, self.down = nn.Conv2d(8, 16, 1, bias=False), nn.Conv2d(16, 8, 1, bias=False)
        self.head = nn.Conv2d(8, 5, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn(self.stem(x)))
        return self.head(x + self.down(functional.relu(self.up(x))))


def _inspected(proto: onnx.ModelProto, tmp_path, capfd) -> tuple[dict, str]:
    path = tmp_path / "model.onnx"
    onnx.save(proto, path)
    texts = []
    for extra in (["--json"], []):
        capfd.readouterr()
        assert main(["inspect", str(path), *extra]) == 0
        texts.append(capfd.readouterr().out)
    return json.loads(texts[0]), texts[1]


def test_inspect_says_which_layers_are_tied(tmp_path, capfd):
    """VainF/Torch-Pruning#193, #482, #483: which layers must be pruned along with this one?"""
    document, text = _inspected(exported(Residual(), 3, 6, 6), tmp_path, capfd)
    tied = {(m["name"], m["axis"]) for m in document["groups"][0]["members"]}
    batch_norm = {(f"bn.{n}", 0) for n in ("weight", "bias", "running_mean", "running_var")}
    assert tied == batch_norm | {
        ("stem.weight", 0), ("down.weight", 0), ("up.weight", 1), ("head.weight", 1),
    }  # fmt: skip
    for name, axis in tied:
        assert f"{name} axis {axis}" in text


def test_a_group_is_found_from_the_inputs_of_its_reader():
    """VainF/Torch-Pruning#520: groups were listed by output channels alone."""
    groups = spa.find_groups(spa.load(exported(Residual(), 3, 6, 6)))
    (inner,) = [
        g for g in groups if ("down.weight", 1) in [(m.name, m.axis.axis) for m in g.members]
    ]
    assert {(m.name, m.axis.axis) for m in inner.members} == {("up.weight", 0), ("down.weight", 1)}


def test_inspect_says_why_something_is_not_pruned(tmp_path, capfd):
    """VainF/Torch-Pruning#356: a layer stayed as it was, and nothing said why."""
    document, text = _inspected(exported(Residual(), 3, 6, 6), tmp_path, capfd)
    reasons = {(entry["name"], entry["axis"]): entry["reason"] for entry in document["kept"]}
    assert reasons["head.weight", 0] == "it is an output of the model"
    assert "Conv" in reasons["stem.weight", 1]
    assert "head.weight axis 0 (5): it is an output of the model" in text


class Model(nn.Module):
    """A backbone of convolutions and a head of linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x).mean((2, 3)))


@pytest.mark.parametrize(
    ("limits", "widths"),
    [
        ({"include": ["backbone.*"]}, (4, 3, 10)),
        ({"exclude": ["head.0.*"]}, (4, 6, 10)),  # neither what it reads nor what it makes
        ({"exclude": ["head.2.*"]}, (4, 3, 10)),
        ({"include": ["*.0.weight"], "exclude": ["*.2.*"]}, (8, 6, 10)),
        ({"include": ["head.2.weight"]}, (8, 6, 5)),
    ],
)
def test_only_a_part_is_pruned(limits, widths):
    """NVIDIA/Model-Optimizer#176: prune the backbone alone, or all but some layers."""
    proto = exported(Model(), 3, 8, 8)
    limits = spa.Limits(scope="local", **limits)
    result = spa.prune(proto, ratio=0.5, limits=limits)
    names = ("backbone.0.bias", "backbone.2.bias", "head.0.bias")
    assert tuple(initializer(result.model, name).size for name in names) == widths
    assert result.proof.equal


@pytest.mark.parametrize("least", [1, 3])
def test_no_layer_is_wiped_out(least):
    """VainF/Torch-Pruning#8, Eric-mingjie/rethinking-network-pruning#18, microsoft/nni#2335: a
    layer of small weights lost all its channels in a global ranking, and the model broke."""
    net = Residual()
    with torch.no_grad():
        net.up.weight.mul_(1e-6)
        net.down.weight.mul_(1e-6)
    proto = exported(net, 3, 6, 6)
    limits = spa.Limits(scope="global", min_channels=least, max_ratio=1.0)
    result = spa.prune(proto, ratio=0.7, normalize="none", limits=limits)
    assert initializer(result.model, "up.weight").shape[0] == least
    assert result.proof.equal
    (output,) = run(result.model, {"input": np.ones((1, 3, 6, 6), np.float32)}).values()
    assert np.isfinite(output).all()
