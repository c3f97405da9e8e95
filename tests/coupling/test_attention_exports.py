"""torch's attention as its exporters write it: heads are found, pruned and proven."""

from __future__ import annotations

import io
import logging

import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.coupling.cases import described, prove

WIDTH, HEADS, HIDDEN, TOKENS = 24, 4, 20, 5
DIM = WIDTH // HEADS


class Scaled(nn.Module):
    """Projections around scaled_dot_product_attention, as most model code has them."""

    def __init__(self, own: int = HEADS, causal: bool = False) -> None:
        super().__init__()
        self.own, self.causal = own, causal
        self.q, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.k, self.v = nn.Linear(WIDTH, own * DIM), nn.Linear(WIDTH, own * DIM)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, _ = x.shape
        q, k, v = (
            y.view(batch, tokens, -1, DIM).transpose(1, 2)
            for y in (self.q(x), self.k(x), self.v(x))
        )
        shared = self.own != HEADS
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal, enable_gqa=shared)
        return self.out(y.transpose(1, 2).reshape(batch, tokens, WIDTH))


class Itself(nn.Module):
    """nn.MultiheadAttention of one sequence."""

    def __init__(self, weights: bool = False, **settings: bool) -> None:
        super().__init__()
        self.weights = weights
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True, **settings)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.attention(x, x, x, need_weights=self.weights)[0]


class Two(nn.Module):
    """A decoder layer: attention to itself, then to what it remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerDecoderLayer(WIDTH, HEADS, HIDDEN, batch_first=True,
                                                norm_first=True)  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x, torch.flip(x, [1]))


def encoder(norm_first: bool) -> nn.Module:
    return nn.TransformerEncoderLayer(WIDTH, HEADS, HIDDEN, batch_first=True,
                                      norm_first=norm_first)  # fmt: skip


def exported(module: nn.Module, exporter: str, opset: int, dynamic: bool) -> onnx.ModelProto:
    """ONNX with random weights; torch starts biases at zero."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    module.eval()
    x = torch.randn(2, TOKENS, WIDTH)
    if exporter == "dynamo":
        shapes = ({0: torch.export.Dim("batch", min=1, max=64)},) if dynamic else None
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            module, (x,), dynamo=True, opset_version=opset, dynamic_shapes=shapes, verbose=False
        )
        return program.model_proto
    file = io.BytesIO()
    torch.onnx.export(
        module, (x,), file, dynamo=False, opset_version=opset, input_names=["x"],
        dynamic_axes={"x": {0: "batch"}} if dynamic else None,
    )  # fmt: skip
    return onnx.load_from_string(file.getvalue())


def counted(proto: onnx.ModelProto, attention: str) -> list[str]:
    """Groups by how many indices of every member a channel holds; names differ by exporter."""
    lines = []
    for line in described(proto, attention):
        channels, members = line.split(": ")
        held = [int(m.partition("*")[2] or 1) for m in members.split()]
        lines.append(f"{channels}: {' '.join(map(str, sorted(held)))}")
    return lines


# Weights and biases of q, k, v (packed: three in one), and the columns of what projects out.
SEPARATE = (["4: 6 6 6 6 6 6 6"], ["6: 4 4 4", "6: 4 4 4 4"])
SHARED = (["2: 6 6 6 6 12 12 12"], ["6: 2 2 4", "6: 2 2 4 4"])
PACKED = (["4: 6 18 18"], ["6: 4 12 12"])
MLP = "20: 1 1 1"

CASES = [
    ("dynamo", 18, Scaled, SEPARATE, True),
    ("dynamo", 24, lambda: Scaled(causal=True), SEPARATE, False),
    ("torchscript", 14, Scaled, SEPARATE, True),
    ("torchscript", 17, lambda: Scaled(causal=True), SEPARATE, True),
    ("dynamo", 18, lambda: Scaled(own=2), SHARED, False),
    ("dynamo", 23, lambda: Scaled(own=2), SHARED, True),
    ("dynamo", 18, Itself, PACKED, False),
    ("dynamo", 23, Itself, PACKED, True),
    ("torchscript", 13, lambda: Itself(weights=True), PACKED, True),
    ("torchscript", 17, Itself, PACKED, True),
    ("dynamo", 20, lambda: encoder(norm_first=True), PACKED, False),
    ("dynamo", 23, lambda: encoder(norm_first=False), PACKED, True),
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("exporter", "opset", "make", "groups", "dynamic"), CASES)
def test_exported_attention(exporter, opset, make, groups, dynamic):
    module = make()
    proto = exported(module, exporter, opset, dynamic)
    fused = [node for node in proto.graph.node if node.op_type == "Attention"]
    assert bool(fused) == (opset >= 23)
    rest = [MLP] if isinstance(module, nn.TransformerEncoderLayer) else []
    for attention, expected in zip(("heads", "head_dim"), groups, strict=True):
        assert sorted(counted(proto, attention)) == sorted([*expected, *rest])
        prove(proto, attention=attention, plain=False, seeds=(0,))
    assert counted(proto, "none") == rest


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("exporter", "opset"), [("dynamo", 23), ("torchscript", 17)])
def test_exported_decoder_layer(exporter, opset):
    proto = exported(Two(), exporter, opset, dynamic=True)
    found = counted(proto, "heads")
    assert MLP in found
    assert [line[:3] for line in found] == ["20:", "4: ", "4: "]
    prove(proto, plain=False, seeds=(0,))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_learned_key_and_value_go_with_their_head():
    """add_bias_kv: a key and a value that every query may attend to."""
    proto = exported(Itself(add_bias_kv=True), "dynamo", 23, dynamic=True)
    assert counted(proto, "heads") == ["4: 6 6 6 18 18"]
    prove(proto, plain=False, seeds=(0,))
