"""The walk that refits every layer that loses inputs.

Two streams run through the model in topological order: the dense model, and the one under repair.
When a linear layer is reached, its input in the second stream comes from layers that have been
refitted already, with the channels that are doomed still alive: were they cut first, there would be
nothing left to learn from. The layer's weight is refitted, and its output computed with the new
weight. What is doomed on the output side goes in the surgery, after the walk. One layer's Hessian
is held at a time.

What the walk leaves as it is, and says so: a weight that several nodes read, or that is computed
from other tensors. Its removed columns count as zero from there on.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from spa.coupling.couple import Cut
from spa.graph.model import Array, Model
from spa.graph.nodes import Node
from spa.graph.weightless import copy_lacking
from spa.observe.gram import Matrix, strength
from spa.observe.layers import LinearLayer, find_layers
from spa.observe.residual import MOVED, Joint, find_joint, first_position
from spa.observe.steps import runner_for
from spa.observe.store import Store
from spa.observe.stream import Stream, is_batch_norm, last_reads
from spa.obspa.analytic import analytic_moments, moved
from spa.obspa.bias import Bias, find_bias
from spa.obspa.calibration import Calibration
from spa.obspa.collecting import Collected, Wanted, collect
from spa.obspa.keeping import Kept
from spa.obspa.norms import reason_to_keep, settle
from spa.obspa.ridge import by_holding_out, by_shrinkage
from spa.obspa.settings import Settings
from spa.obspa.update import Fit, refit
from spa.progress import Progress
from spa.pruning.parameters import set_parameter

# Shares of the mean diagonal that are tried where a transformer's ridge is chosen on held-out rows.
STRONG = (0.1, 0.3, 1.0)


@dataclass(frozen=True)
class Reconstruction:
    """What a walk gave.

    Attributes:
        proto: the dense-shaped model with the new weights.
        updated: parameters that were refitted, in order.
        notes: layers that lose inputs and could not be refitted, with the reason; and remarks.
        batch_norms: how many batch norms got other statistics.
        intercepts: how many layers put what is left of the mean into a bias.
        damping: the share of the mean diagonal that every refitted layer's ridge came to.
    """

    proto: onnx.ModelProto
    updated: tuple[str, ...]
    notes: tuple[str, ...]
    batch_norms: int
    intercepts: int = 0
    damping: tuple[float, ...] = ()


def reconstruct(
    model: Model, cut: Cut, calibration: Calibration, settings: Settings
) -> Reconstruction:
    """Refits all layers that lose inputs in a cut; the model is not changed."""
    walk = _Walk(model, cut, calibration, settings)
    if not settings.refit and settings.batch_norms in ("keep", "analytic"):
        return walk.result()  # nothing that inputs would say
    return walk.all_nodes()


class _Walk:
    def __init__(
        self, model: Model, cut: Cut, calibration: Calibration, settings: Settings
    ) -> None:
        self.model, self.cut, self.settings = model, cut, settings
        self.layers = find_layers(cut.coupling)
        runner = runner_for(model, settings.device)
        # Half of what may be taken; the other half is for the batch and the layer at work.
        store = Store(calibration.budget // 2)
        self.dense = Stream(model, calibration.inputs, runner, store)
        self.repaired = Stream(model, calibration.inputs, runner, store)
        self.owners = Counter(layer.parameter for layer in self.layers.values())
        self.reads = Counter(
            model.root(name) for node in model.graph.nodes if node.op != "Identity"
            for name in (*node.inputs, *node.captured)
        )  # fmt: skip
        self.values = Kept(model)
        self.shifts: dict[str, Matrix] = {}
        self.joined: dict[str, Joint] = {}
        self.moved: list[tuple[float, str]] = []
        self.updated: list[str] = []
        self.notes: list[str] = []
        self.damping: list[float] = []
        self.batch_norms = self.intercepts = 0

    def all_nodes(self) -> Reconstruction:
        nodes = self.model.graph.nodes[: self.last_looked_at() + 1]
        with Progress("Refitting layers", total=len(nodes)) as progress:
            for node, spent in zip(nodes, last_reads(nodes), strict=True):
                layer = self.layers.get(node.outputs[0])
                if layer is not None:
                    self.linear(layer)
                if is_batch_norm(node):
                    self.batch_norm(node)
                self.dense.run(node)
                if not self.repaired.follow(self.dense, node):
                    self.repaired.run(node)
                if node.outputs[0] in self.joined:
                    self.look_at_first_position(node)
                self.dense.leave(node, spent)
                self.repaired.leave(node, spent)
                progress.advance(note=str(node))
        return self.result()

    def result(self) -> Reconstruction:
        """The model with all new values."""
        if self.settings.batch_norms == "analytic":
            self.move_statistics()
        proto = copy_lacking(self.model.proto, self.values.names)
        for name in self.values.names:
            set_parameter(self.model, proto, name, self.values.tensor(name))
        return Reconstruction(
            proto, tuple(self.updated), (*self.notes, *self.remark()), self.batch_norms,
            self.intercepts, tuple(self.damping),
        )  # fmt: skip

    def last_looked_at(self) -> int:
        """Index of the last node that something is learned at; what is behind need not run.

        A language model's logits take more memory than all that was computed before.
        """
        looked_at = [0]
        for node in self.model.graph.nodes:
            layer = self.layers.get(node.outputs[0])
            if layer is not None and self.cut.of_read(layer.use)[layer.axis] is not None:
                joint = find_joint(self.model, layer)
                behind = node if joint is None else self.model.graph.producers[joint.joined]
                looked_at.append(max(node.index, behind.index))
            if is_batch_norm(node) and self.settings.batch_norms in ("refresh", "relative"):
                looked_at.append(node.index)
        return max(looked_at)

    def linear(self, layer: LinearLayer) -> None:
        """Refits one layer, where it loses inputs."""
        joint = find_joint(self.model, layer)
        if joint is not None:
            self.joined[joint.joined] = joint
        mask = self.cut.of_read(layer.use)[layer.axis]
        if mask is None:
            return
        name = layer.weight_name
        keep = np.array(layer.columns(mask))
        old = self.repaired.whole(name)
        blocks = layer.blocks(old)
        reason = self.reason_against(layer)
        if reason or not self.settings.refit:
            if reason:
                self.notes.append(f"{layer.node} is not refitted: {reason}")
            self.repaired.set(name, layer.weight_of(blocks * keep[:, None, :], old.shape))
            return
        bias = None
        if self.settings.intercept:
            bias = find_bias(self.model, layer, self.reads)
        new, shift = self.refitted(layer, blocks, keep, joint, centred=bias is not None)
        weight = layer.weight_of(new, old.shape)
        self.repaired.set(name, weight)
        assert layer.parameter is not None
        self.values.put(layer.parameter, weight.T if layer.transposed else weight)
        self.updated.append(layer.parameter)
        if bias is not None:
            self.take(bias, shift)

    def take(self, bias: Bias, shift: Matrix) -> None:
        """Gives an intercept to what takes it."""
        value = bias.shifted(self.repaired.whole(bias.read), shift)
        self.repaired.set(bias.read, value)
        self.values.put(bias.parameter, value)
        self.intercepts += 1
        if bias.is_mean:
            self.shifts[bias.read] = shift

    def reason_against(self, layer: LinearLayer) -> str:
        if layer.parameter is None:
            return "its weight is computed from other tensors"
        reads = max(self.reads[layer.parameter], self.reads[self.model.root(layer.weight_name)])
        if max(reads, self.owners[layer.parameter]) > 1:
            return f'its weight "{layer.parameter}" is read more than once'
        if self.model.dtype(layer.parameter).kind != "f":
            return "its weight is not floating"
        return ""

    def refitted(
        self, layer: LinearLayer, blocks: Array, keep: Array, joint: Joint | None, *, centred: bool
    ) -> tuple[Array, Matrix]:
        """New matrices, (g, O, D), and what the bias takes, (g x O,)."""
        settings = self.settings
        if joint is not None and not (
            self.dense.has(joint.earlier) and self.repaired.has(joint.earlier)
        ):
            joint = None  # it is computed later
        target = settings.target_outputs or "dense"
        if target == "stream" and joint is None:
            target = "own"
        want = Wanted(
            target, centred, joint,
            bool(settings.token_weights) and layer.is_plain,
            settings.damping == "held-out",
            settings.columns, settings.seed, settings.device,
        )  # fmt: skip
        found = collect(layer, blocks, self.repaired, self.dense, want)
        new = blocks.copy()
        shift = np.zeros(blocks.shape[:2])
        for g, sums in enumerate(found):
            if keep[g].any():  # else the whole group goes, outputs too
                fit = self.fitted(blocks[g], sums, keep[g], centred=centred)
                new[g], shift[g] = fit.weight, fit.shift
        return new, shift.reshape(-1)

    def fitted(self, weight: Array, sums: Collected, keep: Array, *, centred: bool) -> Fit:
        damping = self.settings.damping
        mean = strength(sums.all.diagonal, 1.0)
        if damping == "oas":
            lam = by_shrinkage(sums.all, keep)
        else:
            share = self.settings.share
            if sums.fitted is not None and sums.held is not None:
                share = by_holding_out(
                    weight, sums.fitted, sums.held, keep, intercept=centred,
                    **({"shares": STRONG} if self.settings.token_weights else {}),
                )  # fmt: skip
            lam = share * mean
        self.damping.append(lam / mean)
        return refit(weight, sums.all, keep, lam, intercept=centred)

    def batch_norm(self, node: Node) -> None:
        """Settles a batch norm's statistics."""
        shift = self.shifts.get(node.inputs[3])
        found = settle(
            self.model, node, self.dense, self.repaired, self.settings, shift, self.reads
        )
        if found.note:
            self.notes.append(found.note)
        for name, value in found.values.items():
            self.values.put(name, value)
        self.batch_norms += bool(found.values)

    def move_statistics(self) -> None:
        """Moves batch norms' statistics by closed-form moments of the two models."""

        def keeps(layer: LinearLayer) -> npt.NDArray[np.bool_] | None:
            return self.cut.of_read(layer.use)[layer.axis]

        def stored(name: str) -> Array:
            return self.model.array(self.model.root(name))

        def now(name: str) -> Array:
            value = self.values.get(self.model.root(name))
            return stored(name) if value is None else value

        layers = {
            name: layer for name, layer in self.layers.items()
            if layer.parameter is not None and not layer.transposed
        }  # fmt: skip
        dense = analytic_moments(self.model, layers, stored, lambda layer: None)
        pruned = analytic_moments(self.model, layers, now, keeps)
        for node in self.model.graph.nodes:
            name = node.outputs[0]
            if not is_batch_norm(node) or name not in pruned:
                continue
            before, after = dense[name], pruned[name]
            if np.array_equal(before.mean, after.mean) and np.array_equal(before.var, after.var):
                continue
            note = reason_to_keep(self.model, node, self.reads)
            if note:
                self.notes.append(note)
                continue
            mean, var = map(stored, node.inputs[3:5])
            new = moved(mean, var, before, after, variance=not self.settings.refit)
            for read, value in zip(node.inputs[3:5], new, strict=True):
                self.values.put(self.model.root(read), value)
            self.batch_norms += 1

    def look_at_first_position(self, node: Node) -> None:
        """Notes how far the residual stream's size has moved at the first of several positions."""
        name = node.outputs[0]
        shapes = self.dense.shapes(name)
        if len(shapes[0]) != 3 or shapes[0][1] < 2 or self.dense.value(name) is self.repaired.value(
            name
        ):  # fmt: skip
            return
        dense, now = (
            sum(first_position(x) for x in stream.batches(name))
            for stream in (self.dense, self.repaired)
        )
        if dense > 0:
            self.moved.append((float(np.sqrt(now / dense)) - 1, str(node)))

    def remark(self) -> list[str]:
        """A warning where the size at the first position has moved by over a tenth."""
        far = max(self.moved, key=lambda found: abs(found[0]), default=(0.0, ""))
        if abs(far[0]) <= MOVED:
            return []
        return [
            f"The residual stream's size at the first position moves by {far[0]:+.0%} at {far[1]}; "
            f"over {MOVED:.0%} says that something essential went: prune less, or spare the first "
            "layers (Limits.protect_first, --protect-first)."
        ]
