"""Groups by the names of their parameters and of the nodes that read them."""

from __future__ import annotations

import fnmatch

from spa.coupling.groups import Group


def matches(group: Group, glob: str) -> bool:
    """Whether a parameter or a node of a group has a name that a glob describes."""
    names: list[str] = [member.name for member in group.members] + list(group.nodes)
    return any(fnmatch.fnmatchcase(name, glob) for name in names)
