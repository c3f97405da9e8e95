"""Folding: channels that are alike become one; no data, and nothing is thrown away.

The channels of every coupled set fall into as many clusters as are to stay, by their weights
(Ward's method on the members' slices, each of norm one on the average). Of a cluster one channel
stays: with the mean of the rows that make it, and the sum of the columns that read it. Where a
batch norm stands behind the rows, it is the mean of what it makes of them,

    row = std mean(row_i / std_i)    mean = std mean(mean_i / std_i)    std = 1 / mean(1 / std_i)

and the scale makes up for the variance that a mean of n channels loses, whose rows have a mean
cosine r:  scale = mean(scale_i) sqrt(n / (1 + (n - 1) r)).
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

import spa
from experiments.methods import Job, Need, Outcome, method
from spa.coupling.groups import Group, Groups, Member, find_groups
from spa.graph.model import Model
from spa.graph.weightless import copy_lacking
from spa.importance.score import score
from spa.observe.layers import find_layers
from spa.observe.stream import is_batch_norm
from spa.pruning.parameters import set_parameter
from spa.pruning.planning import plan_of
from spa.pruning.result import finish
from spa.selection.budget import select

Array = npt.NDArray[Any]
Clusters = list[list[int]]


@dataclass(frozen=True)
class Folding:
    """How channels are folded.

    Attributes:
        repair: whether scales make up for the variance that a mean loses.
    """

    repair: bool = True


@method(
    needs=Need.TRAINED | Need.LIMITS,
    settings=Folding,
    source="Model folding, arXiv 2502.10216; folding as projection, arXiv 2602.18116",
)
def folding(job: Job, how: Folding) -> Outcome:
    """Fold channels that are alike; how many go of every set is by l2 and the limits."""
    model = spa.load(job.dense, job.given or None)
    started = time.perf_counter()
    groups = find_groups(model)
    scores = score(model, groups, "l2", seed=job.seed)
    selection = select(groups, scores, job.target, job.limits)
    values = {name: np.array(model.array(name)) for name in model.parameters
              if model.dtype(name).kind == "f"}  # fmt: skip
    removed = np.zeros_like(selection.removed)
    for group in groups.groups:
        count = int(selection.removed[group.components].sum())
        if count:
            clusters = clustered(model, group, group.channels - count)
            fold(model, groups, group, clusters, values, repair=how.repair)
            gone = [channel for cluster in clusters for channel in cluster[1:]]
            removed[group.components[gone]] = True
    proto = copy_lacking(model.proto, values)
    for name, value in values.items():
        set_parameter(model, proto, name, onnx.numpy_helper.from_array(value, name))
    changed = model.with_weights(proto)
    selection = dataclasses.replace(selection, removed=removed)
    plan = plan_of(groups, scores, job.target, job.limits, selection)
    plan = dataclasses.replace(
        plan, weights=changed.sha256, settings={**plan.settings, "method": "folding"}
    )
    made = finish(changed, groups, plan, selection.dense, selection.pruned, started, check=True)
    return Outcome(
        made.model, made.plan, made.proof, changed.closed, made.seconds,
        {"method": "folding", "repair": how.repair}, tuple(made.plan.notes),
    )  # fmt: skip


def clustered(model: Model, group: Group, count: int) -> Clusters:
    """Channels of a group in so many clusters; the first of each, the lowest, stays."""
    from sklearn.cluster import AgglomerativeClustering

    features = []
    for member in group.members:
        if model.dtype(model.root(member.name)).kind == "f":
            flat = slices(model.array(model.root(member.name)), member)
            scale = np.sqrt(np.square(flat).sum(axis=1).mean()) or 1.0
            features.append(flat / scale)
    labels = AgglomerativeClustering(count).fit_predict(np.concatenate(features, axis=1))
    return [np.flatnonzero(labels == label).tolist() for label in dict.fromkeys(labels.tolist())]


def slices(value: Array, member: Member) -> Array:
    """A parameter's slices by channel, (channels, entries)."""
    moved = np.moveaxis(value, member.axis.axis, 0)
    return moved[member.indices].reshape(len(member.indices), -1).astype(np.float64)


def fold(
    model: Model,
    groups: Groups,
    group: Group,
    clusters: Clusters,
    values: dict[str, Array],
    *,
    repair: bool,
) -> None:
    """Gives the channels that stay the means and sums of their clusters, in place."""
    read = {
        (layer.parameter, 1 - layer.axis if layer.transposed else layer.axis)
        for layer in find_layers(groups.coupling).values()
    }
    members = {(m.name, m.axis.axis): m for m in group.members if m.name in values}
    norms = list(_norms(model, members))
    scaled = {name for norm in norms for name in norm}
    for (name, axis), member in members.items():
        if name not in scaled or (name, axis) in read:
            _merge(values[name], member, clusters, summed=(name, axis) in read)
    for norm in norms:
        _merge_norm(model, values, [members[name, 0] for name in norm], clusters, repair)


def _norms(model: Model, members: dict[tuple[str, int], Member]) -> Iterator[list[str]]:
    """Of batch norms behind rows: the rows' parameter, scale, shift, mean and variance."""
    for node in model.graph.nodes:
        maker = model.graph.producers.get(node.inputs[0]) if node.inputs else None
        if is_batch_norm(node) and maker is not None and maker.op == "Conv":
            bare = not maker.has_input(2)  # a bias would be part of the mean
            names = [model.root(name) for name in (maker.inputs[1], *node.inputs[1:5])]
            if bare and all((name, 0) in members for name in names):
                yield names


def _merge(value: Array, member: Member, clusters: Clusters, *, summed: bool) -> None:
    moved = np.moveaxis(value, member.axis.axis, 0)
    for cluster in clusters:
        parts = moved[member.indices[cluster]]  # (n, multiplicity, ...)
        moved[member.indices[cluster[0]]] = parts.sum(axis=0) if summed else parts.mean(axis=0)


def _merge_norm(
    model: Model,
    values: dict[str, Array],
    members: Sequence[Member],
    clusters: Clusters,
    repair: bool,
) -> None:
    rows, scale, shift, mean, var = (
        values[member.name][member.indices[:, 0]].astype(np.float64) for member in members
    )
    std = np.sqrt(np.maximum(var, 1e-12))
    for cluster in clusters:
        own = std[cluster]
        together = 1.0 / np.mean(1.0 / own)
        unit = rows[cluster] / own.reshape(-1, *[1] * (rows.ndim - 1))
        factor = variance_kept(unit.reshape(len(cluster), -1)) if repair else 1.0
        new = (
            together * unit.mean(axis=0), scale[cluster].mean() * factor, shift[cluster].mean(),
            together * (mean[cluster] / own).mean(), together**2,
        )  # fmt: skip
        for member, value in zip(members, new, strict=True):
            values[member.name][member.indices[cluster[0], 0]] = value


def variance_kept(rows: Array) -> float:
    """What the mean of n rows is multiplied by to have the variance of one of them."""
    n = len(rows)
    if n == 1:
        return 1.0
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = rows / np.where(norms > 0, norms, 1.0)
    cosine = (np.square(unit.sum(axis=0)).sum() - n) / (n * (n - 1))
    return float(np.sqrt(n / max(1 + (n - 1) * cosine, 0.1)))
