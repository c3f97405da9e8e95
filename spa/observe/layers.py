"""Linear layers as least squares sees them: rows of inputs times a matrix.

Every layer is g independent products of a matrix (O, D) with input rows (m, D), one row per
position (a sample and a place in its output):

1. Conv, W (O, I/g, k...): D = I/g x k..., a row is the patch under the kernel. Groups share the
   weight's contracted axis.
2. ConvTranspose, W (I, O/g, k...): the same on the input with stride - 1 zeros between its entries
   and the kernel mirrored.
3. Gemm and MatMul with a weight of two axes, on either side: D is the contracted axis.

A depthwise convolution mixes no channels, so it is none of these. A weight may stand behind
Identity, or behind a Transpose of its two axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from spa.bridge.ops.convolution import split_total, torch_pads, window_pads
from spa.coupling.couple import Coupling
from spa.coupling.groups import Groups
from spa.coupling.labels import Labels, support
from spa.errors import InputError
from spa.graph.model import Model
from spa.graph.nodes import Node, Use


@dataclass(frozen=True)
class LinearLayer:
    """A node that multiplies an activation with a weight.

    Attributes:
        node: the node.
        data: position of the activation among its inputs.
        weight: position of the weight.
        axis: contracted axis of the weight, as the node reads it.
        groups: g.
        kernel: spatial sizes of the weight; empty for Gemm and MatMul.
        parameter: the weight's name in the file; None where it is computed from other tensors.
        transposed: whether the node reads the parameter through a Transpose.
    """

    node: Node
    data: int
    weight: int
    axis: int
    groups: int
    kernel: tuple[int, ...]
    parameter: str | None
    transposed: bool

    @property
    def use(self) -> Use:
        """The read of the weight."""
        return Use(self.node.index, self.weight)

    @property
    def weight_name(self) -> str:
        """The weight's tensor, as the node reads it."""
        return self.node.inputs[self.weight]

    def blocks(self, weight: Tensor) -> Tensor:
        """The weight as matrices, shape (g, O, D)."""
        matrix = weight.movedim(self.axis, 1)
        if self.node.op == "ConvTranspose":  # (O/g, I, k...)
            return matrix.reshape(matrix.shape[0], self.groups, -1).transpose(0, 1)
        return matrix.reshape(self.groups, -1, prod(matrix.shape[1:]))

    def weight_of(self, blocks: Tensor, shape: Sequence[int]) -> Tensor:
        """The way back from `blocks`, to a weight of the given shape."""
        moved = torch.empty(tuple(shape), device="meta").movedim(self.axis, 1).shape
        if self.node.op == "ConvTranspose":
            blocks = blocks.transpose(0, 1)
        return blocks.reshape(moved).movedim(1, self.axis).contiguous()

    def columns(self, along_axis: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Values along the contracted axis, for every column; shape (g, D)."""
        columns = np.repeat(along_axis, prod(self.kernel))
        if self.node.op == "ConvTranspose":
            return columns.reshape(self.groups, -1)
        return np.broadcast_to(columns, (self.groups, columns.size))

    def rows(self, x: Tensor, limit: int, seed: int) -> Tensor:
        """Input rows at a seeded choice of positions, the same for every tensor of one shape.

        Args:
            x: the activation that the node reads.
            limit: positions at most.
            seed: of the choice.

        Returns:
            shape (g, m, D), in single precision at least.

        Raises:
            InputError: a value is infinite or no number.
        """
        rows = self._rows(x, limit, seed)
        rows = rows.float() if rows.element_size() < 4 else rows
        if not torch.isfinite(rows.sum(dim=-1)).all():
            raise InputError(
                f"{self.node} reads values that are not finite on the calibration inputs, so "
                "nothing can be fitted to them; give other inputs, such as samples of the task."
            )
        return rows

    def _rows(self, x: Tensor, limit: int, seed: int) -> Tensor:
        if not self.kernel:
            flat = self._flat(x)
            return flat[_choice(flat.shape[0], limit, seed, x.device)].unsqueeze(0)
        windows = self._windows(x)  # (N, I, out..., k...)
        rank = len(self.kernel)
        windows = windows.movedim(1, 1 + rank)  # (N, out..., I, k...)
        sizes = windows.shape[: 1 + rank]
        chosen = _choice(prod(sizes), limit, seed, x.device)
        patches = windows[torch.unravel_index(chosen, sizes)]  # (m, I, k...)
        return patches.reshape(chosen.numel(), self.groups, -1).transpose(0, 1)

    def _flat(self, x: Tensor) -> Tensor:
        """Branch 3: (positions, D)."""
        attrs = self.node.attrs
        if self.node.op == "Gemm":
            across = attrs.get("transA", 0) if self.data == 0 else not attrs.get("transB", 0)
            scale: float = attrs.get("alpha", 1.0)
            return (x.mT if across else x) * scale
        if self.data == 1 and x.dim() > 1:
            x = x.mT
        return x.reshape(-1, x.shape[-1])

    def _windows(self, x: Tensor) -> Tensor:
        """Branches 1 and 2, as a view."""
        attrs, rank = self.node.attrs, len(self.kernel)
        strides = attrs.get("strides", [1] * rank)
        dilations = attrs.get("dilations", [1] * rank)
        if self.node.op == "Conv":
            x = functional.pad(x, torch_pads(window_pads(attrs, x.shape[2:], self.kernel)))
            return _unfold(x, self.kernel, strides, dilations)
        sparse = x.new_zeros(
            *x.shape[:2], *((n - 1) * s + 1 for n, s in zip(x.shape[2:], strides, strict=True))
        )
        sparse[(slice(None), slice(None), *(slice(None, None, s) for s in strides))] = x
        reach = [(k - 1) * d for k, d in zip(self.kernel, dilations, strict=True)]
        sparse = functional.pad(sparse, torch_pads([(r, r) for r in reach]))
        windows = _unfold(sparse, self.kernel, [1] * rank, dilations)
        for axis, (start, end) in enumerate(_cuts(self.node, x.shape[2:], self.kernel)):
            size = windows.shape[2 + axis]
            windows = windows.narrow(2 + axis, start, max(1, size - start - end))
        return windows.flip(list(range(-rank, 0)))


def find_layers(coupling: Coupling) -> dict[str, LinearLayer]:
    """All linear layers of a model, by the name of their output."""
    found = {}
    for node in coupling.model.graph.nodes:
        layer = _layer(coupling.model, node)
        if layer is not None:
            found[node.outputs[0]] = layer
    return found


def label_vectors(coupling: Coupling, layer: LinearLayer) -> list[Labels]:
    """Labels along the contracted axis of a layer's weight; one vector per source axis."""
    return [
        labels.reshape(-1)
        for labels in coupling.layers_read(layer.use)
        if support(labels) == (layer.axis,)
    ]


def _layer(model: Model, node: Node) -> LinearLayer | None:
    if node.op in ("Conv", "ConvTranspose"):
        shape = model.shapes.get(node.inputs[1], ())
        groups = int(node.attr("group", 1))
        contracted = shape[1] if node.op == "Conv" else shape[0] // groups
        if not _reads_weight(model, node, 1) or (groups > 1 and contracted == 1):
            return None
        found = LinearLayer(node, 0, 1, int(node.op == "Conv"), groups, shape[2:], None, False)
    elif node.op in ("Gemm", "MatMul"):
        weight = next((i for i in (1, 0) if _reads_weight(model, node, i)), None)
        if weight is None or len(model.shapes[node.inputs[weight]]) != 2:
            return None
        flipped = bool(node.attr("transB" if weight else "transA", 0))
        axis = int(flipped) if weight else 1 - int(flipped)
        found = LinearLayer(node, 1 - weight, weight, axis, 1, (), None, False)
    else:
        return None
    parameter, transposed = _origin(model, found.weight_name)
    return replace(found, parameter=parameter, transposed=transposed)


def _reads_weight(model: Model, node: Node, i: int) -> bool:
    return node.inputs[i] in model.constants and node.inputs[1 - i] not in model.constants


def _origin(model: Model, name: str) -> tuple[str | None, bool]:
    """The parameter behind Identity and Transpose of two axes, and whether it is transposed."""
    transposed = False
    while model.root(name) not in model.parameters:
        producer = model.graph.producers[name]
        if producer.op == "Transpose" and len(model.shapes[name]) == 2:
            transposed ^= list(producer.attr("perm", [1, 0])) == [1, 0]
        elif producer.op != "Identity":
            return None, False
        name = producer.inputs[0]
    return model.root(name), transposed


def _choice(total: int, limit: int, seed: int, device: torch.device) -> Tensor:
    if total <= limit:
        return torch.arange(total, device=device)
    chosen = np.random.default_rng(seed).choice(total, limit, replace=False)
    return torch.from_numpy(np.sort(chosen)).to(device)


def _unfold(
    x: Tensor, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> Tensor:
    for i, (k, s, d) in enumerate(zip(kernel, strides, dilations, strict=True)):
        x = x.unfold(2 + i, (k - 1) * d + 1, s)[..., ::d]
    return x


def _cuts(
    node: Node, sizes: Sequence[int], kernel: tuple[int, ...]
) -> list[tuple[int, int]]:  # fmt: skip
    """What a transposed convolution cuts off its full result, at the start and end of each axis."""
    attrs, rank = node.attrs, len(kernel)
    strides = attrs.get("strides", [1] * rank)
    dilations = attrs.get("dilations", [1] * rank)
    extra = attrs.get("output_padding", [0] * rank)
    mode = attrs.get("auto_pad", "NOTSET")
    wanted = attrs.get("output_shape")
    if wanted is None and not mode.startswith("SAME"):
        pads = window_pads({**attrs, "auto_pad": "NOTSET"}, sizes, kernel)
        # What output_padding adds at the end holds the bias alone: no row for it.
        return [(start, max(0, end - more)) for (start, end), more in zip(pads, extra, strict=True)]
    if wanted is None:
        wanted = [size * stride for size, stride in zip(sizes, strides, strict=True)]
    cuts = []
    for size, want, s, k, d, more in zip(
        sizes, wanted[-rank:], strides, kernel, dilations, extra, strict=True
    ):
        total = max((size - 1) * s + (k - 1) * d + 1 + more - want, 0)
        start, end = split_total(total, mode == "SAME_UPPER")
        cuts.append((start, max(0, end - more)))
    return cuts


def readable(groups: Groups, layers: Mapping[str, LinearLayer]) -> frozenset[int]:
    """Ids of the groups of which every channel is read by a layer, and can be refitted there."""
    coupling = groups.coupling
    of = coupling.components.of
    read = np.zeros(coupling.components.kept.size, dtype=bool)
    for layer in layers.values():
        for labels in label_vectors(coupling, layer):
            read[of[labels]] = True
    return frozenset(group.id for group in groups.groups if read[group.components].all())
