"""Isomorphic: groups of one structure are ranked together, and every structure shrinks alike.

Scores of an attention's heads and of an MLP's hidden units have different sizes and spreads, and in
one ranking the smaller kind goes first. Two groups have one structure if the same operators read
their parameters at the same inputs and axes, in the same order; how wide and how large they are
does not matter.

Source: Fang et al. 2024, Isomorphic Pruning for Vision Models, 3. The paper compares graphs of
layers and directions; their order, as Torch-Pruning 1.6 does, is ours.
"""

from __future__ import annotations

from collections.abc import Hashable

from spa.coupling.groups import Group
from spa.importance.shifts import reads
from spa.selection.scope import Scope, scope
from spa.selection.scopes.global_ import CAP


def structure_of(group: Group) -> Hashable:
    """Operators that read a group's parameters, each with its input, the axis, and its kind."""
    model = group.coupling.model
    found = []
    for member in group.members:
        for use in member.axis.uses or tuple(reads(model, member.name)):
            node = model.graph.nodes[use.node]
            in_groups = int(node.attr("group", 1)) > 1
            found.append((use.node, use.position, member.axis.axis, node.op, in_groups))
    return tuple(entry[1:] for entry in sorted(found))


ISOMORPHIC = scope(Scope("isomorphic", structure_of, CAP, "groups of one structure together"))
