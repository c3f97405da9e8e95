"""Detection heads: the backbone and neck are pruned, what the boxes are read from is kept.

Two scales, anchors, decoding by sigmoid, NonMaxSuppression, and the boxes that it picks: as the
YOLO family is exported with its post-processing.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto

import spa
from tests.coupling.cases import described, kept, prove
from tests.graphs import Builder

ANCHORS, CLASSES = 3, 4
PER_ANCHOR = 5 + CLASSES  # x, y, w, h, whether there is something, and what
WIDE = ANCHORS * PER_ANCHOR


def _block(g: Builder, x: str, cin: int, cout: int, stride: int = 1) -> str:
    x = g.batch_norm(g.conv(x, cin, cout, stride=stride, bias=False), cout)
    return g.node("Mul", [x, g.node("Sigmoid", [x])])


def _c2f(g: Builder, x: str, width: int) -> str:
    """Half of the channels go through a bottleneck; all parts are joined."""
    a, b = g.split(x, [width // 2] * 2)
    c = g.node("Add", [b, _block(g, _block(g, b, width // 2, width // 2), width // 2, width // 2)])
    return _block(g, g.node("Concat", [a, b, c], axis=1), 3 * width // 2, width)


def _decoded(g: Builder, x: str, cin: int, size: int, stride: int) -> str:
    """(N, cin, H, W) to (N, A * H * W, 5 + classes), in pixels."""
    x = g.reshape(g.conv(x, cin, WIDE, k=1), [-1, ANCHORS, PER_ANCHOR, size, size])
    x = g.node("Sigmoid", [g.node("Transpose", [x], perm=[0, 1, 3, 4, 2])])
    xy, wh, rest = g.split(x, [2, 2, 1 + CLASSES], axis=4)
    rows, columns = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    grid = np.stack([columns, rows], -1).reshape(1, 1, size, size, 2).astype(np.float32)
    anchors = g.rng.uniform(4, 16, (1, ANCHORS, 1, 1, 2)).astype(np.float32)
    xy = g.node("Mul", [g.node("Add", [xy, g.weight(grid, "grid")]),
                        g.weight(np.float32(stride), "stride")])  # fmt: skip
    wh = g.node("Mul", [g.node("Mul", [wh, wh]), g.weight(anchors, "anchors")])
    x = g.node("Concat", [xy, wh, rest], axis=4)
    return g.reshape(x, [-1, ANCHORS * size * size, PER_ANCHOR])


def _detector(opset: int, batch: int | str, *, select: bool) -> onnx.ModelProto:
    g = Builder(opset, batch=batch)
    x = _block(g, g.input(3, 16, 16), 3, 8, stride=2)
    low = _c2f(g, _block(g, x, 8, 12, stride=2), 12)  # (N, 12, 4, 4)
    high = _c2f(g, _block(g, low, 12, 16, stride=2), 16)  # (N, 16, 2, 2)
    joined = g.node("Concat", [low, g.resize(high, 2)], axis=1)
    near = _block(g, joined, 28, 12)
    found = g.node("Concat", [_decoded(g, near, 12, 4, 4), _decoded(g, high, 16, 2, 8)], axis=1)
    if not select:
        return g.model(found)
    boxes, there, classes = g.split(found, [4, 1, CLASSES], axis=2)
    scores = g.node("Transpose", [g.node("Mul", [classes, there])], perm=[0, 2, 1])
    limits = [g.weight(np.float32(v), "limit") for v in (0.6, 0.01)]
    picked = g.node(
        "NonMaxSuppression", [boxes, scores, g.ints([5]), *limits], center_point_box=1
    )  # (K, 3): example, class, box
    where = g.node("Gather", [picked, g.ints([0, 2])], axis=1)
    chosen = g.node("GatherND", [boxes, where])
    return g.model(chosen, g.node("Cast", [picked], to=TensorProto.FLOAT))


@pytest.mark.parametrize("opset", [11, 13, 18])
@pytest.mark.parametrize("batch", [2, "N"])
def test_raw_detections(opset, batch):
    proto = _detector(opset, batch, select=False)
    groups = described(proto)
    assert len(groups) == 10  # the stem, four of each C2f with what is in front of it, and the neck
    assert not any(line.startswith("~") for line in groups)
    heads = [name for name, size in _weights(proto).items() if size[0] == WIDE]
    assert len(heads) == 2
    for name in heads:  # the heads' own outputs are coordinates and scores
        assert kept(proto)[f"{name}.0"].startswith(f"{WIDE} of {WIDE}")
    pruned = prove(proto, plain=False, seeds=(0, 1))
    assert spa.measure_cost(spa.load(pruned)).macs * 2 < spa.measure_cost(spa.load(proto)).macs


@pytest.mark.parametrize("batch", [2, "N"])
def test_selected_boxes(batch):
    """What NonMaxSuppression picks jumps, so the proof compares what it reads too."""
    proto = _detector(13, batch, select=True)
    assert described(proto) == described(_detector(13, batch, select=False))
    heads = [name for name, size in _weights(proto).items() if size[0] == WIDE]
    assert all(f"{name}.0" in kept(proto) for name in heads)
    result = spa.prune(proto, rf=2.0, criterion="l1")
    assert result.proof is not None
    assert result.proof.equal
    assert result.reached.rf >= 2.0


def _weights(proto: onnx.ModelProto) -> dict[str, list[int]]:
    return {t.name: list(t.dims) for t in proto.graph.initializer if len(t.dims) == 4}
