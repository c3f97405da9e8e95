"""What is kept dense and why: parameter axes that lose nothing, or not all that they could."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from spa.coupling.connect import changes
from spa.coupling.couple import Coupling
from spa.coupling.structures import Structure
from spa.graph.inner import inner_weights

# How many causes a message names.
MOST_CAUSES = 3
# Where no rule said why; no network is known that needs it.
TIED = "it is tied to an axis that cannot shrink"
NOTHING_SAVED = "no product has it for a weight, so that nothing would be saved"


@dataclass(frozen=True)
class KeptAxis:
    """A parameter axis of which some indices stay, whatever the criterion.

    Attributes:
        tensor: the parameter.
        axis: its axis.
        size: its size.
        kept: how many of its indices stay.
        reason: why, with the operator that is to blame.
        cause: why, without it; the same for all axes that are kept for the same sort of reason.
    """

    tensor: str
    axis: int
    size: int
    kept: int
    reason: str
    cause: str


def kept_axes(coupling: Coupling, idle: Sequence[Structure] = ()) -> tuple[KeptAxis, ...]:
    """Kept parameter axes, kernel axes left out; those of weights inside of subgraphs are last.

    Args:
        coupling: what is coupled.
        idle: sets of channels that are left alone, as nothing would be saved by them.
    """
    result = []
    pieces = coupling.components.pieces
    pieces = pieces.of(coupling.components.kept[pieces.components] & (pieces.axes >= 0))
    counts = np.bincount(pieces.axes, pieces.sizes, len(coupling.axes))
    first = changes(pieces.axes)
    numbers = coupling.why_kept[pieces.components[first]]
    for axis, number in zip(pieces.axes[first].tolist(), numbers.tolist(), strict=True):
        entry, count = coupling.axes[axis], int(counts[axis])
        if not entry.is_parameter or entry.size < 2:
            continue
        remark = coupling.kept[number] if number < len(coupling.kept) else None
        if remark is not None and not remark.text:
            continue  # a kernel axis: nothing that anyone would prune
        cause = TIED if remark is None else remark.text
        why = cause if remark is None else sentence(coupling, remark.node, cause)
        result.append(KeptAxis(entry.tensor, entry.axis, entry.size, count, why, cause))
    listed = {(axis.tensor, axis.axis) for axis in result}
    result += [axis for axis in _idle(coupling, idle) if (axis.tensor, axis.axis) not in listed]
    for weight in inner_weights(coupling.model):
        cause = f"it lies inside of a subgraph of {coupling.model.graph.nodes[weight.node].op}"
        why = sentence(coupling, weight.node, cause)
        result += [
            KeptAxis(weight.name, axis, size, size, why, cause)
            for axis, size in enumerate(weight.tensor.dims)
            if size > 1
        ]
    return tuple(result)


def _idle(coupling: Coupling, idle: Sequence[Structure]) -> Iterator[KeptAxis]:
    """The axes of weights among what nothing would be saved by."""
    weights = set(coupling.model.counted_parameters)
    counts: Counter[int] = Counter()
    for each in idle:
        for k in each.axes.tolist():
            counts[k] += each.components.size
    for k, count in counts.items():
        entry = coupling.axes[k]
        if entry.size > 1 and entry.tensor in weights:
            yield KeptAxis(
                entry.tensor, entry.axis, entry.size, count, NOTHING_SAVED, NOTHING_SAVED
            )


def sentence(coupling: Coupling, node: int | None, text: str) -> str:
    """A reason with the operator that is to blame, where there is one."""
    return text if node is None else f"{text} ({coupling.model.graph.nodes[node]})"


def main_causes(kept: Sequence[KeptAxis]) -> str:
    """The most frequent causes in one phrase, by the number of weights; "" where none is kept."""
    counts = Counter(cause for _, cause in dict.fromkeys((k.tensor, k.cause) for k in kept))
    return "; ".join(
        f"{count} weight{'s' if count > 1 else ''}: {cause}"
        for cause, count in counts.most_common(MOST_CAUSES)
    )
