"""Groups by their number, and by the names of their parameters and of the nodes that read them.

1. ``group:3``: the group of that number, as `spa inspect` shows it.
2. ``out:GLOB``: groups of the outputs of a weight, or of a node's weights, of a matching name.
3. ``in:GLOB``: likewise of its inputs. A weight from a group to itself has both in it.
4. ``GLOB``: all of these; a weight of two groups matches both.

Where a name itself begins with such a word, a bracket tells it apart: ``[o]ut:0``.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Sequence

import numpy as np

from spa.coupling.groups import Group, Member
from spa.coupling.labels import Layer
from spa.coupling.operators import multiplies, operator
from spa.graph.nodes import Use

FORMS = "GLOB, out:GLOB, in:GLOB or group:N"
_NUMBER = re.compile("group:([0-9]{1,18})")
_SIDE = re.compile("(in|out):(.+)", re.DOTALL)


def number_in(glob: str) -> int | None:
    """The number of a group that is asked for by it; None for globs over names."""
    found = _NUMBER.fullmatch(glob)
    return int(found[1]) if found else None


def matches(group: Group, glob: str) -> bool:
    """Whether a group is described; see the module's text."""
    number, side = number_in(glob), _SIDE.fullmatch(glob)
    if number is not None:
        return group.id == number
    if side is not None:
        return any(fnmatch.fnmatchcase(name, side[2]) for name in _names_at(group, side[1]))
    names: list[str] = [member.name for member in group.members] + list(group.nodes)
    return any(fnmatch.fnmatchcase(name, glob) for name in names)


def _names_at(group: Group, side: str) -> Iterator[str]:
    """Weights, and nodes that compute with them, whose inputs or outputs a group's channels are."""
    for member in group.members:
        for use in _readers(group, member):
            if _is_output(group, use) if side == "out" else _is_input(group, use):
                yield member.name
                yield group.coupling.model.graph.nodes[use.node].name


def _readers(group: Group, member: Member) -> Iterator[Use]:
    """What computes with a weight, behind what only prepares it (Transpose, DequantizeLinear)."""
    model = group.coupling.model
    pending = list(member.axis.uses or model.graph.uses.get(member.name, ()))
    seen: set[Use] = set()
    while pending:
        use = pending.pop()
        if use in seen:
            continue
        seen.add(use)
        outputs = [name for name in model.graph.nodes[use.node].outputs if name]
        if outputs and all(name in model.constants for name in outputs):
            pending += [each for name in outputs for each in model.graph.uses.get(name, ())]
        else:
            yield use


def _is_output(group: Group, use: Use) -> bool:
    """Whether channels of the group are among what a node gives."""
    coupling = group.coupling
    outputs = coupling.model.graph.nodes[use.node].outputs
    return _holds(group, [layer for name in outputs for layer in coupling.layers.get(name, [])])


def _is_input(group: Group, use: Use) -> bool:
    """Whether a node multiplies with the weight, and channels of the group are summed over."""
    coupling = group.coupling
    model, node = coupling.model, coupling.model.graph.nodes[use.node]
    facts = operator(node.op)
    if not multiplies(node.op) or use.position in facts.biases:
        return False
    if facts.weights is not None and use.position not in facts.weights:
        return False
    read = [Use(node.index, i) for i, name in enumerate(node.inputs)
            if name and name not in model.constants]  # fmt: skip
    # What is neither read nor given lies inside of the node, between two of its weights.
    return not _is_output(group, use) or _holds(
        group, [layer for each in read for layer in coupling.layers_read(each)]
    )


def _holds(group: Group, layers: Sequence[Layer]) -> bool:
    at = group.coupling.components.at
    return any(np.isin(at(layer.ravel()), group.components).any() for layer in layers)
