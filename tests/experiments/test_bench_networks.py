"""What the benchmark's own networks compute, and what the lists of others promise."""

from __future__ import annotations

import pytest
import torch

from experiments.bench.networks import NETWORKS, Network, listed
from experiments.bench.networks.transformers import ARCHITECTURES
from experiments.bench.networks.waking import wake
from experiments.bench.trial import trials
from spa.errors import SettingError


@pytest.mark.parametrize("name", ["huggingface/bertt", "paper/gatt"])
def test_a_name_that_is_nearly_known(name):
    with pytest.raises(SettingError, match=f"did you mean {name[:-1].partition('/')[2]}"):
        NETWORKS.get(name)()


def test_architectures_are_listed_without_their_library():
    wanted = {"bert", "gpt2", "t5", "llama", "mixtral", "vit", "clip", "sam", "whisper", "detr"}
    assert {f"huggingface/{name}" for name in wanted} <= set(listed("huggingface"))
    assert all(a.config.endswith("Config") for a in ARCHITECTURES.values())


def paper(name: str) -> Network:
    torch.manual_seed(0)
    return NETWORKS.get(f"paper/{name}")()


def test_a_point_cloud_has_no_order():
    network = paper("dgcnn")
    (points,) = network.inputs
    with torch.no_grad():
        shuffled = network.module(points[..., torch.randperm(points.shape[2])])
        torch.testing.assert_close(shuffled, network.module(points), rtol=1e-4, atol=1e-5)
    assert shuffled.shape == (2, 40)


def test_nodes_see_their_neighbours_alone():
    network = paper("gat")
    x, adjacency = network.inputs
    changed = x.clone()
    changed[:, 3] += 1
    alone = torch.eye(x.shape[1]).expand_as(adjacency)
    with torch.no_grad():
        y, same = network.module(x, alone), network.module(changed, alone)
        assert y.shape == (2, x.shape[1], 121)
        differs = (y != same).any(2)
        assert differs.sum(1).tolist() == [1, 1]
        assert differs[:, 3].all()
        assert (network.module(x, adjacency) != network.module(changed, adjacency)).sum() > 2 * 121


def test_text_is_read_in_both_directions():
    network = paper("lstm")
    (tokens,) = network.inputs
    with torch.no_grad():
        assert network.module(tokens).shape == (2, 4)
        assert not torch.allclose(network.module(tokens.flip(1)), network.module(tokens))


@pytest.mark.slow
def test_networks_in_the_branches_of_an_if_are_pruned(tmp_path):
    """Its weights lie in there, and its inputs cannot be guessed."""
    *_, result = trials("carried/silero_vad", ["spa"], tmp_path)
    assert (result["stage"], result["success"], result["proven"]) == ("done", True, True)
    assert result["rp"] > 1.25


@pytest.mark.slow
def test_a_whole_detector_is_pruned(tmp_path):
    """Anchors, proposals, suppression and regions are in the file; its image has no batch."""
    name = "torchvision/fasterrcnn_mobilenet_v3_large_320_fpn"
    assert name in listed("torchvision")
    *_, result = trials(name, ["spa"], tmp_path)
    assert (result["family"], result["success"], result["exact"]) == ("detection", True, "yes")
    assert result["proven"]
    assert result["params"] == pytest.approx(19_386_354, rel=0.01)


def test_a_woken_network_has_no_filled_weights():
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    with torch.no_grad():
        module[0].weight.zero_()
        module[0].bias.zero_()
    wake(module)
    for name, weight in module.state_dict().items():
        assert weight.numel() == 1 or weight.unique().numel() == weight.numel(), name
    assert (module[1].weight > 0.5).all()
    assert (module[1].running_var > 0.5).all()
