"""Operators that mix entries along axes: sums, means and maxima, norms, softmax.

What such an operator computes from the entries that stay depends on those that go, so removing some
entries of a line is not exact; removing a line whole is, as nothing that is left was computed from
it. Which of the two happens is known when the components are: the channels of a group norm, seen as
groups x channels per group, may go as whole groups or as the same channel of every group.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from spa.coupling.components import Components, Pairs
from spa.coupling.connect import distinct
from spa.coupling.labels import KEPT, Layer, first_slices, support
from spa.coupling.remarks import Mixing, Remark
from spa.coupling.tracker import Tracker, Way
from spa.graph.nodes import Node


def fold(
    tracker: Tracker,
    node: Node,
    layer: Layer,
    axes: Iterable[int],
    *,
    reason: str | None,
    prefer: Sequence[int] | None = None,
) -> Layer | None:
    """What a sum, a mean or the like over some axes leaves of a layer.

    1. A layer that follows none of them is left alone.
    2. A layer that follows these axes alone is used up.
    3. A layer over a folded axis and others shrinks along the others, with the output, or along the
       folded one: a choice.

    Args:
        tracker: the pass.
        node: the operator.
        layer: a layer of what is folded.
        axes: the axes that are folded.
        reason: why it is not exact to take entries of a line; None where it is.
        prefer: axes that a choice prefers to shrink along; None where there is no preference.

    Returns:
        The layer of the output, of size 1 on the folded axes; None where nothing is left.
    """
    followed = [k for k in axes if layer.shape[k] > 1]
    rest = [k for k in support(layer) if k not in followed]
    if not followed:  # 1
        return layer
    if reason is not None:
        tracker.mark_mixed(layer, followed, node, reason)
    if not rest:  # 2
        return None
    shape = [layer.shape[k] if k in rest else 1 for k in range(layer.ndim)]  # 3
    left = tracker.made_up(node, rest[0], int(np.prod(shape))).reshape(shape)
    alternatives: list[Way] = [("with the output", [(layer, left)])]
    for axis in followed:
        pairs: list[Pairs] = [(layer, first_slices(layer, axis)), (left, np.zeros_like(left))]
        alternatives.append((f"axis {axis}", pairs))
    preferred: Sequence[int] | None = None
    if prefer is not None:
        preferred = [0] if set(rest) & set(prefer) else list(range(1, len(alternatives)))
    tracker.choose(alternatives, preferred=preferred)
    return left


def mixed_remarks(mixed: Iterable[Mixing], components: Components) -> list[Remark]:
    """Says which labels are not exact, once it is known what goes together."""
    remarks = []
    for entry in mixed:
        order = [k for k in range(entry.layer.ndim) if k not in entry.axes] + list(entry.axes)
        lines = entry.layer.transpose(order).reshape(
            -1, int(np.prod([entry.layer.shape[k] for k in entry.axes]))
        )
        of = components.at(lines)
        torn = (of != of[:, :1]).any(axis=1)
        if not torn.any():
            continue
        labels = lines[torn]
        labels = distinct(labels[labels != KEPT])
        if labels.size:
            remarks.append(Remark(labels, entry.node, entry.text))
    return remarks
