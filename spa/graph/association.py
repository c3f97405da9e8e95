"""Node association trees: what loses channels along with a layer, node by node.

Ours, after the paper of ONNXPruner (arXiv 2404.08016), of which a tree for every layer that is
pruned, four types of nodes and four patterns are known, and not what those types are called nor
how they are told. They are here what a node has to do with the channels of the root:

    source   the root: its weight makes the channels, and loses output channels
    carrier  keeps them apart with parameters of its own, one each: a norm, a depthwise
             convolution, a sum or product with constants
    relay    has no parameters: activations, pooling, sums, Concat, Flatten ...
    reader   its weight reads them, and loses input channels; the tree ends there

A node is in a tree once, where it is reached first. Layers whose trees come to a common reader
have a pattern together, by how many layers and readers there are: one-to-one, one-to-many,
many-to-one, many-to-many. A tree that comes to an output of the model is open: its root stays.

This is another tool's view. What SPA removes together is told by the coupling alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from spa.graph.model import Model
from spa.graph.nodes import Node, Use
from spa.showing import shown

Role = Literal["source", "carrier", "relay", "reader"]
# Operators whose weight makes and reads channels.
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass
class Branch:
    """A node of a tree.

    Attributes:
        node: the node.
        role: what it has to do with the root's channels.
        position: of the input that they come in by; None for the root.
        children: what reads its output, in the order of the file.
    """

    node: Node
    role: Role
    position: int | None
    children: list[Branch] = field(default_factory=list)

    def walk(self, depth: int = 0) -> Iterator[tuple[int, Branch]]:
        """All branches with their depths, from the root on."""
        todo = [(depth, self)]
        while todo:
            at, branch = todo.pop()
            yield at, branch
            todo += [(at + 1, child) for child in reversed(branch.children)]

    def as_dict(self) -> dict[str, Any]:
        """The same as plain JSON values, root first, with depths in place of nesting."""
        return {
            "root": self.node.name,
            "nodes": [
                {"depth": depth, "name": branch.node.name, "op": branch.node.op,
                 "role": branch.role, "input": branch.position}
                for depth, branch in self.walk()
            ],
        }  # fmt: skip


@dataclass(frozen=True)
class Tree:
    """The tree of a layer.

    Attributes:
        root: the layer.
        open: whether it comes to an output of the model.
        pattern: of the layers and readers that belong together.
    """

    root: Branch
    open: bool
    pattern: str

    @property
    def nodes(self) -> frozenset[int]:
        """Positions of its nodes in the file."""
        return frozenset(branch.node.index for _, branch in self.root.walk())

    @property
    def readers(self) -> frozenset[Use]:
        """Where it ends."""
        found = (branch for _, branch in self.root.walk() if branch.role == "reader")
        return frozenset(Use(b.node.index, b.position or 0) for b in found)


def association_trees(model: Model) -> list[Tree]:
    """The trees of all layers, in the order of the file."""
    outputs = frozenset(model.graph.outputs)
    roots = [node for node in model.graph.nodes if _is_layer(model, node)]
    grown = [_grown(model, node) for node in roots]
    alone = [Tree(root, _reaches(root, outputs), "") for root in grown]
    patterns = _patterns([tree.readers for tree in alone])
    return [
        Tree(tree.root, tree.open, pattern) for tree, pattern in zip(alone, patterns, strict=True)
    ]


def drawn(tree: Tree) -> str:
    """A tree as text, a line for every node."""
    lines = []
    for depth, branch in tree.root.walk():
        more = f"{tree.pattern}{', open' if tree.open else ''}" if not depth else branch.role
        lines.append(f'{"  " * depth}{branch.node.op} "{shown(branch.node.name)}": {more}')
    return "\n".join(lines)


def _grown(model: Model, node: Node) -> Branch:
    root = Branch(node, "source", None)
    seen: set[Use] = set()
    inner = {node.index}
    todo = [root]
    while todo:  # in the order of depth: a node is where the shortest way leads
        branch, todo = todo[0], todo[1:]
        for name in branch.node.outputs:
            for use in sorted(set(model.graph.uses.get(name, ()))):
                reader = model.graph.nodes[use.node]
                role = _role(model, reader)
                # What reads channels by two of its inputs loses them at each.
                again = use in seen if role == "reader" else use.node in inner
                if again or not name:
                    continue
                seen.add(use)
                child = Branch(reader, role, use.position)
                branch.children.append(child)
                if role != "reader":
                    inner.add(use.node)
                    todo.append(child)
    return root


def _role(model: Model, node: Node) -> Role:
    if _is_layer(model, node):
        return "reader"
    own = any(_is_floating(model, name) for name in node.inputs if name in model.constants)
    return "carrier" if own else "relay"


def _is_layer(model: Model, node: Node) -> bool:
    """Whether a node mixes channels by a weight of its own; a depthwise convolution does not."""
    if node.op not in WEIGHTED:
        return False
    held = [name in model.constants for name in node.inputs[:2]]
    if sum(held) != 1:
        return False
    if node.op in ("Conv", "ConvTranspose"):
        groups, shape = int(node.attr("group", 1)), model.shapes[node.inputs[1]]
        return groups == 1 or (shape[1] if node.op == "Conv" else shape[0] // groups) > 1
    return len(model.shapes[node.inputs[held.index(True)]]) == 2


def _is_floating(model: Model, name: str) -> bool:
    root = model.root(name)
    if root not in model.parameters:
        return True  # computed from parameters
    return model.dtype(root).kind == "f" and sum(n > 1 for n in model.shapes[name]) > 0


def _reaches(root: Branch, outputs: frozenset[str]) -> bool:
    return any(
        branch.role != "reader" and not outputs.isdisjoint(branch.node.outputs)
        for _, branch in root.walk()
    )


def _patterns(readers: list[frozenset[Use]]) -> list[str]:
    """By root, the pattern of those that come to common readers, directly or by way of others."""
    sets: list[tuple[set[int], set[Use]]] = []
    for i, mine in enumerate(readers):
        roots, all_readers = {i}, set(mine)
        apart = []
        for before in sets:
            if before[1].isdisjoint(mine):
                apart.append(before)
            else:
                roots |= before[0]
                all_readers |= before[1]
        sets = [*apart, (roots, all_readers)]
    found = [""] * len(readers)
    for roots, together in sets:
        ends = {use.node for use in together}
        words = ["one" if len(each) <= 1 else "many" for each in (roots, ends)]
        for i in roots:
            found[i] = f"{words[0]}-to-{words[1]}"
    return found
