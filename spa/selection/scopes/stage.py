"""Stage: groups whose feature maps have one size are ranked together, and stages shrink alike.

A stage of a convolutional network ends where its maps get smaller. A transformer's blocks are one
stage, and layers behind the last pooling are one.

Source: own, after the usual per-stage ratios (Li et al. 2017, 4.2).
"""

from __future__ import annotations

from collections.abc import Hashable

from spa.coupling.groups import Group
from spa.coupling.operators import contracts
from spa.importance.shifts import reads
from spa.selection.scope import Scope, scope
from spa.selection.scopes.global_ import CAP


def size_of(group: Group) -> Hashable:
    """Sizes of places, without samples and channels, of what first reads the group's parameters."""
    model = group.coupling.model
    uses = [
        use
        for member in group.members
        for use in member.axis.uses or tuple(reads(model, member.name))
    ]
    if not uses:
        return ()
    node = model.graph.nodes[min(uses).node]
    shape = tuple(model.shapes[node.outputs[0]])
    convolves = contracts(node.op) and "Conv" in node.op
    return shape[2:] if convolves or len(shape) == 4 else shape[1:-1]


STAGE = scope(Scope("stage", size_of, CAP, "groups with maps of one size together"))
