"""The OBS score: what a layer's output loses when a channel goes and the rest is refitted.

For a layer with weight W (O, D), Hessian H and the columns S of one channel, the smallest squared
error is trace(W_S ([Hd^-1]_SS)^-1 W_S^T), Hd = H + lambda I. A channel's score is the sum over all
linear layers that read it. Depthwise convolutions, scales and biases add nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spa.graph.model import Array
from spa.importance.criterion import Need, criterion
from spa.importance.values import Channels, Values
from spa.importance.view import View
from spa.observe.gram import InverseHessian, Rows
from spa.observe.layers import LinearLayer, find_layers, label_vectors, readable
from spa.observe.memory import batch_size, budget_of
from spa.observe.residual import Joint, find_joint, scaled_weights
from spa.observe.rows import chosen, input_rows, parts, positions
from spa.observe.steps import runner_for
from spa.observe.store import Store
from spa.observe.stream import Stream, is_batch_norm, last_reads, moments
from spa.progress import Progress


@dataclass(frozen=True)
class Obs:
    """Options of the OBS score.

    Attributes:
        damping: share of the Hessian's mean diagonal that is added to it.
        columns: positions (sample and place) that go into one layer's Hessian, at most.
        batch_statistics: whether batch norms normalise with the statistics of the samples.
        token_weights: whether positions count less where the residual stream that a layer adds to
            is larger.
        memory: GiB that activations may take; None is a quarter of what is free.
        device: where tensors live, as torch names it.
    """

    damping: float = 0.01
    columns: int = 12_000
    batch_statistics: bool = True
    token_weights: bool = False
    memory: float | None = None
    device: str = "cpu"


@criterion(
    source="Hassibi and Stork 1993, Optimal Brain Surgeon, over blocks of columns; SPA, OBSPA",
    needs=Need.DATA | Need.TRAINED,
)
def obs(view: View, how: Obs) -> Channels:
    """Scores channels by the squared error that a refit leaves, over the layers that read them.

    A group that no linear layer reads has nothing to be refitted, and gets no score.
    """
    model, coupling = view.model, view.groups.coupling
    components = coupling.components
    layers = find_layers(coupling)
    losses = np.zeros(components.kept.size)
    budget = budget_of(how.memory)
    runner, store = runner_for(model, how.device), Store(budget // 2)
    stream = Stream.of_data(model, view.data, runner, store, batch_size(model, budget))
    read = [
        layer.node.index for layer in layers.values()
        if any((~components.kept[components.of[v]]).any() for v in label_vectors(coupling, layer))
    ]  # fmt: skip
    nodes = model.graph.nodes[: max(read, default=-1) + 1]
    with Progress("Scoring channels", total=len(nodes)) as progress:
        for node, spent in zip(nodes, last_reads(nodes), strict=True):
            layer = layers.get(node.outputs[0])
            if layer is not None:
                owners = [
                    np.where(components.kept[of], -1, of)
                    for of in (components.of[v] for v in label_vectors(coupling, layer))
                ]
                owners = [read for read in owners if (read >= 0).any()]
                if owners:
                    joint = find_joint(model, layer) if how.token_weights else None
                    _add(losses, layer, owners, stream, joint, how, view.seed)
            if how.batch_statistics and is_batch_norm(node):
                stream.set_statistics(node, *moments(stream.batches(node.inputs[0])))
            stream.run(node)
            stream.leave(node, spent)
            progress.advance()
    scored = readable(view.groups, layers)
    left_out = [g.components for g in view.groups.groups if g.id not in scored]
    losses[np.concatenate([np.zeros(0, np.int64), *left_out])] = np.nan
    return Channels(losses)


def obs_scores(weight: Array, inverse: InverseHessian, owners: npt.NDArray[np.int64]) -> Values:
    """Scores of the channels of one matrix.

    Args:
        weight: W, shape (O, D).
        inverse: blocks of Hd^-1.
        owners: the channel of every column, shape (D,), from 0; -1 for columns that stay.

    Returns:
        One score per channel, shape (channels,).
    """
    w = weight.astype(np.float64)
    order = np.argsort(owners, kind="stable")
    order = order[owners[order] >= 0]
    channels, starts, sizes = np.unique(owners[order], return_index=True, return_counts=True)
    result = np.zeros(int(owners.max(initial=-1)) + 1)
    for size in np.unique(sizes):
        same = sizes == size
        columns = order[starts[same][:, None] + np.arange(size)]  # (channels, size)
        inner = inverse.blocks(columns)  # (channels, size, size)
        w_s = w[:, columns].transpose(1, 2, 0)  # (channels, size, O)
        result[channels[same]] = (w_s * np.linalg.solve(inner, w_s)).sum(axis=(1, 2))
    return result


def _add(
    losses: Values,
    layer: LinearLayer,
    owners: list[npt.NDArray[np.int64]],
    stream: Stream,
    joint: Joint | None,
    how: Obs,
    seed: int,
) -> None:
    """Adds what one layer loses by each channel that it reads."""
    name = layer.node.inputs[layer.data]
    blocks = layer.blocks(stream.whole(layer.weight_name))
    which = chosen([positions(layer, s) for s in stream.shapes(name)], how.columns, seed)
    groups, _, size = blocks.shape
    total = sum(map(len, which))
    taken = [Rows(size, 0, total, centred=False, device=how.device) for _ in range(groups)]
    weights = None
    if joint is not None and layer.is_plain and stream.has(joint.earlier):
        weights = scaled_weights(stream.batches(joint.earlier), which)
    for i, (x, places) in enumerate(zip(stream.batches(name), which, strict=True)):
        done = 0
        for part in parts(layer, size, places):
            rows = input_rows(layer, x, part)
            some = None if weights is None else weights[i][done : done + len(part)]
            done += len(part)
            for g in range(groups):
                taken[g].add(rows[g], None, some)
    for g in range(groups):
        inverse = InverseHessian(taken[g].sums(), how.damping)
        for read in owners:
            present, of = np.unique(layer.columns(read)[g], return_inverse=True)
            if present[0] < 0:
                of, present = of - 1, present[1:]
            if present.size:
                np.add.at(losses, present, obs_scores(blocks[g], inverse, of))
