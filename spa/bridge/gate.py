"""The gate that an export of a torch module passes: ONNX Runtime gives the module's own outputs.

1. The checker, with full shape inference.
2. Outputs at every batch size that is given. Where the module draws random numbers, both draw the
   middle of what they draw from (`spa.bridge.still`); where the last bits of scores decide what is
   picked, both go on with torch's choice (`spa.bridge.jumps`). Half precision rounds by 5e-4 at
   every step, so such outputs may differ by more.
3. Every parameter and running statistic that the output depends on is an initializer under its
   state_dict name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from spa.bridge.calls import numbered
from spa.bridge.jumps import Choices, check_choice, opened
from spa.bridge.still import Still, in_full_precision, stilled
from spa.errors import BridgeError

Inputs = tuple[Tensor, ...]
# Largest difference from the module's own output, relative to the output's largest magnitude.
TOLERANCE = 1e-4
HALF_TOLERANCE = 1e-2


def check_export(module: nn.Module, proto: onnx.ModelProto, batches: Sequence[Inputs]) -> list[str]:
    """Checks the model against the module; returns the state_dict names that it lost.

    Raises:
        BridgeError: an output differs.
    """
    onnx.checker.check_model(proto, full_check=True)
    run = stilled(proto)
    session = quiet_session(run)
    for inputs in batches:
        with Choices() as choices:
            ours = outputs_of(module, inputs)
        feed = feed_of(session, inputs)
        try:
            _compare_all(
                ours, session.run(None, feed), inputs[0].shape[0] if inputs[0].dim() else 1
            )
        except BridgeError:
            if not _agree_by_choice(run, feed, ours, choices):
                raise
    return lost_names(module, proto, batches[0])


def feed_of(session: Any, inputs: Inputs) -> dict[str, Any]:
    """The inputs by name; one that no output depends on may be gone."""
    names = {value.name for value in session.get_inputs()}
    return {
        name: x.detach().cpu().numpy()
        for name, x in zip(numbered("input", len(inputs)), inputs, strict=True)
        if name in names
    }


def outputs_of(module: nn.Module, inputs: Inputs) -> list[Tensor]:
    """Runs the module and lists its output tensors, whatever containers they are in.

    What it draws is held still (`spa.bridge.still`).
    """
    with Still(), in_full_precision():
        return [t for t in pytree.tree_leaves(module(*inputs)) if isinstance(t, Tensor)]


def quiet_session(proto: onnx.ModelProto) -> Any:
    """Returns an ONNX Runtime session that runs the graph as it is, without a word."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _agree_by_choice(
    proto: onnx.ModelProto, feed: dict[str, Any], ours: list[Tensor], choices: Choices
) -> bool:
    """Whether outputs agree once the export goes on with what torch chose.

    Raises:
        BridgeError: they do not, or the choice is none that the export's own scores allow.
    """
    parts = opened(proto)
    if parts is None or len(parts.nodes) != len(choices.made):
        return False
    scores: list[Any] = []
    session = quiet_session(_giving_scores(proto, parts.nodes))
    scores = session.run([node.input[0] for node in parts.nodes], feed)
    given = parts.feeds(choices.made, scores)
    session = quiet_session(parts.proto)
    wanted = {value.name for value in session.get_inputs()}
    both = {**feed, **given}
    names = [value.name for value in parts.proto.graph.output]
    found = session.run(None, {name: both[name] for name in wanted})
    by_name = dict(zip(names, found, strict=True))
    for node, indices in zip(parts.nodes, choices.made, strict=True):
        check_choice(node, by_name[node.input[0]], indices, TOLERANCE)
    _compare_all(ours, found[: parts.outputs], 0)
    return True


def _giving_scores(proto: onnx.ModelProto, nodes: Sequence[onnx.NodeProto]) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    there = {value.name for value in copy.graph.output}
    for name in dict.fromkeys(node.input[0] for node in nodes):
        if name not in there:
            copy.graph.output.append(onnx.ValueInfoProto(name=name))
    return copy


def _compare_all(ours: Sequence[Tensor], theirs: Sequence[Any], batch: int) -> None:
    if len(ours) != len(theirs):
        raise BridgeError(f"there are {len(theirs)} outputs, but PyTorch gives {len(ours)}")
    for tensor, found in zip(ours, theirs, strict=True):
        _compare(tensor, found, batch)


def _compare(ours: Tensor, found: Any, batch: int) -> None:
    expected = ours.detach().cpu().numpy()
    if expected.shape != found.shape:
        raise BridgeError(
            f"at batch size {batch} an output has shape {found.shape} in ONNX Runtime, "
            f"but {expected.shape} in PyTorch"
        )
    if expected.size == 0:
        return
    allowed = HALF_TOLERANCE if expected.dtype == np.float16 else TOLERANCE
    odd = ~np.isfinite(expected)
    if odd.all():
        raise BridgeError(
            "an output is NaN or infinite everywhere on the example inputs, so nothing can be "
            "compared; give inputs such as the module is made for"
        )
    if odd.any() and np.array_equal(expected[odd], found[odd], equal_nan=True):
        # A minus infinity of a mask is one in both.
        expected, found = np.where(odd, 0, expected), np.where(odd, 0, found)
    scale = max(float(np.abs(expected).max()), 1e-12)
    error = float(np.abs(expected.astype(np.float64) - found).max()) / scale
    if not error <= allowed:  # NaN fails, too
        raise BridgeError(
            f"at batch size {batch} ONNX Runtime differs from PyTorch by {error:.1e} of the "
            f"output's scale; at most {allowed:.0e} is allowed"
        )


def lost_names(module: nn.Module, proto: onnx.ModelProto, inputs: Inputs) -> list[str]:
    """Returns names of used parameters and running statistics that are no initializers.

    Tied ones count by any of their names. What the forward pass does not use cannot be there.
    """
    present = {tensor.name for tensor in proto.graph.initializer}
    aliases: dict[int, list[str]] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        aliases.setdefault(id(tensor), []).append(name)
    lost = {names[0] for names in aliases.values() if not present & set(names)}
    return sorted(lost & used_names(module, inputs)) if lost else []


def used_names(module: nn.Module, inputs: Inputs) -> set[str]:
    """Returns names of the parameters, and of the norms' statistics, that the outputs depend on.

    Args:
        module: any module, in the mode that is asked about.
        inputs: its inputs.
    """
    normed: list[tuple[str, Tensor]] = []

    def keep(path: str, output: Any) -> Any:
        """Records what a norm gives; where nothing before it has a gradient, it begins here."""
        if not isinstance(output, Tensor):
            return None
        start = output if output.requires_grad else output.detach().requires_grad_()
        normed.append((path, start))
        return start.clone()

    hooks = [
        part.register_forward_hook(lambda _m, _i, output, path=path: keep(path, output))
        for path, part in module.named_modules()
        if getattr(part, "running_mean", None) is not None
    ]
    floating = {n: p for n, p in module.named_parameters() if p.is_floating_point()}
    flags = {n: p.requires_grad for n, p in floating.items()}
    used: set[str] = set()
    try:
        with torch.enable_grad():
            for p in floating.values():
                p.requires_grad_()
            total = sum(t.float().sum() for t in outputs_of(module, inputs) if _has_slope(t))
            if isinstance(total, Tensor) and total.requires_grad:
                leaves = [*floating.values(), *(tensor for _, tensor in normed)]
                slopes = torch.autograd.grad(total, leaves, allow_unused=True)
                found = [slope is not None for slope in slopes]
                used.update(n for n, is_used in zip(floating, found, strict=False) if is_used)
                for (path, _), is_used in zip(normed, found[len(floating) :], strict=True):
                    if is_used:
                        used.update(f"{path}.running_{s}" for s in ("mean", "var"))
    finally:
        for hook in hooks:
            hook.remove()
        for name, p in floating.items():
            p.requires_grad_(flags[name])
    return used


def _has_slope(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()
