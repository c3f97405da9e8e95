"""Parameters and buffers of a torch module, cut as a plan says; and how many groups are left."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
import torch
from torch import nn

from spa.errors import BridgeError
from spa.modules.drawing import state
from spa.pruning.plan import Removal


def cut_tensors(net: nn.Module, removals: Iterable[Removal]) -> None:
    """Takes what went out of parameters and buffers, in place.

    One that has several names, or that several layers read, is cut once and stays one.

    Raises:
        BridgeError: the removals are of another module, or cut a parameter in several ways.
    """
    tensors = state(net)
    cuts: dict[int, dict[int, Removal]] = {}
    for removal in removals:
        if removal.name not in tensors:
            continue  # a constant of the graph; the outputs will tell
        axes = cuts.setdefault(id(tensors[removal.name]), {})
        known = axes.setdefault(removal.axis, removal)
        if known.removed != removal.removed:
            raise BridgeError(
                f'"{removal.name}" is one parameter that is used several times, and its uses lose '
                f"different entries along axis {removal.axis}: {_few(known.removed)} and "
                f"{_few(removal.removed)}. Give each use a parameter of its own, or exclude it."
            )
    done = {
        id(tensor): _cut(tensor, cuts[id(tensor)].values())
        for tensor in tensors.values()
        if id(tensor) in cuts
    }
    for name, old in tensors.items():
        if id(old) in done:
            path, _, leaf = name.rpartition(".")
            setattr(net.get_submodule(path), leaf, done[id(old)])


def _cut(old: torch.Tensor, removals: Iterable[Removal]) -> torch.Tensor:
    new = old.detach()
    for removal in removals:
        axis, last = removal.axis, max(removal.removed, default=0)
        if axis >= old.dim() or last >= old.shape[axis]:
            raise BridgeError(
                f'"{removal.name}" has {old.shape[axis] if axis < old.dim() else 0} entries along '
                f"axis {axis}, but the plan removes entry {last}; it is of another module."
            )
        kept = np.setdiff1d(np.arange(old.shape[axis]), removal.removed)
        new = new.index_select(axis, torch.from_numpy(kept).to(old.device))
    if isinstance(old, nn.Parameter):
        return nn.Parameter(new.clone(), requires_grad=old.requires_grad)
    return new


def _few(indices: tuple[int, ...]) -> str:
    return ", ".join(map(str, indices[:4])) + (", ..." if len(indices) > 4 else "")


def group_counts(
    net: nn.Module, removals: Iterable[Removal], pruned: Iterable[onnx.ModelProto]
) -> dict[str, int]:
    """How many groups are left in every layer that has some.

    Args:
        net: the module, which is not cut yet.
        removals: what goes.
        pruned: exports of it that were cut.
    """
    convolutions = [n for proto in pruned for n in proto.graph.node if "Conv" in n.op_type]
    by_name: dict[str, list[Removal]] = {}
    for removal in removals:
        by_name.setdefault(removal.name, []).append(removal)
    counts = {}
    for path, part in net.named_modules():
        weight = f"{path}.weight" if path else "weight"
        if isinstance(part, nn.GroupNorm):
            counts[path] = _norm_groups(part, by_name.get(weight, ()))
        elif getattr(part, "groups", 1) != 1:
            found = [n for n in convolutions if weight in n.input]
            for attribute in found[0].attribute if found else ():
                if attribute.name == "group":
                    counts[path] = int(attribute.i)
    return counts


def _norm_groups(norm: nn.GroupNorm, removals: Iterable[Removal]) -> int:
    """Whole groups may have gone, or the same number of channels from each."""
    gone = np.zeros(norm.num_channels, dtype=bool)
    for removal in removals:
        gone[list(removal.removed)] = True
    return int((~gone.reshape(norm.num_groups, -1).all(axis=1)).sum())
