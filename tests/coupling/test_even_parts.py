"""Equal parts that lose the same indices, so that a module with ``chunk`` keeps its class."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import spa
from spa.bridge import from_torch
from spa.modules import rebuild


class Split(nn.Module):
    """YOLOv8's C2f: halves of a convolution, one of which goes on; all are concatenated."""

    def __init__(self, how: str = "chunk") -> None:
        super().__init__()
        self.how, self.c = how, 16
        self.cv1, self.m = nn.Conv2d(8, 32, 1), nn.Conv2d(16, 16, 3, padding=1)
        self.cv2 = nn.Conv2d(48, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "chunk":
            y = list(self.cv1(x).chunk(2, 1))
        elif self.how == "split":
            y = list(self.cv1(x).split((self.c, self.c), 1))
        else:
            whole = self.cv1(x)
            y = [whole[:, : self.c], whole[:, self.c :]]
        y.append(torch.relu(self.m(y[-1])))
        return self.cv2(torch.cat(y, 1))


class Net(nn.Module):
    """Blocks of it between convolutions."""

    def __init__(self, how: str = "chunk") -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 5, 1)
        self.blocks = nn.Sequential(Split(how), nn.ReLU(), Split(how))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(torch.relu(self.stem(x))).mean((2, 3), keepdim=True))


class Gated(nn.Module):
    """A gate and what it is multiplied with, halves of one layer (GLU)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 40), nn.Linear(20, 4)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.a(x).chunk(2, -1)
        return self.b(a * torch.sigmoid(b))


IMAGE = torch.randn(2, 3, 12, 12)


@pytest.mark.parametrize("how", ["chunk", "split", "slices"])
@pytest.mark.parametrize("scope", ["global", "local"])
def test_the_class_is_kept_at_any_ranking(how: str, scope: str) -> None:
    torch.manual_seed(0)
    net = Net(how).eval()
    limits = spa.Limits(scope=scope)
    result = spa.prune(net, inputs=IMAGE, rf=1.8, limits=limits, keep_class=True)
    assert type(result.module) is Net, result.plan.notes
    assert result.reached.rf >= 1.8
    assert result.proof.equal
    for block in (result.module.blocks[0], result.module.blocks[2]):
        assert block.cv1.out_channels % 2 == 0
        assert block.m.in_channels == block.cv1.out_channels // 2 < 16
    module = result.module.train()
    module(IMAGE).sum().backward()
    fresh = rebuild(Net(how), spa.Plan.from_json(result.plan.to_json()))
    fresh.load_state_dict(result.module.state_dict())


def test_without_it_the_ranking_may_part_halves() -> None:
    """What it is for: the same call without it gives a traced module, with the way out."""
    torch.manual_seed(0)
    net = Net().eval()
    with torch.no_grad():
        net.blocks[0].cv1.weight[:16] *= 0.1
        net.blocks[0].m.weight[:, :3] *= 0.1
    result = spa.prune(net, inputs=IMAGE, rf=1.8)
    assert type(result.module) is not Net
    assert any("keep_class" in note for note in result.plan.notes)
    kept = spa.prune(net, inputs=IMAGE, rf=1.8, keep_class=True)
    assert type(kept.module) is Net


def test_the_plan_knows_how_it_was_made() -> None:
    """It applies, and is verified, by itself."""
    model = spa.load(from_torch(Net().eval(), IMAGE))
    result = spa.prune(model, ratio=0.4, keep_class=True)
    plan = spa.Plan.from_json(result.plan.to_json())
    assert plan.coupled == {"attention": "heads", "even_parts": True}
    again = spa.apply_plan(model, plan)
    assert again.SerializeToString() == result.model.SerializeToString()
    assert spa.verify(model, again, plan).equal


def test_halves_are_one_group() -> None:
    model = spa.load(from_torch(Gated().eval(), torch.randn(3, 6)))
    (group,) = spa.find_groups(model, even_parts=True)
    assert group.channels == 20
    model = spa.load(from_torch(Net().eval(), IMAGE))
    apart, together = (spa.find_groups(model, even_parts=even) for even in (False, True))
    assert len(together) < len(apart)
    for group in together:
        for member in group.members:
            if member.name == "blocks.0.cv1.weight" and member.axis.axis == 0:
                assert np.array_equal(member.indices[:, 0] + 16, member.indices[:, 1])
