"""ONNXPruner: channels of a layer are scored by the norms of its whole association tree.

Ours, after the paper (arXiv 2404.08016); its code was not to be had, and neither were its formulas.
Known of it: a tree of associated nodes for every layer that is pruned (`spa.graph.association`), a
score by channel-wise norms "of the pruned node's channels together with the associated nodes'",
without training, and a pruning rate of layers. Guessed here:

- of a channel, the norms of its slices in all nodes of the tree are added: rows of the layer, its
  bias, vectors of carriers, columns of readers;
- layers that can lose channels only together are scored by the sum over their trees, so what stands
  behind a shortcut counts once for each;
- every layer loses the same share of its channels (its tables name one rate for a network);
- what is removed is what SPA's coupling says: trees are not asked for more than the score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from experiments.methods import Array, Job, Need, Outcome, method
from experiments.methods.reconstruct.folding import slices
from spa import Limits
from spa.graph.association import association_trees
from spa.importance.values import Channels
from spa.importance.view import View
from spa.observe.layers import LinearLayer, find_layers

if TYPE_CHECKING:
    import spa
    from spa.graph.nodes import Use


@dataclass(frozen=True)
class OnnxPruner:
    """How trees are scored.

    Attributes:
        norm: of slices.
    """

    norm: Literal["l1", "l2"] = "l1"


@method(
    needs=Need.TRAINED,
    settings=OnnxPruner,
    source="ours, after the paper: ONNXPruner, arXiv 2404.08016",
    targets=None,
)
def onnxpruner(job: Job, how: OnnxPruner) -> Outcome:
    """Prune every layer alike, by the norms of its tree."""
    import spa

    made = spa.prune(
        spa.load(job.dense, job.given or None),
        criterion=l1_tree if how.norm == "l1" else l2_tree,
        normalize="none",  # layers are not compared
        target=job.target,
        machine=job.machine,
        limits=Limits(scope="local"),
        seed=job.seed,
    )
    return Outcome(made.model, made.plan, made.proof, seconds=made.seconds)


def l1_tree(view: View) -> Channels:
    """Scores coupled sets by absolute sums over their trees."""
    return tree_norms(view, slice_norms_l1)


def l2_tree(view: View) -> Channels:
    """Scores coupled sets by the lengths of slices, added over their trees."""
    return tree_norms(view, slice_norms_l2)


def tree_norms(view: View, norms: Callable[[Array], Array]) -> Channels:
    """Scores every coupled set by its slices in the trees of the layers that make it.

    Args:
        view: the model and its groups.
        norms: of slices, (channels, entries) -> (channels,).
    """
    model, coupling = view.model, view.groups.coupling
    trees = {tree.root.node.index: tree.nodes for tree in association_trees(model)}
    layers = find_layers(coupling).values()
    made_by = {(layer.parameter, _output_axis(layer)): layer.node.index for layer in layers}
    found = np.full(coupling.components.kept.size, np.nan)
    for group in view.groups.groups:
        roots = {
            made_by[member.name, member.axis.axis]
            for member in group.members
            if (member.name, member.axis.axis) in made_by
        } & trees.keys()
        total = np.zeros(group.channels)
        for member in group.members:
            uses = member.axis.uses or model.graph.uses.get(member.name, ())
            if model.statistic_reads.issuperset(uses) or model.dtype(member.name).kind != "f":
                continue
            nodes = read_by(model, uses)
            times = sum(not nodes.isdisjoint(trees[root]) for root in roots)
            if times:
                total += times * norms(slices(model.array(member.name), member))
        found[group.components] = total
    return Channels(found)


def _output_axis(layer: LinearLayer) -> int:
    return layer.axis if layer.transposed else 1 - layer.axis


def read_by(model: spa.Model, uses: Iterable[Use]) -> frozenset[int]:
    """The nodes that read a parameter, some of them by way of others that make a constant of it."""
    found, todo = set(), list(uses)
    while todo:
        node = model.graph.nodes[todo.pop().node]
        if node.index not in found:
            found.add(node.index)
            for name in node.outputs:
                if name in model.constants:
                    todo += model.graph.uses.get(name, ())
    return frozenset(found)


def slice_norms_l1(slices: Array) -> Array:
    """Sums of absolute values."""
    return np.asarray(np.abs(slices).sum(axis=1))


def slice_norms_l2(slices: Array) -> Array:
    """Lengths."""
    return np.asarray(np.sqrt(np.square(slices).sum(axis=1)))
