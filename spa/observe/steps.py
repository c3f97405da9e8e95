"""Running a model one node at a time, as ONNX Runtime runs it for users.

Weights are inputs like any others, so that a node can be run with other ones. A device that is not
the CPU is PyTorch's, through the bridge; arrays come and go in host memory either way.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import onnx
import onnxruntime as ort

from spa.errors import MissingExtra, ModelError, SettingError
from spa.graph.model import Array, Model
from spa.graph.nodes import Node
from spa.graph.read import first_line
from spa.graph.runnable import make_runnable

if TYPE_CHECKING:
    from spa.bridge.onnx_module import Step

CPU = "cpu"
# None where an optional input or output is left out.
Arrays = Sequence["Array | None"]


class Runner(Protocol):
    """Runs nodes of one model."""

    def run(self, node: Node, inputs: Arrays) -> list[Array | None]:
        """Computes a node's outputs.

        Args:
            node: of the main graph.
            inputs: its inputs, and behind them what its subgraphs read from around them.
        """

    def forget(self, node: Node) -> None:
        """Gives back what is held for a node that will not run again."""


def check_device(device: str) -> None:
    """Finds out before the work whether a device can be used.

    Raises:
        SettingError: it cannot.
        MissingExtra: another device than the CPU, without PyTorch.
    """
    if device == CPU:
        return
    if importlib.util.find_spec("torch") is None:
        raise MissingExtra("torch", "torch", f"device {device}")
    import torch

    try:
        torch.zeros(1).to(device)
    except (RuntimeError, AssertionError) as error:  # torch's own ways to refuse a device
        raise SettingError(f'device "{device}" cannot be used: {first_line(error)}') from error


def runner_for(model: Model, device: str = CPU) -> Runner:
    """What runs a model's nodes on a device, as torch names it.

    Raises:
        SettingError: the device cannot be used.
        MissingExtra: another device than the CPU, without PyTorch.
    """
    check_device(device)
    return OnnxSteps(model) if device == CPU else _TorchSteps(model, device)


class OnnxSteps:
    """Nodes as sessions of ONNX Runtime.

    Args:
        model: the model; it is not changed.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._sessions: dict[int, dict[tuple[int, ...], ort.InferenceSession]] = {}

    def run(self, node: Node, inputs: Arrays) -> list[Array | None]:
        """See `Runner`."""
        names = [*node.inputs, *node.captured]
        feeds = {
            name: value for name, value in zip(names, inputs, strict=True) if value is not None
        }
        # Lists of sizes and axes: how long they are says of which rank the outputs are.
        lengths = tuple(len(value) for value in feeds.values() if _is_list(value))
        known = self._sessions.setdefault(node.index, {})
        try:
            if lengths not in known:
                known[lengths] = _session(self._model, node, feeds)
            given = known[lengths].run(None, feeds)
            found = dict(zip(filter(None, node.outputs), given, strict=True))
        except Exception as error:  # ONNX Runtime's exceptions share no base but Exception.
            raise ModelError(
                f"ONNX Runtime cannot run {node} by itself: {first_line(error)}"
            ) from (error)
        return [found.get(name) for name in node.outputs]

    def forget(self, node: Node) -> None:
        """See `Runner`."""
        self._sessions.pop(node.index, None)


def _session(model: Model, node: Node, feeds: dict[str, Array]) -> ort.InferenceSession:
    proto = onnx.ModelProto(ir_version=model.proto.ir_version)
    proto.opset_import.extend(model.proto.opset_import)
    proto.functions.extend(model.proto.functions)
    proto.graph.name = "node"
    proto.graph.node.append(model.proto.graph.node[node.index])
    for name, value in feeds.items():
        proto.graph.input.append(_declared(name, value))
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in node.outputs if name)
    make_runnable(proto)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    # Memory goes back after every run, as the next node is another session.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    return ort.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _declared(name: str, value: Any) -> onnx.ValueInfoProto:
    if isinstance(value, list):  # a sequence of tensors
        kind = onnx.helper.np_dtype_to_tensor_dtype(np.asarray(value[0]).dtype)
        return onnx.helper.make_tensor_sequence_value_info(name, kind, None)
    kind = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
    shape = [len(value)] if _is_list(value) else [None] * value.ndim
    return onnx.helper.make_tensor_value_info(name, kind, shape)


def _is_list(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "iu"


class _TorchSteps:
    """Nodes as torch functions on a device."""

    def __init__(self, model: Model, device: str) -> None:
        from spa.bridge import to_torch

        net = to_torch(model.proto).requires_grad_(False).to(device)
        self._steps: dict[str, Step] = {step.outputs[0]: step for step in net.steps}
        self._constants = net.constants()
        self._device = device
        self._other = OnnxSteps(model)

    def run(self, node: Node, inputs: Arrays) -> list[Array | None]:
        """See `Runner`; what the bridge folded into constants is computed on the CPU."""
        import torch

        step = self._steps.get(node.outputs[0])
        if step is None or node.captured:
            return self._other.run(node, inputs)
        with torch.no_grad():
            tensors = [
                self._on_device(name, value)
                for name, value in zip(node.inputs, inputs, strict=True)
            ]
            results = step.run(*tensors)
        found = [result.cpu().numpy() for result in results]
        return [*found, *[None] * (len(node.outputs) - len(found))]

    def forget(self, node: Node) -> None:
        """See `Runner`."""
        self._other.forget(node)

    def _on_device(self, name: str, value: Array | None) -> Any:
        import torch

        if value is None:
            return None
        tensor = torch.from_numpy(np.array(value))
        known = self._constants.get(name)
        # Sizes and axes are read as Python numbers, and stay where the bridge keeps them.
        on_host = known is not None and known.device.type == CPU
        return tensor if on_host else tensor.to(self._device)


Product = Callable[[Array, Array], Array]


def product_on(device: str) -> Product:
    """A^T B of rows (n, D) and (n, E), on a device."""
    if device == CPU:
        return lambda a, b: a.T @ b
    import torch

    def product(a: Array, b: Array) -> Array:
        left = torch.from_numpy(np.ascontiguousarray(a)).to(device)
        right = left if b is a else torch.from_numpy(np.ascontiguousarray(b)).to(device)
        return np.asarray((left.T @ right).cpu().numpy())

    return product
