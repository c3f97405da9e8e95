"""Which channels of a group go, by exact losses: greedy removal, and exchanges afterwards.

With H the (damped) Hessian of a layer that reads the group, K the columns that stay, R those that
have gone, and W' = W_K + W_R H_RK H_KK^-1 the refit,

    loss        tr(W_R S W_R^T),  S = H_RR - H_RK H_KK^-1 H_KR
    giving up j of K costs        tr(W'_j ([H_KK^-1]_jj)^-1 W'_j^T)
    taking s of R back gains      tr(C_s S_ss^-1 C_s^T),  C_s = W_R S_Rs

all summed over the layers that read the group. How many channels a group loses stays as it was
selected, so what is reached does too.

1. Greedy: from none, a tenth of them goes at a time, and costs are renewed (OSSCAR, Meng et al.
   2024, batched).
2. Exchanges: the n that gain most come back and the n that cost least go; that is kept where the
   loss falls, and n is halved where it does not (OSSCAR's local search).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import linalg

from spa.coupling.groups import Group, Groups
from spa.graph.model import Array, Model
from spa.observe.gram import Matrix, Rows, damped, strength
from spa.observe.layers import LinearLayer, find_layers, label_vectors
from spa.observe.rows import chosen, input_rows, parts, positions
from spa.observe.steps import runner_for
from spa.observe.store import Held, Store
from spa.observe.stream import Stream, is_batch_norm, last_reads, moments
from spa.obspa.calibration import Calibration
from spa.obspa.settings import Settings
from spa.progress import Progress

Mask = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]
# Wider layers are left out: their inverse is taken in every round.
WIDEST = 8192
# Parts in which channels go, and the share of those that have gone that is exchanged at first.
BATCHES = 10
SHARE = 0.2


@dataclass(frozen=True)
class Reader:
    """A matrix that reads channels.

    Attributes:
        weight: W, (O, D).
        hessian: H with its ridge, (D, D).
        of: the component that every column belongs to, (D,).
    """

    weight: Matrix
    hessian: Held
    of: Indices


@dataclass(frozen=True)
class Costs:
    """What a choice of channels that have gone comes to.

    Attributes:
        loss: squared error after a refit.
        drop: by component that stays, what giving it up costs besides.
        gain: by component that has gone, what taking it back gains.
    """

    loss: float
    drop: dict[int, float]
    gain: dict[int, float]


def improved(
    model: Model, groups: Groups, removed: Mask, calibration: Calibration, settings: Settings
) -> Mask:
    """Components that go once exact losses have been looked at; as many of every group.

    Args:
        model: the dense model.
        groups: its groups.
        removed: what a selection took, shape (components,).
        calibration: the inputs that losses are measured on.
        settings: ``greedy`` and ``swaps``.
    """
    store = Store(calibration.budget // 2)
    losing = [group for group in groups.groups if _count(group, removed)]
    readers = _readers(model, groups, removed, calibration, settings, store)
    result = removed.copy()
    with Progress("Searching channels", total=len(losing)) as progress:
        for group in losing:
            own = [reader for reader in readers if np.isin(reader.of, group.components).any()]
            if own and _count(group, removed) < group.channels:
                gone = set(group.components[removed[group.components]].tolist())
                if settings.greedy:
                    gone = _greedy(own, group.components, len(gone))
                gone = _exchanged(own, group.components, gone, settings.swaps)
                result[group.components] = np.isin(group.components, sorted(gone))
            progress.advance()
    return result


def costs(readers: list[Reader], components: Indices, gone: set[int]) -> Costs:
    """Loss of a choice, and what every single change would do to it."""
    loss, drop, gain = 0.0, dict.fromkeys(_rest(components, gone), 0.0), dict.fromkeys(gone, 0.0)
    for reader in readers:
        out = np.isin(reader.of, sorted(gone))
        kept, away = np.flatnonzero(~out), np.flatnonzero(out)
        h = reader.hessian.get()
        inverse = linalg.inv(h[np.ix_(kept, kept)], check_finite=False)
        across = h[np.ix_(away, kept)]
        left = h[np.ix_(away, away)] - across @ inverse @ across.T
        new = reader.weight[:, kept] + reader.weight[:, away] @ across @ inverse
        back = reader.weight[:, away] @ left  # C, (O, R)
        loss += float(np.sum(back * reader.weight[:, away]))
        _add(drop, reader.of[kept], new, inverse)
        _add(gain, reader.of[away], back, left)
    return Costs(loss, drop, gain)


def _add(into: dict[int, float], of: Indices, matrix: Matrix, inner: Matrix) -> None:
    """Adds tr(M_j (N_jj)^-1 M_j^T) of every channel's columns j."""
    for component in into:
        j = np.flatnonzero(of == component)
        if j.size:
            m = matrix[:, j]
            into[component] += float(np.sum(m.T * np.linalg.solve(inner[np.ix_(j, j)], m.T)))


def _greedy(readers: list[Reader], components: Indices, count: int) -> set[int]:
    gone: set[int] = set()
    while len(gone) < count:
        some = min(-(-count // BATCHES), count - len(gone))
        gone |= _least(costs(readers, components, gone).drop, some)
    return gone


def _least(values: dict[int, float], count: int) -> set[int]:
    """Keys of the smallest values; of equal ones the lowest."""
    return set(sorted(values, key=lambda key: (values[key], key))[:count])


def _exchanged(readers: list[Reader], components: Indices, gone: set[int], rounds: int) -> set[int]:
    size = max(1, int(SHARE * min(len(gone), components.size - len(gone))))
    if not rounds:
        return gone
    now = costs(readers, components, gone)
    for _ in range(rounds):
        back = _least({s: -gain for s, gain in now.gain.items()}, size)
        away = _least(now.drop, size)
        trial = gone.difference(back).union(away)
        then = costs(readers, components, trial)
        if then.loss < now.loss * (1 - 1e-9):
            gone, now = trial, then
        elif size == 1:
            break
        else:
            size //= 2
    return gone


def _count(group: Group, removed: Mask) -> int:
    return int(removed[group.components].sum())


def _rest(components: Indices, gone: set[int]) -> list[int]:
    return [int(each) for each in components if int(each) not in gone]


def _readers(
    model: Model,
    groups: Groups,
    removed: Mask,
    calibration: Calibration,
    settings: Settings,
    store: Store,
) -> list[Reader]:
    """Every matrix that reads a channel that goes, with its Hessian on the dense model."""
    coupling = groups.coupling
    layers = find_layers(coupling)
    stream = Stream(model, calibration.inputs, runner_for(model, settings.device), store)
    found: list[Reader] = []
    losing = [
        layer.node.index
        for layer in layers.values()
        for labels in label_vectors(coupling, layer)
        if removed[coupling.components.of[labels]].any()
    ]
    nodes = model.graph.nodes[: max(losing, default=-1) + 1]
    with Progress("Looking at what layers read", total=len(nodes)) as progress:
        for node, spent in zip(nodes, last_reads(nodes), strict=True):
            layer = layers.get(node.outputs[0])
            for labels in label_vectors(coupling, layer) if layer is not None else ():
                assert layer is not None
                of = coupling.components.of[labels]
                if removed[of].any():
                    found += _of_layer(layer, of, stream, settings, store)
            if settings.batch_statistics and is_batch_norm(node):
                stream.set_statistics(node, *moments(stream.batches(node.inputs[0])))
            stream.run(node)
            stream.leave(node, spent)
            progress.advance()
    return found


def _of_layer(
    layer: LinearLayer, of: Indices, stream: Stream, settings: Settings, store: Store
) -> list[Reader]:
    name = layer.node.inputs[layer.data]
    blocks: Array = layer.blocks(stream.whole(layer.weight_name))
    groups, _, size = blocks.shape
    if size > WIDEST:
        return []
    which = chosen(
        [positions(layer, s) for s in stream.shapes(name)], settings.columns, settings.seed
    )
    total = max(size, sum(map(len, which)))  # never rows instead of a matrix
    taken = [Rows(size, 0, total, centred=settings.intercept) for _ in range(groups)]
    for x, places in zip(stream.batches(name), which, strict=True):
        for part in parts(layer, size, places):
            for g, rows in enumerate(input_rows(layer, x, part)):
                taken[g].add(rows)
    columns = layer.columns(of)
    made = []
    for g in range(groups):
        sums = taken[g].sums()
        h = damped(sums.hessian(), strength(sums.diagonal, settings.share))
        made.append(
            Reader(blocks[g].astype(np.float64), store.put(h), np.asarray(columns[g], np.int64))
        )
    return made
