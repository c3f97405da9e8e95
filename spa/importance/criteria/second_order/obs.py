"""The OBS score: what a layer's output loses when a channel goes and the rest is refitted.

For a layer with weight W (O, D), Hessian H and the columns S of one channel, the smallest squared
error is trace(W_S ([Hd^-1]_SS)^-1 W_S^T), Hd = H + lambda I. A channel's score is the sum over all
linear layers that read it. Depthwise convolutions, scales and biases add nothing.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from spa.errors import MissingExtra
from spa.importance.criterion import Need, criterion
from spa.importance.values import Channels, Values
from spa.importance.view import View
from spa.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor

    from spa.observe.hessian import InverseHessian
    from spa.observe.layers import LinearLayer
    from spa.observe.stream import Stream


@dataclass(frozen=True)
class Obs:
    """Options of the OBS score.

    Attributes:
        damping: share of the Hessian's mean diagonal that is added to it.
        columns: positions (sample and place) that go into one layer's Hessian, at most.
        batch_statistics: whether batch norms normalise with the statistics of the samples.
        device: where tensors live, as torch names it.
    """

    damping: float = 0.01
    columns: int = 12_000
    batch_statistics: bool = True
    device: str = "cpu"


@criterion(
    source="Hassibi and Stork 1993, Optimal Brain Surgeon, over blocks of columns; SPA, OBSPA",
    needs=Need.DATA | Need.TRAINED,
)
def obs(view: View, how: Obs) -> Channels:
    """Scores channels by the squared error that a refit leaves, over the layers that read them.

    A group that no linear layer reads has nothing to be refitted, and gets no score.
    """
    if importlib.util.find_spec("torch") is None:
        raise MissingExtra("PyTorch", "torch", "Criterion obs")
    import torch

    from spa.bridge import to_torch
    from spa.observe.layers import find_layers, label_vectors, readable
    from spa.observe.stream import Stream, is_batch_norm, last_reads, moments

    coupling = view.groups.coupling
    components = coupling.components
    layers = find_layers(coupling)
    losses = np.zeros(components.kept.size)
    net = to_torch(view.model.proto).requires_grad_(False).to(how.device)
    stream = Stream.of_data(net, view.data, how.device)
    with Progress("Scoring channels", total=len(net.steps)) as progress, torch.no_grad():
        for step, spent in zip(net.steps, last_reads(net.steps), strict=True):
            layer = layers.get(step.outputs[0])
            if layer is not None:
                for labels in label_vectors(coupling, layer):
                    of = components.of[labels]
                    read = np.where(components.kept[of], -1, of)
                    if (read >= 0).any():
                        _add(losses, layer, read, stream, step.inputs, how, view.seed)
            if how.batch_statistics and is_batch_norm(step):
                stream.set_statistics(step, *moments(stream.get(step.inputs[0])))
            stream.run(step)
            stream.drop(spent)
            progress.advance()
    scored = readable(view.groups, layers)
    left_out = [g.components for g in view.groups.groups if g.id not in scored]
    losses[np.concatenate([np.zeros(0, np.int64), *left_out])] = np.nan
    return Channels(losses)


def obs_scores(weight: Tensor, inverse: InverseHessian, owners: npt.NDArray[np.int64]) -> Values:
    """Scores of the channels of one matrix.

    Args:
        weight: W, shape (O, D).
        inverse: blocks of Hd^-1.
        owners: the channel of every column, shape (D,), from 0; -1 for columns that stay.

    Returns:
        One score per channel, shape (channels,).
    """
    import torch

    w = weight.double()
    order = np.argsort(owners, kind="stable")
    order = order[owners[order] >= 0]
    channels, starts, sizes = np.unique(owners[order], return_index=True, return_counts=True)
    result = np.zeros(int(owners.max(initial=-1)) + 1)
    for size in np.unique(sizes):
        same = sizes == size
        columns = order[starts[same][:, None] + np.arange(size)]  # (channels, size)
        s = torch.from_numpy(columns).to(w.device)
        parts = inverse.blocks(s)  # (channels, size, size)
        w_s = w[:, s].permute(1, 2, 0)  # (channels, size, O)
        values = (w_s * torch.linalg.solve(parts, w_s)).sum(dim=(1, 2))
        result[channels[same]] = values.cpu().numpy()
    return result


def _add(
    losses: Values,
    layer: LinearLayer,
    read: npt.NDArray[np.int64],
    stream: Stream,
    names: tuple[str, ...],
    how: Obs,
    seed: int,
) -> None:
    from spa.observe.hessian import InverseHessian

    columns = layer.columns(read)
    rows = layer.rows(stream.all(names[layer.data]), how.columns, seed)
    blocks = layer.blocks(stream.get(names[layer.weight])[0])
    for g in range(layer.groups):
        present, owners = np.unique(columns[g], return_inverse=True)
        if present[0] < 0:
            owners = owners - 1
            present = present[1:]
        if present.size:
            values = obs_scores(blocks[g], InverseHessian(rows[g], how.damping), owners)
            np.add.at(losses, present, values)
