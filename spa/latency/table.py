"""A table of measured layer times over widths, and what it says of widths in between.

Widths are sampled: plans are drawn in which each group has another width (a Latin hypercube, so
that every group is seen at all of them), the model is cut to them, and the layers of what is left
are timed. So a layer is timed where it stands, with all that the runtime makes of it and of its
neighbours.

A layer's time is then read as a sum of parts that are not negative: a constant, its
multiplications, the same with sizes rounded up to what vector units take at once, what it reads and
writes, and a penalty where a size is no multiple of 8 (ONNX Runtime has no blocked layout there).
It may so rise and fall with the width.

Source: own; the sampling in place of a full table after NetAdapt (Yang et al. 2018, 3.3), whose
tables hold one layer by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from spa.latency.timing import REST
from spa.selection.costs import CostModel, Mask

Floats = npt.NDArray[np.float64]
# What vector units and blocked layouts take at once.
BLOCKS = (8, 16)


@dataclass(frozen=True)
class Sample:
    """One plan of the sampling.

    Attributes:
        sizes: of every product (`CostModel.node_sizes`), shape (products, axes).
        times: milliseconds by layer (`spa.latency.timing`).
    """

    sizes: Floats
    times: Mapping[int, float]


class Table:
    """Layer times over widths.

    Args:
        costs: the model's costs, which tell sizes.
        samples: at least the dense model's, which comes first.
    """

    def __init__(self, costs: CostModel, samples: Sequence[Sample]) -> None:
        self._costs = costs
        self._dense = samples[0].sizes
        self._rows = {node: [i for i, n in enumerate(costs.nodes) if n == node]
                      for node in dict.fromkeys(costs.nodes)}  # fmt: skip
        changes = np.any([sample.sizes != self._dense for sample in samples], axis=0)
        self._shrinks = {layer: changes[rows] for layer, rows in self._rows.items()}
        known = {layer for sample in samples for layer in sample.times}
        self._weights: dict[int, Floats] = {}
        for layer in sorted(known):
            if layer != REST and layer not in self._rows:
                continue
            features = np.stack([self._features(layer, sample.sizes) for sample in samples])
            times = np.array([sample.times.get(layer, 0.0) for sample in samples])
            # Relative errors count, or small widths would be lost beside large ones.
            scale = 1 / np.maximum(times, times.max() * 0.02 + 1e-9)
            self._weights[layer], _ = nnls(features * scale[:, None], times * scale)

    def predict(self, removed: Mask) -> float:
        """Milliseconds of one inference after removing components."""
        sizes = self._costs.node_sizes(removed)
        return sum(float(self._features(layer, sizes) @ weights)
                   for layer, weights in self._weights.items())  # fmt: skip

    def _features(self, layer: int, sizes: Floats) -> Floats:
        """What a layer's time is a sum of; shape (features,)."""
        if layer == REST:
            return np.array([1.0, float((sizes / self._dense).mean()) if sizes.size else 1.0])
        rows, shrinks = self._rows[layer], self._shrinks[layer]
        own, dense = sizes[rows], self._dense[rows]  # (products of this layer, axes)
        whole = dense.prod(axis=1).sum()
        work = own.prod(axis=1).sum() / whole
        blocked = [
            np.where(shrinks, np.ceil(own / block) * block, own).prod(axis=1).sum() / whole
            for block in BLOCKS
        ]
        moved = float((own / dense)[shrinks].mean()) if shrinks.any() else 1.0
        odd = float((own[shrinks] % BLOCKS[0] != 0).any())
        return np.array([1.0, work, *blocked, moved, work * odd, moved * odd])
