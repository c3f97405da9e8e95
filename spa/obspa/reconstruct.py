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
import torch
from torch import Tensor

from spa.bridge.onnx_module import OnnxModule, Step
from spa.coupling.couple import Cut
from spa.graph.model import Array, Model
from spa.graph.weightless import copy_lacking
from spa.observe.layers import LinearLayer, find_layers
from spa.observe.stream import Stream, is_batch_norm, last_reads, moments
from spa.obspa.calibration import Calibration
from spa.obspa.settings import Settings
from spa.obspa.update import refit
from spa.progress import Progress
from spa.pruning.parameters import set_parameter

Mask = npt.NDArray[np.bool_]
# How far a relative refresh may move a variance.
VARIANCE_RATIO = (1e-3, 4.0)


@dataclass(frozen=True)
class Reconstruction:
    """What a walk gave.

    Attributes:
        proto: the dense-shaped model with the new weights.
        updated: parameters that were refitted, in order.
        notes: layers that lose inputs and could not be refitted, with the reason.
        batch_norms: how many batch norms got other statistics.
    """

    proto: onnx.ModelProto
    updated: tuple[str, ...]
    notes: tuple[str, ...]
    batch_norms: int


def reconstruct(
    model: Model, net: OnnxModule, cut: Cut, calibration: Calibration, settings: Settings
) -> Reconstruction:
    """Refits all layers that lose inputs in a cut; neither model nor net is changed."""
    with torch.no_grad():
        return _Walk(model, net, cut, calibration, settings).all_steps()


class _Walk:
    def __init__(
        self, model: Model, net: OnnxModule, cut: Cut, calibration: Calibration, settings: Settings
    ) -> None:
        self.model, self.net, self.cut = model, net, cut
        self.settings = settings
        self.layers = find_layers(cut.coupling)
        self.dense = Stream(net, calibration.inputs)
        self.repaired = Stream(net, calibration.inputs)
        self.owners = Counter(layer.parameter for layer in self.layers.values())
        self.reads = Counter(
            model.root(name) for node in model.graph.nodes if node.op != "Identity"
            for name in node.inputs
        )  # fmt: skip
        self.values: dict[str, Array] = {}
        self.updated: list[str] = []
        self.notes: list[str] = []
        self.batch_norms = 0

    def all_steps(self) -> Reconstruction:
        steps = self.net.steps
        with Progress("Refitting layers", total=len(steps)) as progress:
            for step, spent in zip(steps, last_reads(steps), strict=True):
                layer = self.layers.get(step.outputs[0])
                if layer is not None:
                    self.linear(layer, step)
                if is_batch_norm(step):
                    self.batch_norm(step)
                self.dense.run(step)
                if not self.repaired.follow(self.dense, step):
                    self.repaired.run(step)
                self.dense.drop(spent)
                self.repaired.drop(spent)
                progress.advance()
        proto = copy_lacking(self.model.proto, self.values)
        for name, value in self.values.items():
            set_parameter(self.model, proto, name, onnx.numpy_helper.from_array(value, name))
        return Reconstruction(proto, tuple(self.updated), tuple(self.notes), self.batch_norms)

    def linear(self, layer: LinearLayer, step: Step) -> None:
        """Refits one layer, where it loses inputs."""
        mask = self.cut.of_read(layer.use)[layer.axis]
        if mask is None:
            return
        name = step.inputs[layer.weight]
        keep = torch.from_numpy(np.array(layer.columns(mask)))
        old = self.repaired.get(name)[0]
        blocks = layer.blocks(old)
        reason = self.reason_against(layer)
        if reason:
            self.notes.append(f"{layer.node} is not refitted: {reason}")
            new = blocks * keep.to(blocks)[:, None, :]
        else:
            new = self.refitted(layer, step, blocks, keep.to(old.device))
        weight = layer.weight_of(new, old.shape)
        self.repaired.set(name, weight)
        if not reason:
            assert layer.parameter is not None
            stored = weight.T if layer.transposed else weight
            self.values[layer.parameter] = stored.contiguous().cpu().numpy()
            self.updated.append(layer.parameter)

    def reason_against(self, layer: LinearLayer) -> str:
        if layer.parameter is None:
            return "its weight is computed from other tensors"
        reads = max(self.reads[layer.parameter], self.reads[self.model.root(layer.weight_name)])
        if max(reads, self.owners[layer.parameter]) > 1:
            return f'its weight "{layer.parameter}" is read more than once'
        if self.model.dtype(layer.parameter).kind != "f":
            return "its weight is not floating"
        return ""

    def refitted(self, layer: LinearLayer, step: Step, blocks: Tensor, keep: Tensor) -> Tensor:
        """New matrices, (g, O, D)."""
        limit, seed = self.settings.columns, self.settings.seed
        name = step.inputs[layer.data]
        rows = layer.rows(self.repaired.all(name), limit, seed)
        dense = rows
        if self.settings.target_outputs == "dense":
            dense = layer.rows(self.dense.all(name), limit, seed)
        new = blocks.clone()
        for g in range(layer.groups):
            if not keep[g].any():
                continue  # the whole group goes, outputs too
            target = rows[g] if dense is rows else dense[g]
            new[g] = refit(blocks[g], rows[g], target, keep[g], self.settings.damping)
        return new

    def batch_norm(self, step: Step) -> None:
        """Settles the statistics that a batch norm uses in both streams, and those it keeps.

        Where the calibration inputs' own statistics are used, the dense stream's stand for the
        stored ones: both streams use them, as both models use the stored ones later.
        """
        own, kind = self.settings.batch_statistics, self.settings.batch_norms
        stored = [self.dense.get(name)[0] for name in step.inputs[3:5]]
        mean, var = moments(self.dense.get(step.inputs[0]))
        if own:
            self.dense.set_statistics(step, mean, var)
        shared = self.reason_to_keep(step) if kind != "keep" else ""
        if shared:
            self.notes.append(f'{step.op} "{step.name}" keeps its statistics: {shared}')
        if kind == "keep" or shared:
            if own:
                self.repaired.set_statistics(step, mean, var)
            return
        seen = moments(self.repaired.get(step.inputs[0]))
        new = seen
        if kind == "relative":
            floor = 1e-6 * float(var.mean()) + torch.finfo(var.dtype).tiny
            ratio = (seen[1] / var.clamp_min(floor)).clamp(*VARIANCE_RATIO)
            new = (stored[0] + seen[0] - mean, stored[1] * ratio)
        self.repaired.set_statistics(step, *(seen if own else new))
        for read, value in zip(step.inputs[3:5], new, strict=True):
            name = self.model.root(read)
            self.values[name] = value.cpu().numpy().astype(self.model.dtype(name))
        self.batch_norms += 1

    def reason_to_keep(self, step: Step) -> str:
        for name in map(self.model.root, step.inputs[3:5]):
            if name not in self.model.parameters:
                return f'"{name}" is no tensor of the file'
            if self.reads[name] > 1:
                return f'"{name}" is read more than once'
        return ""
