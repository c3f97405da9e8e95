"""A torch module to ONNX, with batch norm alive and every parameter under its own name.

torch has two exporters and neither is always right, so each result passes a gate, and the other
exporter has its turn where the first one fails it:

1. TorchScript (``dynamo=False``), told to preserve training structure: fast. It shares equal
   tensors through Identity nodes, which are undone.
2. torch.export (``dynamo=True, optimize=False``): slower, and it leaves shape arithmetic around
   every convolution, which is folded. Its own optimiser is not used: it would fold batch norm
   into the convolutions and rename what it touches.

The gate: the checker with full shape inference; every parameter and running statistic that the
output depends on is an initializer under its state_dict name; ONNX Runtime gives the module's
own outputs, at two batch sizes where the batch is dynamic.
"""

from __future__ import annotations

import ast
import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from spa.bridge.tidying import tidy
from spa.errors import BridgeError

# Largest difference from the module's own output, relative to the output's largest magnitude.
TOLERANCE = 1e-4

_EXPORTERS = ("torchscript", "dynamo")


def from_torch(
    module: nn.Module,
    example: Tensor | tuple[Tensor, ...],
    dynamic_batch: bool = True,
    *,
    exporters: tuple[str, ...] = _EXPORTERS,
) -> onnx.ModelProto:
    """Export a module to ONNX.

    Args:
        module: any module that torch can trace; it is exported in eval mode and keeps its own.
        example: its input, or a tuple of them. Inputs are named ``input``, or ``input_0``,
            ``input_1``, ... where there are several; outputs likewise.
        dynamic_batch: leave the first axis of every input that has the first input's batch size
            free, under the name ``batch``.
        exporters: which of torch's exporters to try, in order.

    Returns:
        The model: parameters and batch norm statistics are initializers under their state_dict
        names, batch norms are BatchNormalization nodes.

    Raises:
        BridgeError: no exporter wrote a model that equals the module.
    """
    inputs = example if isinstance(example, tuple) else (example,)
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            return _first_that_passes(module, inputs, dynamic_batch, exporters)
    finally:
        for part, training in modes:
            part.training = training


def from_module(module: nn.Module, inputs: tuple[Tensor, ...]) -> onnx.ModelProto:
    """Export a module as `from_torch` does, in the mode that its parts are in.

    Raises:
        BridgeError: no exporter wrote a model that equals the module.
    """
    with torch.no_grad():
        return _first_that_passes(module, inputs, True, _EXPORTERS)


def _first_that_passes(
    module: nn.Module, inputs: tuple[Tensor, ...], dynamic: bool, exporters: tuple[str, ...]
) -> onnx.ModelProto:
    batch = inputs[0].shape[0] if inputs[0].dim() else 0
    free = [dynamic and x.dim() > 0 and x.shape[0] == batch for x in inputs]
    if dynamic and batch == 1:
        # A size of 1 is taken for a constant by both exporters, so it is made 2 first.
        inputs = _resized(inputs, free, 2)
    outputs = _outputs(module, inputs)
    names = numbered("input", len(inputs)), numbered("output", len(outputs))
    batches = [inputs, _resized(inputs, free, inputs[0].shape[0] + 1)] if any(free) else [inputs]
    reasons = []
    for exporter in exporters:
        try:
            with _silence():
                proto = _EXPORT[exporter](module, inputs, free, *names)
                proto = tidy(proto, module.state_dict(keep_vars=True))
            lost = _gate(module, proto, batches)
        except Exception as error:  # the exporters raise whatever torch's internals raise
            reasons.append(f"{exporter}: {type(error).__name__}: {str(error).strip()[:500]}")
            continue
        if not lost:
            return proto
        reasons.append(f"{exporter}: lost the names {', '.join(lost[:5])} ({len(lost)} in all)")
    raise BridgeError(
        f"{type(module).__name__} cannot be exported to an equal ONNX model. "
        + "; ".join(reasons)
        + ". Export it by other means and hand over the ONNX file."
    )


def numbered(stem: str, count: int) -> list[str]:
    """Names of a module's inputs or outputs in its export."""
    return [stem] if count == 1 else [f"{stem}_{i}" for i in range(count)]


def _resized(inputs: tuple[Tensor, ...], free: list[bool], batch: int) -> tuple[Tensor, ...]:
    """Repeat samples, last one first, up to another batch size."""
    rows = [(-1 - i) % inputs[0].shape[0] for i in range(batch)]
    return tuple(x[rows] if f else x for x, f in zip(inputs, free, strict=True))


def _outputs(module: nn.Module, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """Run the module and list its output tensors, whatever containers they are in."""
    return [t for t in pytree.tree_leaves(module(*inputs)) if isinstance(t, Tensor)]


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep the exporters' progress, advice and warnings off the user's screen."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            # When it fails, the TorchScript exporter prints the whole graph past sys.stdout.
            mock.patch.object(torch._C, "_jit_onnx_log"),
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _torchscript(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    free: list[bool],
    input_names: list[str],
    output_names: list[str],
) -> onnx.ModelProto:
    axes = {n: {0: "batch"} for n, f in zip(input_names, free, strict=True) if f}
    if axes:
        axes.update({name: {0: "batch"} for name in output_names})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"  # a path, so that more than 2 GB work too
        torch.onnx.export(
            module,
            inputs,
            str(path),
            dynamo=False,
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
            input_names=input_names,
            output_names=output_names,
            dynamic_axes=axes,
        )
        return onnx.load(path)


def _dynamo(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    free: list[bool],
    input_names: list[str],
    output_names: list[str],
) -> onnx.ModelProto:
    batch = torch.export.Dim("batch", min=1)
    shapes = tuple({0: batch} if f else None for f in free)
    program: Any = torch.onnx.export(
        module,
        inputs,
        dynamo=True,
        optimize=False,
        verbose=False,
        input_names=input_names,
        output_names=output_names,
        dynamic_shapes=shapes if any(free) else None,
    )
    proto: onnx.ModelProto = program.model_proto
    _name_by_module(proto.graph)
    return proto


def _name_by_module(graph: onnx.GraphProto) -> None:
    """Let a node's name begin with the path of its module, as the TorchScript exporter does."""
    for node in graph.node:
        for entry in node.metadata_props:
            if entry.key == "pkg.torch.onnx.name_scopes":
                *scopes, _ = ast.literal_eval(entry.value)
                node.name = "/".join(["", *scopes[-1:], node.name]).replace("//", "/")


_EXPORT: dict[str, Callable[..., onnx.ModelProto]] = {
    "torchscript": _torchscript,
    "dynamo": _dynamo,
}


def _gate(
    module: nn.Module, proto: onnx.ModelProto, batches: list[tuple[Tensor, ...]]
) -> list[str]:
    """Check the model against the module; return the state_dict names that it lost.

    Raises:
        BridgeError: an output differs.
    """
    onnx.checker.check_model(proto, full_check=True)
    session = quiet_session(proto)
    names = [value.name for value in session.get_inputs()]
    for inputs in batches:
        feed = {
            name: x.detach().cpu().numpy()
            for name, x in zip(numbered("input", len(inputs)), inputs, strict=True)
            if name in names  # an input that no output depends on may be gone
        }
        theirs = session.run(None, feed)
        for ours, found in zip(_outputs(module, inputs), theirs, strict=True):
            _compare(ours, found, inputs[0].shape[0])
    return _lost_names(module, proto, batches[0])


def quiet_session(proto: onnx.ModelProto) -> Any:
    """Return an ONNX Runtime session that runs the graph as it is, without a word."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _compare(ours: Tensor, found: Any, batch: int) -> None:
    expected = ours.detach().cpu().numpy()
    if expected.shape != found.shape:
        raise BridgeError(
            f"at batch size {batch} an output has shape {found.shape} in ONNX Runtime, "
            f"but {expected.shape} in PyTorch"
        )
    if expected.size == 0:
        return
    scale = max(float(np.abs(expected).max()), 1e-12)
    error = float(np.abs(expected.astype(np.float64) - found).max()) / scale
    if not error <= TOLERANCE:  # NaN fails, too
        raise BridgeError(
            f"at batch size {batch} ONNX Runtime differs from PyTorch by {error:.1e} of the "
            f"output's scale; at most {TOLERANCE:.0e} is allowed"
        )


def _lost_names(module: nn.Module, proto: onnx.ModelProto, inputs: tuple[Tensor, ...]) -> list[str]:
    """Return names of used parameters and running statistics that are no initializers.

    Tied ones count by any of their names. What the forward pass does not use cannot be there.
    """
    present = {tensor.name for tensor in proto.graph.initializer}
    aliases: dict[int, list[str]] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        aliases.setdefault(id(tensor), []).append(name)
    lost = {names[0] for names in aliases.values() if not present & set(names)}
    return sorted(lost & used_names(module, inputs)) if lost else []


def used_names(module: nn.Module, inputs: tuple[Tensor, ...]) -> set[str]:
    """Return names of the parameters with a gradient and of statistics of norms that run.

    Args:
        module: any module, in the mode that is asked about.
        inputs: its inputs.
    """
    used: set[str] = set()
    hooks = [
        part.register_forward_hook(
            lambda *_, path=path: used.update(f"{path}.running_{s}" for s in ("mean", "var"))
        )
        for path, part in module.named_modules()
        if getattr(part, "running_mean", None) is not None
    ]
    floating = {n: p for n, p in module.named_parameters() if p.is_floating_point()}
    try:
        with torch.enable_grad():
            leaves = {n: p.detach().requires_grad_() for n, p in floating.items()}
            results = pytree.tree_leaves(torch.func.functional_call(module, leaves, inputs))
            total = sum(t.float().sum() for t in results if isinstance(t, Tensor))
            if isinstance(total, Tensor) and total.requires_grad:
                slopes = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
                used.update(n for n, g in zip(leaves, slopes, strict=True) if g is not None)
    finally:
        for hook in hooks:
            hook.remove()
    return used
