"""What a layer that loses inputs is fitted to: sums over its rows, batch after batch.

One layer's statistics are held at a time. Rows are those of the stream under repair; targets are

1. ``own``: what the unpruned layer would give on the same rows (none are collected then);
2. ``dense``: what it gives in the dense model;
3. ``stream``: that, and what the residual stream that it adds to has lost so far.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from spa.graph.model import Array
from spa.observe.gram import Rows, Sums
from spa.observe.layers import LinearLayer
from spa.observe.residual import Joint, scaled_weights
from spa.observe.rows import Indices, chosen, input_rows, output_rows, parts, positions
from spa.observe.stream import Stream

# Share of the rows that is held out where the ridge is chosen on them.
HELD = 0.25


@dataclass(frozen=True)
class Collected:
    """Sums of one group of a layer.

    Attributes:
        all: over all rows.
        fitted: over those that are not held out; None where none are.
        held: over those that are.
    """

    all: Sums
    fitted: Sums | None = None
    held: Sums | None = None


@dataclass(frozen=True)
class Wanted:
    """What is collected of a layer.

    Attributes:
        target: own, dense or stream.
        centred: about the means.
        joint: where the layer's output joins a stream; of ``stream``, and of weights.
        weighted: whether rows count less where that stream is larger.
        held_out: whether some rows are kept apart too.
        columns: rows at most.
        seed: of their choice.
        device: where products are computed.
    """

    target: str
    centred: bool
    joint: Joint | None
    weighted: bool
    held_out: bool
    columns: int
    seed: int
    device: str


def collect(
    layer: LinearLayer, blocks: Array, repaired: Stream, dense: Stream, want: Wanted
) -> list[Collected]:
    """Sums of every group of a layer.

    Args:
        layer: the layer.
        blocks: its weight, (g, O, D).
        repaired: the stream under repair.
        dense: the dense model's.
        want: what of them.
    """
    groups, outputs, columns = blocks.shape
    own = want.target == "own"
    which = chosen(
        [positions(layer, shape) for shape in repaired.shapes(layer.node.inputs[layer.data])],
        want.columns, want.seed,
    )  # fmt: skip
    total = sum(map(len, which))
    border = total - int(total * HELD) if want.held_out else total
    whole = border in (0, total)
    sizes = [total] if whole else [total, border, total - border]
    taken = [
        [Rows(columns, 0 if own else outputs, size, centred=want.centred, device=want.device)
         for size in sizes] for _ in range(groups)
    ]  # fmt: skip
    seen = 0
    for rows, targets, weights in _parts(layer, blocks, which, repaired, dense, want):
        count = rows.shape[1]
        cut = max(0, min(count, border - seen))
        for g in range(groups):
            spans = [slice(0, count), slice(0, cut), slice(cut, count)]
            for into, span in zip(taken[g], spans, strict=False):
                into.add(
                    rows[g, span],
                    None if targets is None else targets[g, span],
                    None if weights is None else weights[span],
                )
        seen += count
    return [Collected(*(into.sums() for into in some)) for some in taken]


def _parts(
    layer: LinearLayer,
    blocks: Array,
    which: list[Indices],
    repaired: Stream,
    dense: Stream,
    want: Wanted,
) -> Iterator[tuple[Array, Array | None, Array | None]]:
    """Rows (g, m, D), targets (g, m, O) and weights (m,), a part of a batch at a time."""
    name = layer.node.inputs[layer.data]
    joint = want.joint
    scale = None
    if joint is not None and want.weighted:
        scale = scaled_weights(dense.batches(joint.earlier), which)
    for i, places in enumerate(which):
        if not len(places):
            continue
        x = repaired.at(name, i)
        x_dense = x if want.target == "own" else dense.at(name, i)
        weights = None if scale is None else scale[i]
        lost = None
        if want.target == "stream" and joint is not None:
            lost = dense.at(joint.earlier, i) - repaired.at(joint.earlier, i)
        done = 0
        for part in parts(layer, blocks.shape[2], places):
            rows = input_rows(layer, x, part)
            targets = None
            if want.target != "own":
                source = rows if x_dense is x else input_rows(layer, x_dense, part)
                targets = source @ blocks.swapaxes(1, 2).astype(rows.dtype)
                if lost is not None:
                    targets = targets + output_rows(layer, lost, part)
            some = None if weights is None else weights[done : done + len(part)]
            done += len(part)
            yield rows, targets, some
