"""A torch module made smaller: the user's own class, with smaller layers.

The plan names parameters as the state_dict does, so slicing them is plain. What is left are numbers
that say sizes:

1. attributes of torch's own layers (``in_channels``, ``num_features``, ...), which follow from the
   new shapes of their parameters;
2. attributes of the user's own classes (``num_heads``, ``hidden_dim``) that ``forward`` reads. The
   graph knows which sizes changed inside which module. An attribute that held the old one of such a
   size gets the new one where ``forward`` breaks without it, or where the outputs differ;
3. numbers that are written in ``forward`` itself: nothing can be done about these.

Whatever comes out is held to the pruned ONNX model.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from spa.bridge.layers import resize_layer
from spa.bridge.reading import to_torch
from spa.coupling.couple import Cut
from spa.coupling.groups import Groups
from spa.errors import BridgeError
from spa.graph.execute import run
from spa.graph.forks import opened_like
from spa.graph.model import Model
from spa.pruning.plan import Plan, cut_of
from spa.pruning.prune import Pruned

TOLERANCE = 1e-4
# Old size to new size.
Change = tuple[int, int]


def with_module(
    result: Pruned, module: nn.Module, inputs: Any, model: Model, groups: Groups
) -> Pruned:
    """Adds the smaller module to a pruned model: of the same class, or else a traced one.

    Args:
        result: the pruned model.
        module: the dense module.
        inputs: its example input, or a tuple of them.
        model: its dense ONNX model, as `spa.bridge.from_torch` wrote it.
        groups: the groups of that.
    """
    example = inputs if isinstance(inputs, tuple) else (inputs,)
    cut = cut_of(result.plan, groups.coupling)
    pruned = opened_like(result.model, model.forks)
    try:
        net, about = shrink(module, example, model, pruned, result.plan, cut)
    except BridgeError as error:
        note = f"{error} The module is a traced one instead."
        plan = replace(result.plan, notes=(*result.plan.notes, note))
        return replace(result, module=to_torch(pruned), plan=plan)
    net.train(module.training)
    return replace(result, module=net, plan=replace(result.plan, module=about))


def shrink(
    module: nn.Module,
    inputs: Sequence[torch.Tensor],
    model: Model,
    pruned: onnx.ModelProto,
    plan: Plan,
    cut: Cut,
) -> tuple[nn.Module, dict[str, Any]]:
    """Makes a copy of a module as small as its pruned ONNX model.

    Args:
        module: the dense module.
        inputs: its example inputs.
        model: its dense ONNX model.
        pruned: the pruned one.
        plan: what went.
        cut: the same, by label.

    Returns:
        The smaller module in eval mode, and what `rebuild` needs beside the plan's parameters:
        ``groups`` of layers and changed ``attributes``, by dotted path.

    Raises:
        BridgeError: the class cannot be made smaller; the message says where and why.
    """
    net = copy.deepcopy(module).eval()
    groups = _group_counts(net, plan, pruned)
    _resize(net, plan, groups)
    wanted = _outputs(pruned, inputs)
    changes = _changes(model, cut)
    known: dict[str, Any] = {}
    while True:
        broken, error = _breaks(net, inputs)
        if broken is None:
            break
        if not _renumber(net, [broken], changes, known):
            raise BridgeError(
                f"{type(module).__name__} cannot be made smaller as a module: a size is written in "
                f"the forward of {_called(net, broken)} ({error})."
            )
    if not _agrees(net, inputs, wanted):
        _renumber(net, [path for path, _ in net.named_modules()], changes, known)
        if _breaks(net, inputs)[0] is not None or not _agrees(net, inputs, wanted):
            raise BridgeError(
                f"{type(module).__name__} cannot be made smaller as a module: with smaller layers "
                "its forward computes something else than the pruned model, so a size is written "
                "in it."
            )
    return net, {"attributes": known, "groups": groups}


def rebuild(module: nn.Module, plan: Plan | Mapping[str, Any]) -> nn.Module:
    """Makes a fresh dense module as small as a plan says, in place.

    The result takes the state_dict of the pruned module.

    Args:
        module: as its constructor makes it.
        plan: the plan, or what its file holds, of `spa.prune` called with such a module.

    Returns:
        The same module.

    Raises:
        BridgeError: the plan is of no module, or of another one.
    """
    plan = plan if isinstance(plan, Plan) else Plan.from_json(plan)
    if plan.module is None:
        raise BridgeError("The plan is of no torch module whose class could be made smaller.")
    _resize(module, plan, plan.module["groups"])
    _set(module, plan.module["attributes"])
    return module


def _resize(net: nn.Module, plan: Plan, groups: Mapping[str, int]) -> None:
    """Makes parameters smaller, and tells torch's own layers."""
    _slice(net, plan)
    for path, part in net.named_modules():
        resize_layer(part, groups.get(path))


def _slice(net: nn.Module, plan: Plan) -> None:
    """Takes what went out of parameters and buffers; tied ones stay tied."""
    removed: dict[str, list[tuple[int, Sequence[int]]]] = {}
    for entry in plan.parameters:
        removed.setdefault(entry.name, []).append((entry.axis, entry.removed))
    tensors: dict[str, torch.Tensor] = {
        **dict(net.named_parameters(remove_duplicate=False)),
        **dict(net.named_buffers(remove_duplicate=False)),
    }
    done: dict[int, torch.Tensor] = {}
    for name, axes in removed.items():
        if name not in tensors:
            continue  # a constant of the graph; the outputs will tell
        old = tensors[name]
        new = old.detach()
        for axis, indices in axes:
            if max(indices, default=0) >= old.shape[axis]:
                raise BridgeError(
                    f'"{name}" has {old.shape[axis]} entries along axis {axis}, but the plan '
                    f"removes entry {max(indices)}; it is of another module."
                )
            kept = np.setdiff1d(np.arange(old.shape[axis]), indices)
            new = new.index_select(axis, torch.from_numpy(kept))
        if isinstance(old, nn.Parameter):
            new = nn.Parameter(new.clone(), requires_grad=old.requires_grad)
        done[id(old)] = new
    for name, old in tensors.items():
        if id(old) in done:
            path, _, last = name.rpartition(".")
            setattr(net.get_submodule(path), last, done[id(old)])


def _group_counts(net: nn.Module, plan: Plan, pruned: onnx.ModelProto) -> dict[str, int]:
    """How many groups are left in every layer that has some."""
    counts = {}
    for path, part in net.named_modules():
        weight = f"{path}.weight" if path else "weight"
        if isinstance(part, nn.GroupNorm):
            counts[path] = _norm_groups(part, weight, plan)
        elif getattr(part, "groups", 1) != 1:
            found = [n for n in pruned.graph.node if "Conv" in n.op_type and weight in n.input]
            for attribute in found[0].attribute if found else ():
                if attribute.name == "group":
                    counts[path] = int(attribute.i)
    return counts


def _norm_groups(norm: nn.GroupNorm, weight: str, plan: Plan) -> int:
    """Whole groups may have gone, or the same number of channels from each."""
    gone = np.zeros(norm.num_channels, dtype=bool)
    for entry in plan.parameters:
        if entry.name == weight:
            gone[list(entry.removed)] = True
    return int((~gone.reshape(norm.num_groups, -1).all(axis=1)).sum())


def _changes(model: Model, cut: Cut) -> list[tuple[str, Change]]:
    """By module path, sizes of tensors made in it that change."""
    found = []
    for node in model.graph.nodes:
        path = _path(node.name)
        for name in (*node.outputs, *node.inputs):
            masks = cut.of_tensor(name) if name in model.shapes else ()
            found += [(path, (len(m), int(m.sum()))) for m in masks if m is not None]
    return list(dict.fromkeys(found))


def _path(name: str) -> str:
    """The module that a node was traced in: ``/layer1/layer1.0/conv/Conv`` gives layer1.0.conv."""
    parts: list[str] = []
    for part in name.strip("/").split("/")[:-1]:
        if parts and part.startswith(f"{parts[-1]}."):
            parts.pop()
        parts.append(part)
    return ".".join(parts)


def _numbers(
    net: nn.Module, path: str, changes: Sequence[tuple[str, Change]], known: Mapping[str, Any]
) -> dict[str, Any]:
    """New numbers for a module's attributes that hold the old size of something inside it."""
    inside = [change for where, change in changes if where == path or where.startswith(f"{path}.")]
    sizes: dict[int, set[int]] = {}
    for old, new in inside or [change for _, change in changes]:
        sizes.setdefault(old, set()).add(new)
    table = {old: next(iter(news)) for old, news in sizes.items() if len(news) == 1}
    part = net.get_submodule(path)
    if type(part).__module__.startswith("torch.nn."):
        return {}
    found: dict[str, Any] = {}
    for name, value in vars(part).items():
        key = f"{path}.{name}" if path else name
        if name.startswith("_") or key in known or isinstance(value, bool):
            continue
        if isinstance(value, int) and value in table:
            found[key] = table[value]
        elif isinstance(value, (tuple, list)) and any(v in table for v in value if _is_whole(v)):
            found[key] = type(value)(table.get(v, v) if _is_whole(v) else v for v in value)
    return found


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _renumber(
    net: nn.Module,
    paths: Sequence[str],
    changes: Sequence[tuple[str, Change]],
    known: dict[str, Any],
) -> bool:
    """Gives attributes of some modules their new numbers, and notes them; whether there are any."""
    new = {key: v for path in paths for key, v in _numbers(net, path, changes, known).items()}
    _set(net, new)
    known.update(new)
    return bool(new)


def _set(net: nn.Module, numbers: Mapping[str, Any]) -> None:
    for key, value in numbers.items():
        path, _, name = key.rpartition(".")
        setattr(net.get_submodule(path), name, value)


def _breaks(net: nn.Module, inputs: Sequence[torch.Tensor]) -> tuple[str | None, str]:
    """The path of the innermost of the user's modules whose forward fails; and the error."""
    try:
        with torch.no_grad():
            net(*inputs)
    except Exception as error:  # a forward fails in any way it likes
        frames = list(_frames(error))
        paths = {id(part): path for path, part in net.named_modules()}
        where = [paths[id(frame)] for frame in frames if id(frame) in paths]
        users = [p for p in where
                 if not type(net.get_submodule(p)).__module__.startswith("torch.nn.")]  # fmt: skip
        return (users or where or [""])[-1], f"{type(error).__name__}: {error}"[:200]
    return None, ""


def _frames(error: BaseException) -> Iterator[Any]:
    """``self`` of every call that an error went through, outermost first."""
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame.f_locals.get("self")
        trace = trace.tb_next


def _called(net: nn.Module, path: str) -> str:
    kind = type(net.get_submodule(path)).__name__
    return f"{kind} ({path})" if path else kind


def _outputs(pruned: onnx.ModelProto, inputs: Sequence[torch.Tensor]) -> list[Any]:
    names = [value.name for value in pruned.graph.input]
    return run(pruned, {n: x.numpy() for n, x in zip(names, inputs, strict=True)})


def _agrees(net: nn.Module, inputs: Sequence[torch.Tensor], wanted: Sequence[Any]) -> bool:
    with torch.no_grad():
        found = [t for t in torch.utils._pytree.tree_leaves(net(*inputs))
                 if isinstance(t, torch.Tensor)]  # fmt: skip
    if len(found) != len(wanted):
        return False
    for have, want in zip(found, wanted, strict=True):
        if tuple(have.shape) != want.shape:
            return False
        scale = float(np.abs(want).max()) or 1.0
        if not float(np.abs(have.numpy() - want).max()) <= TOLERANCE * scale:
            return False
    return True
