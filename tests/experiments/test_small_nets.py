"""The small networks of texts and of series: what they look at, and what of them goes."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

import spa
from experiments.models import MODELS, takes_pictures, takes_several, takes_tokens
from spa.bridge import from_torch
from spa.errors import InputError

SERIES = {"series": (12, 29), "mask": (29,)}


def awake(net: torch.nn.Module) -> torch.nn.Module:
    """Norms that move what they get: a fresh one takes zeros to zeros."""
    for norm in net.modules():
        if isinstance(norm, torch.nn.BatchNorm1d):
            torch.nn.init.uniform_(norm.running_mean, -1, 1)
            torch.nn.init.uniform_(norm.bias, -1, 1)
    return net.eval()


@pytest.mark.parametrize("name", ["text_cnn", "text_encoder", "text_lstm"])
def test_a_text_is_read_the_same_however_far_it_is_padded(name):
    torch.manual_seed(0)
    net = MODELS.get(name)((15,), 8, 20).eval()
    tokens = torch.randint(1, 20, (3, 9))
    tokens[0, 4:] = tokens[1, 1:] = 0
    with torch.no_grad():
        one, two = net(tokens), net(F.pad(tokens, (0, 6)))
        assert one.shape == (3, 8)
        assert torch.allclose(one, two, atol=1e-6)
        assert torch.isfinite(net(torch.zeros_like(tokens))).all()
        net.words.weight[0] += 5  # what is there in place of no word is not seen
        assert torch.allclose(one, net(tokens), atol=1e-6)
        tokens[2, 8] = 1 + tokens[2, 8] % 19  # but the last word is
        assert (one - net(tokens))[2].abs().max() > 1e-4


def test_a_text_is_as_its_definition_says():
    """Window by window, by hand."""
    torch.manual_seed(0)
    net = MODELS.get("text_cnn")((6,), 8, 20).eval()
    tokens = torch.tensor([[3, 7, 7, 2, 0, 0]])
    found = []
    with torch.no_grad():
        words = torch.cat([net.words.weight[[3, 7, 7, 2]], torch.zeros(4, 64)])
        for window, size in zip(net.windows, (3, 4, 5), strict=True):
            starts = [words[i : i + size].T for i in range(4)]  # (width, size)
            sums = torch.stack([(window.weight * x).sum((1, 2)) + window.bias for x in starts])
            found.append(sums.relu().amax(0))
        assert torch.allclose(net(tokens)[0], net.head(torch.cat(found)), atol=1e-5)


@pytest.mark.parametrize("name", ["series_fcn", "series_lstm"])
def test_a_series_is_read_the_same_whatever_lies_behind_it(name):
    torch.manual_seed(0)
    net = awake(MODELS.get(name)(SERIES, 9))
    series, mask = torch.randn(2, 12, 10), torch.ones(2, 10, dtype=torch.bool)
    mask[0, 6:] = False
    other = torch.where(mask[:, None], series, torch.full_like(series, 100.0))
    with torch.no_grad():
        one = net(series, mask)
        assert one.shape == (2, 9)
        assert torch.allclose(one, net(other, mask), atol=1e-5)
        assert torch.allclose(one, net(F.pad(series, (0, 9)), F.pad(mask, (0, 9))), atol=1e-5)
        assert torch.allclose(one[:1], net(series[:1, :, :6], mask[:1, :6]), atol=1e-5)
        assert (one - net(series, torch.ones_like(mask)))[0].abs().max() > 1e-3
        assert torch.isfinite(net(series, torch.zeros_like(mask))).all()


@pytest.mark.parametrize(
    ("name", "shape", "inputs", "sizes"),
    [
        ("text_cnn", (9,), (torch.randint(0, 20, (2, 9)),), [64, 64, 64, 64]),
        ("text_lstm", (9,), (torch.randint(0, 20, (2, 9)),), [64, 64, 64]),
        (
            "series_lstm",
            SERIES,
            (torch.randn(2, 12, 29), torch.ones(2, 29, dtype=torch.bool)),
            [64, 64],
        ),
        (
            "series_fcn",
            SERIES,
            (torch.randn(2, 12, 29), torch.ones(2, 29, dtype=torch.bool)),
            [64, 64, 128],
        ),
    ],
)
def test_their_channels_are_found_and_pruned(name, shape, inputs, sizes):
    more = {"vocabulary": 20} if takes_tokens(name) else {}
    proto = from_torch(awake(MODELS.get(name)(shape, 8, **more)), inputs)
    groups = spa.find_groups(spa.load(proto)).groups
    assert sorted(group.channels for group in groups) == sizes
    assert all(group.exact for group in groups)
    pruned = spa.prune(proto, rf=2)
    assert pruned.plan.reached["rf"] >= 2
    assert pruned.proof.checks


def test_an_encoder_s_heads_and_hidden_layers_go_exactly():
    """And its width, which norms tie together, not exactly."""
    torch.manual_seed(0)
    net = MODELS.get("text_encoder")((9,), 8, 20).eval()
    proto = from_torch(net, (torch.randint(0, 20, (2, 9)),))
    groups = spa.find_groups(spa.load(proto)).groups
    found = sorted((group.channels, group.exact) for group in groups)
    assert found == [(4, True), (4, True), (64, False), (256, True), (256, True)]
    assert spa.prune(proto, rf=2).proof.checks


def test_what_is_no_text_or_series_is_refused():
    with pytest.raises(InputError, match=r"rows of tokens \(T,\), but theirs are \(1, 8, 8\)"):
        MODELS.get("text_cnn")((1, 8, 8), 10, 10)
    with pytest.raises(InputError, match=r"their mask \(T,\), but .*input \(1, 8, 8\)"):
        MODELS.get("series_fcn")((1, 8, 8), 10)
    with pytest.raises(InputError, match=r"their mask \(T,\), but .*series \(12, 29\)"):
        MODELS.get("series_fcn")({"series": (12, 29)}, 10)


def test_what_a_network_takes_is_told():
    names = ("text_cnn", "text_lstm", "series_fcn", "series_lstm", "gat", "resnet8")
    assert [name for name in names if takes_tokens(name)] == ["text_cnn", "text_lstm"]
    assert [name for name in names if takes_several(name)] == ["series_fcn", "series_lstm", "gat"]
    assert [name for name in names if takes_pictures(name)] == ["resnet8"]
