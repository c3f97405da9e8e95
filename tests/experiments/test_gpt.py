"""The small language model: what it looks at, and what of it goes."""

from __future__ import annotations

import pytest
import torch

import spa
from experiments.models import MODELS
from spa.bridge import from_torch
from spa.errors import InputError


def test_a_token_sees_itself_and_those_before_it():
    torch.manual_seed(0)
    net = MODELS.get("gpt_small")((8,), 11, 11).eval()
    tokens = torch.randint(0, 11, (2, 8))
    other = tokens.clone()
    other[:, 5] = (other[:, 5] + 1) % 11
    with torch.no_grad():
        one, two = net(tokens), net(other)
    assert one.shape == (2, 8, 11)
    assert torch.equal(one[:, :5], two[:, :5])
    assert (one[:, 5:] - two[:, 5:]).abs().amax((0, 2)).min() > 0


def test_its_heads_and_mlps_are_found_and_pruned():
    net = MODELS.get("gpt_small")((8,), 11, 11)
    proto = from_torch(net.eval(), torch.randint(0, 11, (2, 8)))
    sizes = sorted(group.channels for group in spa.find_groups(spa.load(proto)).groups)
    assert sizes == [4, 4, 64, 256, 256]  # heads, the width of the stream, MLPs
    assert spa.prune(proto, rf=1.5).plan.reached["rf"] >= 1.5


def test_pictures_are_refused():
    with pytest.raises(InputError, match=r"rows of tokens \(T,\), but theirs are \(1, 8, 8\)"):
        MODELS.get("gpt_small")((1, 8, 8), 10, 10)
