"""Which converter turns which ONNX operator into a callable, by operator version.

The registry is onnx2torch's. What SPA takes from that library is this registry (a converter is
found by the version of the operator's schema, not by the model's opset) and its converters for
plain elementwise operators, which do the right thing with every input given at run time. Its
``convert()`` is not used: it bakes weights into layers, duplicates shared ones, leaves MatMul
weights without gradient and refuses today's opsets.

Three registrars fill the tables, one file per operator family under ``spa/bridge/ops``:

1. ``converter(op)``: SPA's own converter. For schema versions that onnx2torch lacks it is handed
   to onnx2torch's ``add_converter``; where onnx2torch has one that wants constants at conversion
   time, SPA's stands before it in a table of its own and onnx2torch's stays untouched.
2. ``elementwise(op, function)``: the one-line form of the same.
3. ``borrowed(op)``: onnx2torch's converter is trusted, and its newest one serves the later schema
   versions too, which only widened the types.

An operator in none of them is refused, whatever onnx2torch would make of it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from spa.bridge.torchvision_shim import import_torchvision
from spa.errors import BridgeError

import_torchvision()  # onnx2torch imports it, and may not be able to by itself

from onnx2torch.node_converters.registry import add_converter, get_converter  # noqa: E402
from onnx2torch.onnx_graph import OnnxGraph  # noqa: E402
from onnx2torch.onnx_node import OnnxNode  # noqa: E402
from onnx2torch.utils.common import (  # noqa: E402
    OnnxMapping,
    OperationConverterResult,
)

# The newest opset whose operators were run against these converters.
NEWEST_OPSET = 28

Function = Callable[..., Any]

_HOST = torch.device("cpu")


@dataclass(frozen=True)
class OpNode:
    """One node as a converter sees it.

    Attributes:
        name: the node's name.
        op: operator type.
        domain: operator domain, ``""`` for ONNX's own.
        version: the schema version in force (``since_version``), 0 outside ONNX's own domain.
        inputs: tensor names, ``""`` where an optional input is left out.
        outputs: tensor names, ``""`` where an optional output is left out.
        attrs: plain Python values; tensors as ``torch.Tensor``.
    """

    name: str
    op: str
    domain: str
    version: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any]

    def wants(self, output: int) -> bool:
        """Tell whether the graph names this optional output."""
        return output < len(self.outputs) and self.outputs[output] != ""


class Operator(nn.Module):
    """What a step runs: tensors in, a tuple of tensors out.

    Attributes:
        host: positions of inputs that are read as Python numbers (shapes, axes, scales). They are
            best left in host memory, and get no gradient.
        origin: the node that it runs, serialised, and its opset; None where it has modules inside.
    """

    def __init__(self, host: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.host = frozenset(host)
        self.origin: tuple[bytes, int] | None = None

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickles (and copies) the node; a converter's functions cannot be pickled."""
        if self.origin is None:
            return super().__reduce_ex__(protocol)
        return _revived, (*self.origin, self.training)

    def compute(self, *inputs: Tensor | None) -> Any:
        """Return the output tensor, or a tuple of them."""
        raise NotImplementedError

    def forward(self, *inputs: Tensor | None) -> tuple[Tensor, ...]:
        """Run the operator; a left-out optional input is None."""
        outputs = self.compute(*self._gathered(inputs))
        return outputs if isinstance(outputs, tuple) else (outputs,)

    def _gathered(self, inputs: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        """Move operands from host memory to where the others are; shapes and axes stay."""
        places = {
            t.device for i, t in enumerate(inputs) if t is not None and i not in self.host
        } - {_HOST}
        if not places:
            return inputs
        place = places.pop()
        return [t if t is None or i in self.host else t.to(place) for i, t in enumerate(inputs)]


class FunctionOperator(Operator):
    """An operator without state."""

    def __init__(self, function: Function, host: tuple[int, ...] = ()) -> None:
        super().__init__(host)
        self.function = function

    def compute(self, *inputs: Tensor | None) -> Any:
        """Call the function."""
        return self.function(*inputs)


Builder = Callable[[OpNode], Function | Operator]

_replaced: dict[tuple[str, str, int], Callable[[OnnxNode, OnnxGraph], Any]] = {}
_trusted: set[tuple[str, str]] = set()


@functools.cache
def _versions(op: str, domain: str) -> tuple[int, ...]:
    """All schema versions of an operator, oldest first; (1,) for one that ONNX does not define."""
    versions = {
        schema.since_version
        for schema in onnx.defs.get_all_schemas_with_history()
        if schema.name == op and schema.domain == domain
    }
    return tuple(sorted(versions)) or (1,)


def schema_version(op: str, opset: int, domain: str = "") -> int:
    """Return the operator's schema version that a model of this opset uses."""
    return max((v for v in _versions(op, domain) if v <= opset), default=1)


def _onnx2torch_has(op: str, version: int, domain: str) -> bool:
    try:
        get_converter(op, version, domain)
    except NotImplementedError:
        return False
    return True


def _to_onnx2torch(
    build: Builder, version: int, host: tuple[int, ...]
) -> Callable[[OnnxNode, OnnxGraph], Any]:
    """Give a converter of SPA's the form that onnx2torch's registry holds."""

    def convert(node: OnnxNode, graph: OnnxGraph) -> Any:
        proto = node.proto
        attrs = {a.name: plain_value(onnx.helper.get_attribute_value(a)) for a in proto.attribute}
        inputs, outputs = tuple(proto.input), tuple(proto.output)
        built = build(
            OpNode(proto.name, proto.op_type, proto.domain, version, inputs, outputs, attrs)
        )
        run = built if isinstance(built, Operator) else FunctionOperator(built, host)
        return OperationConverterResult(
            torch_module=run, onnx_mapping=OnnxMapping(inputs=inputs, outputs=outputs)
        )

    return convert


def plain_value(value: Any) -> Any:
    """Turn an attribute's value into Python's own types, and tensors into torch's."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, onnx.TensorProto):
        return tensor_of(value)
    if hasattr(value, "__iter__") and not isinstance(value, str):
        return [plain_value(item) for item in value]
    return value


def tensor_of(proto: onnx.TensorProto) -> Tensor:
    """Return a tensor's values in its own dtype.

    Raises:
        BridgeError: torch has no such dtype.
    """
    array = onnx.numpy_helper.to_array(proto)
    if proto.data_type == onnx.TensorProto.BFLOAT16:
        return torch.from_numpy(array.astype("float32")).to(torch.bfloat16)
    try:
        return torch.from_numpy(array.copy())
    except TypeError as error:
        kind = onnx.TensorProto.DataType.Name(proto.data_type)
        raise BridgeError(
            f'tensor "{proto.name}" is of type {kind}, for which PyTorch has no plain tensor; '
            "cast or dequantise it in the model first."
        ) from error


def converter(
    *ops: str,
    since: int = 1,
    until: int = NEWEST_OPSET,
    domain: str = "",
    host: tuple[int, ...] = (),
) -> Callable[[Builder], Builder]:
    """Register SPA's own converter for the schema versions between two opsets, both included.

    Args:
        ops: operator types.
        since: first schema version.
        until: last schema version.
        domain: operator domain.
        host: positions of inputs that are read as Python numbers.
    """

    def register(build: Builder) -> Builder:
        for op in ops:
            _trusted.add((domain, op))
            for version in _versions(op, domain):
                if not since <= version <= until:
                    continue
                adapted = _to_onnx2torch(build, version, host)
                if _onnx2torch_has(op, version, domain):
                    _replaced[domain, op, version] = adapted
                else:
                    add_converter(op, version, domain)(adapted)
        return build

    return register


def elementwise(op: str, function: Function, since: int = 1, until: int = NEWEST_OPSET) -> None:
    """Register a function of the inputs alone."""
    converter(op, since=since, until=until)(lambda node: function)


def borrowed(*ops: str) -> None:
    """Trust onnx2torch's converters for these operators, the newest for later versions too."""
    for op in ops:
        _trusted.add(("", op))
        newest = None
        for version in _versions(op, ""):
            if _onnx2torch_has(op, version, ""):
                newest = get_converter(op, version)
            elif newest is not None and version <= NEWEST_OPSET:
                add_converter(op, version)(newest)


def build_operator(node: onnx.NodeProto, opset: int) -> Operator:
    """Turn a node into what runs it.

    Args:
        node: the node.
        opset: the model's opset of the node's domain.

    Raises:
        BridgeError: no converter for this operator at this opset, or it refuses the node.
    """
    domain = "" if node.domain == "ai.onnx" else node.domain
    op = node.op_type
    version = schema_version(op, opset, domain)
    convert = _replaced.get((domain, op, version))
    known = (domain, op) in _trusted and (domain != "" or opset <= NEWEST_OPSET)
    if not known or (convert is None and not _onnx2torch_has(op, version, domain)):
        label = f"{domain}::{op}" if domain else op
        raise BridgeError(
            f'no PyTorch converter for operator {label} at opset {opset} (node "{node.name}", '
            f'output "{next(iter(node.output), "")}"). Add one in spa/bridge/ops/, or convert the '
            f"model to an opset of at most {NEWEST_OPSET} or to other operators first."
        )
    # The graph handed over is empty, so that no converter can bake a weight into its layer.
    convert = convert or get_converter(op, version, domain)
    try:
        module = convert(OnnxNode(node, op), OnnxGraph(onnx.GraphProto())).torch_module
    except (NotImplementedError, KeyError, ValueError) as error:
        raise BridgeError(
            f'operator {op} at opset {opset} (node "{node.name}") has no PyTorch form with these '
            f"attributes: {error}"
        ) from error
    operator = module if isinstance(module, Operator) else FunctionOperator(module)
    operator.origin = (node.SerializeToString(), opset)
    return operator


def _revived(node: bytes, opset: int, training: bool) -> Operator:
    return build_operator(onnx.NodeProto.FromString(node), opset).train(training)
