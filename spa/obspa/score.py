"""The OBS score: what a layer's output loses when a channel goes and the rest is refitted.

For a layer with weight W (O, D), Hessian H and the columns S of one channel, the smallest squared
error is trace(W_S ([Hd^-1]_SS)^-1 W_S^T), Hd = H + lambda I. A channel's score is the sum over all
linear layers that read it. Depthwise convolutions, scales and biases add nothing.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spa.bridge.onnx_module import OnnxModule
from spa.coupling.groups import Groups
from spa.importance.aggregate import NORMALIZATIONS
from spa.importance.score import Scores, score
from spa.obspa.calibration import Calibration
from spa.obspa.hessian import InverseHessian
from spa.obspa.layers import LinearLayer, find_layers, label_vectors
from spa.obspa.settings import Settings
from spa.obspa.stream import Stream, is_batch_norm, last_reads, moments
from spa.progress import Progress

NAME = "obspa"
NORMALIZE = "mean"
Values = npt.NDArray[np.float64]


def obs_scores(weight: Tensor, inverse: InverseHessian, owners: npt.NDArray[np.int64]) -> Values:
    """Scores of the channels of one matrix.

    Args:
        weight: W, shape (O, D).
        inverse: blocks of Hd^-1.
        owners: the channel of every column, shape (D,), from 0; -1 for columns that stay.

    Returns:
        One score per channel, shape (channels,).
    """
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


def static_scores(
    groups: Groups, net: OnnxModule, calibration: Calibration, settings: Settings
) -> Scores:
    """Scores the dense model's channels, by the OBS score or another criterion.

    A group that no linear layer reads has nothing to be refitted, so it gets no score and is left
    dense, whatever the criterion.
    """
    coupling = groups.coupling
    layers = find_layers(coupling)
    of = coupling.components.of
    read = np.zeros(coupling.components.kept.size, dtype=bool)
    for layer in layers.values():
        for labels in label_vectors(coupling, layer):
            read[of[labels]] = True
    readable = [group for group in groups.groups if read[group.components].all()]
    if settings.selection != "obs":
        scores = score(
            coupling.model, groups, settings.selection, normalize=NORMALIZE, seed=settings.seed
        )
        chosen = {g.id: scores.by_group[g.id] for g in readable if g.id in scores.by_group}
        return replace(scores, criterion=NAME, by_group=chosen)
    losses = _losses(groups, layers, net, calibration, settings)
    by_group = {g.id: NORMALIZATIONS[NORMALIZE](losses[g.components]) for g in readable}
    return Scores(NAME, "sum", NORMALIZE, by_group)


def _losses(
    groups: Groups,
    layers: dict[str, LinearLayer],
    net: OnnxModule,
    calibration: Calibration,
    settings: Settings,
) -> Values:
    """Score of every component, summed over the layers that read it."""
    coupling = groups.coupling
    of, kept = coupling.components.of, coupling.components.kept
    losses = np.zeros(kept.size)
    stream = Stream(net, calibration.inputs)
    with Progress("Scoring channels", total=len(net.steps)) as progress, torch.no_grad():
        for step, spent in zip(net.steps, last_reads(net.steps), strict=True):
            layer = layers.get(step.outputs[0])
            if layer is not None:
                for labels in label_vectors(coupling, layer):
                    components = np.where(kept[of[labels]], -1, of[labels])
                    if (components >= 0).any():
                        _add(
                            losses, layer, layer.columns(components), stream, step.inputs, settings
                        )
            if settings.batch_statistics and is_batch_norm(step):
                stream.set_statistics(step, *moments(stream.get(step.inputs[0])))
            stream.run(step)
            stream.drop(spent)
            progress.advance()
    return losses


def _add(
    losses: Values,
    layer: LinearLayer,
    columns: npt.NDArray[np.generic],
    stream: Stream,
    names: tuple[str, ...],
    settings: Settings,
) -> None:
    rows = layer.rows(stream.all(names[layer.data]), settings.columns, settings.seed)
    blocks = layer.blocks(stream.get(names[layer.weight])[0])
    for g in range(layer.groups):
        present, owners = np.unique(columns[g], return_inverse=True)
        if present[0] < 0:
            owners = owners - 1
            present = present[1:]
        if present.size:
            values = obs_scores(blocks[g], InverseHessian(rows[g], settings.damping), owners)
            np.add.at(losses, present, values)
