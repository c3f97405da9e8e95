"""Heads are found without head counts; views follow; key and value heads may be shared."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import spa
from tests.graphs import initializer
from tests.oracles import assert_equals_zeroed
from tests.what_users_ask_for.asked import check, exported

# --- Heads and view sizes (item 6) ------------------------------------------------------------


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
    # 3 of 8 heads of 3 are left, and 5 of the 12 channels between the two layers.
    assert initializer(result.model, "0.dense.weight").shape == (5, 3 * 3)


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


# --- Shared key and value heads (item 7) ------------------------------------------------------


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
    assert initializer(pruned, "q_proj.weight").size == 3 * 2 * 4 * 12
    assert initializer(pruned, "k_proj.weight").size == 2 * 4 * 12


def test_query_heads_of_one_kv_head_go_alone():
    """onnxsim/onnxsim#1103: with a single kv head (MQA), head pruning silently did nothing."""
    check(exported(Shared(8, 1), 5, 12), "8: o_proj.weight.1*4 q_proj.weight.0*4")
