"""What rules state stays small, however many pixels a channel has."""

from __future__ import annotations

import numpy as np

import spa
from spa.coupling.tracker import Tracker
from tests.graphs import classifier


def test_pixels_of_a_channel_are_stated_once():
    """Group norm seen as (groups, channels x pixels) states its choice by channel."""
    model = spa.load(classifier())
    tracker = Tracker(model)
    node = model.graph.nodes[0]
    labels = np.arange(1, 9).reshape(2, 4)  # (groups, channels)
    grid = np.repeat(labels, 49, axis=1)  # each with its 49 pixels
    tracker.choose([("groups", [(grid, grid[:, :1])])])
    ((a, b),) = tracker.choices[0].alternatives[0].pairs
    assert sorted(zip(a.tolist(), b.tolist(), strict=True)) == [
        (1, 1), (2, 1), (3, 1), (4, 1), (5, 5), (6, 5), (7, 5), (8, 5),
    ]  # fmt: skip
    tracker.equal(grid, grid[:, :1], node)
    assert sum(a.size for a, _ in tracker.equalities) == 6
