"""A torch module to ONNX, with batch norm alive and every parameter under its own name.

torch has two exporters and neither is always right, so each result passes a gate, and the other
exporter has its turn where the first one fails it:

1. TorchScript (``dynamo=False``), told to preserve training structure: fast. It shares equal
   tensors through Identity nodes, which are undone.
2. torch.export (``dynamo=True, optimize=False``): slower, and it leaves shape arithmetic around
   every convolution, which is folded. Its own optimiser is not used: it would fold batch norm
   into the convolutions and rename what it touches.

The gate is that of `spa.bridge.gate`, at two batch sizes where the batch is dynamic.
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

import onnx
import torch
from torch import Tensor, nn

from spa.bridge.calls import bare, call_of, in_eval_mode, numbered, taking_tensors
from spa.bridge.gate import check_export, outputs_of
from spa.bridge.still import in_full_precision
from spa.bridge.tidying import tidy
from spa.errors import BridgeError, InputError
from spa.graph.notes import add_note

Inputs = tuple[Tensor, ...]
_EXPORTERS = ("torchscript", "dynamo")


def from_torch(
    module: nn.Module,
    example: Any,
    dynamic_batch: bool = True,
    *,
    exporters: tuple[str, ...] = _EXPORTERS,
) -> onnx.ModelProto:
    """Export a module to ONNX.

    Args:
        module: any module that torch can trace; it is exported in eval mode and keeps its own.
        example: what it is called with (`spa.bridge.calls.call_of`): a tensor, a tuple or list of
            arguments, a dict of keyword arguments, or shapes. Its tensors are named ``input``, or
            ``input_0``, ``input_1``, ... where there are several; outputs likewise.
        dynamic_batch: leave the first axis of every input that has the first input's batch size
            free, under the name ``batch``. Where the module runs at no other batch, or no exporter
            can leave it free, it is fixed, and the model says so (`spa.graph.notes`).
        exporters: which of torch's exporters to try, in order.

    Returns:
        The model: parameters and batch norm statistics are initializers under their state_dict
        names, batch norms are BatchNormalization nodes.

    Raises:
        BridgeError: no exporter wrote a model that equals the module.
        InputError: the example is none.
    """
    module = bare(module)
    call = call_of(module, example)
    with in_eval_mode(module), torch.no_grad(), taking_tensors(module, call):
        _check_runs(module, call.tensors)
        return _first_that_passes(module, call.tensors, dynamic_batch, exporters)


def from_module(module: nn.Module, inputs: tuple[Tensor, ...]) -> onnx.ModelProto:
    """Export a module as `from_torch` does, in the mode that its parts are in.

    Raises:
        BridgeError: no exporter wrote a model that equals the module.
    """
    with torch.no_grad():
        return _first_that_passes(module, inputs, True, _EXPORTERS)


def _first_that_passes(
    module: nn.Module, inputs: Inputs, dynamic: bool, exporters: tuple[str, ...]
) -> onnx.ModelProto:
    _refuse_brain_floats(module, inputs)
    batch = inputs[0].shape[0] if inputs[0].dim() else 0
    free = [dynamic and x.dim() > 0 and x.shape[0] == batch for x in inputs]
    reasons: list[str] = []
    if any(free):
        # A size of 1 is taken for a constant by both exporters, so it is made 2 first.
        first = _resized(inputs, free, 2, ordered=True) if batch == 1 else inputs
        other, why = _at_another_batch(module, first, free)
        if other is not None:
            proto = _tried(module, [first, other], free, exporters, reasons)
            if proto is not None:
                return proto
            why = "torch cannot export it with a free one"
    # Sizes of the example, all of them: what does not run otherwise is right at these at least.
    fixed_reasons: list[str] = []
    proto = _tried(module, [inputs], [False] * len(inputs), exporters, fixed_reasons)
    if proto is None:
        raise BridgeError(
            f"{type(module).__name__} cannot be exported to an equal ONNX model. "
            + "; ".join(reasons or fixed_reasons)
            + f". {_way_out(module)}"
        )
    if any(free):
        text = f"the batch is fixed at {batch}, as in the example: {type(module).__name__}: {why}"
        add_note(proto, text)
    return proto


def _tried(
    module: nn.Module,
    batches: list[Inputs],
    free: list[bool],
    exporters: tuple[str, ...],
    reasons: list[str],
) -> onnx.ModelProto | None:
    """What the first exporter wrote that passes the gate; reasons why others did not are added."""
    inputs = batches[0]
    names = numbered("input", len(inputs)), numbered("output", len(outputs_of(module, inputs)))
    for exporter in exporters:
        try:
            with _silence(), in_full_precision():
                proto = _EXPORT[exporter](module, inputs, free, *names)
                proto = tidy(proto, module.state_dict(keep_vars=True))
            lost = check_export(module, proto, batches)
        except Exception as error:  # the exporters raise whatever torch's internals raise
            reasons.append(f"{exporter}: {type(error).__name__}: {str(error).strip()[:500]}")
            continue
        if not lost:
            return proto
        reasons.append(f"{exporter}: lost the names {', '.join(lost[:5])} ({len(lost)} in all)")
    return None


def _way_out(module: nn.Module) -> str:
    if hasattr(module, "statistics") and hasattr(module, "steps"):
        return (
            "It was read from an ONNX file: write its weights back with spa.bridge.to_onnx(module, "
            "proto), and prune that."
        )
    return "Export it by other means and hand over the ONNX file."


def _check_runs(module: nn.Module, inputs: Inputs) -> None:
    try:
        outputs = outputs_of(module, inputs)
    except Exception as error:  # a forward fails in any way it likes
        shapes = ", ".join("x".join(map(str, x.shape)) or "a scalar" for x in inputs)
        raise InputError(
            f"{type(module).__name__} does not run on the example inputs ({shapes}): "
            f"{type(error).__name__}: {str(error)[:300]}"
        ) from error
    if not outputs:
        raise BridgeError(f"{type(module).__name__} gives no tensor, so there is nothing to keep.")


def _refuse_brain_floats(module: nn.Module, inputs: Inputs) -> None:
    tensors = (*inputs, *module.parameters(), *module.buffers())
    if any(tensor.dtype == torch.bfloat16 for tensor in tensors):
        raise BridgeError(
            f"{type(module).__name__} computes in bfloat16, which ONNX Runtime does not run on a "
            "CPU, so that nothing could be compared. Prune it in float (module.float()), and let "
            "result.module.bfloat16() follow."
        )


def _at_another_batch(
    module: nn.Module, inputs: Inputs, free: list[bool]
) -> tuple[Inputs | None, str]:
    """Inputs of another batch size at which the module runs, or why it does not.

    Samples are repeated, the last one first, or in their order, for what wants an order.
    """
    batch, error = inputs[0].shape[0], ""
    for size in (batch + 1, 2 * batch):
        for ordered in (False, True):
            other = _resized(inputs, free, size, ordered)
            try:
                outputs_of(module, other)
            except Exception as failure:  # a forward fails in any way it likes
                text = f"{type(failure).__name__}: {failure}".splitlines()[0][:200]
                error = error or f"it does not run at a batch of {size} ({text})"
                continue
            return other, ""
    return None, error


def _resized(inputs: Inputs, free: list[bool], batch: int, ordered: bool) -> Inputs:
    """Repeats samples up to another batch size."""
    old = inputs[0].shape[0]
    rows = [i * old // batch if ordered else (-1 - i) % old for i in range(batch)]
    return tuple(x[rows] if f else x for x, f in zip(inputs, free, strict=True))


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
