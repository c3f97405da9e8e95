"""ONNX to torch: sort a graph's constants into parameters, statistics and the rest."""

from __future__ import annotations

import onnx
from torch import Tensor

from spa.bridge.control import RUN, bodies_of, operator_of
from spa.bridge.normalise import plain_graph
from spa.bridge.onnx_module import OnnxModule, Step
from spa.bridge.ops import UNAVAILABLE
from spa.bridge.ops.casting import DTYPES
from spa.bridge.registry import Operator, build_operator, plain_value, tensor_of
from spa.errors import BridgeError
from spa.graph.deferred import held
from spa.graph.nodes import graphs_of, qualified_op, subgraphs

# Operators whose operands are weights even where they hold a single value.
_WEIGHTED = {
    "BatchNormalization",
    "Conv",
    "ConvTranspose",
    "Gemm",
    "GroupNormalization",
    "InstanceNormalization",
    "LayerNormalization",
    "MatMul",
    "PRelu",
    "RMSNormalization",
}

# Operators through which no gradient passes.
_BLIND = {
    "And",
    "ArgMax",
    "ArgMin",
    "Ceil",
    "ConstantOfShape",
    "Equal",
    "EyeLike",
    "Floor",
    "Greater",
    "GreaterOrEqual",
    "IsInf",
    "IsNaN",
    "Less",
    "LessOrEqual",
    "NonZero",
    "Not",
    "Or",
    "Round",
    "Shape",
    "Sign",
    "Size",
    "Xor",
}

# Constants of at most this many elements that are no data (integers, most of the time) are
# shapes, axes or indices: read by the host.
_HOST_SIZE = 1024


def to_torch(proto: onnx.ModelProto) -> OnnxModule:
    """Turn an ONNX model into a trainable torch module.

    Every floating constant of more than one element that meets data becomes a Parameter in the
    ONNX layout, and so do single values that belong to a convolution, product or normalisation.
    The running statistics of batch norms become buffers that train mode moves. The module is in
    eval mode, and keeps the model's own dtypes.

    Args:
        proto: the model; it is left as it is.

    Returns:
        The module, equal to ONNX Runtime up to rounding.

    Raises:
        BridgeError: an operator or tensor type that has no PyTorch form.
    """
    plain = plain_graph(held(proto))
    steps: list[Step] = []
    for node in plain.nodes:
        domain = "" if node.domain == "ai.onnx" else node.domain
        if graphs_of(node):
            run = _with_bodies(node, plain.opsets)
        elif (why := UNAVAILABLE.get(qualified_op(node))) is not None:
            raise BridgeError(
                f'operator {qualified_op(node)} (node "{node.name}") has no PyTorch form: {why}.'
            )
        else:
            run = build_operator(node, plain.opsets.get(domain, 1))
        attrs = {
            a.name: plain_value(onnx.helper.get_attribute_value(a))
            for a in node.attribute
            if not subgraphs(a)
        }
        inputs = list(node.input)
        while inputs and not inputs[-1]:
            inputs.pop()
        name = node.name or node.output[0]
        steps.append(Step(name, node.op_type, tuple(inputs), tuple(node.output), attrs, run))

    roles = _roles(steps, plain.outputs)
    weights: dict[str, Tensor] = {}
    statistics: dict[str, Tensor] = {}
    constants: dict[str, Tensor] = {}
    host: dict[str, Tensor] = {}
    for name, tensor_proto in plain.constants.items():
        if name not in roles and name not in plain.outputs:
            continue
        tensor, role = tensor_of(tensor_proto), roles.get(name, set())
        if role == {"statistic"}:
            statistics[name] = tensor
        elif role == {"host"} or (role <= {"host", "no data"} and tensor.numel() <= _HOST_SIZE):
            host[name] = tensor
        elif tensor.is_floating_point() and (
            "weight" in role or ("data" in role and tensor.numel() > 1)
        ):
            weights[name] = tensor
        elif not tensor.is_floating_point() and tensor.numel() <= _HOST_SIZE:
            host[name] = tensor
        else:
            constants[name] = tensor
    net = OnnxModule(steps, plain.inputs, plain.outputs, weights, statistics, constants, host)
    return net.eval()


def _with_bodies(node: onnx.NodeProto, opsets: dict[str, int]) -> Operator:
    """What runs a node with subgraphs."""
    if node.op_type not in RUN or node.domain not in ("", "ai.onnx"):
        raise BridgeError(
            f'{node.op_type} node "{node.name}" holds a subgraph, which the PyTorch bridge does '
            "not run; unroll it in the model first."
        )
    return operator_of(node, [to_torch(body) for body in bodies_of(node, opsets)])


def _roles(steps: list[Step], outputs: list[str]) -> dict[str, set[str]]:
    """Tell what every input name is used as: statistic, host, weight, data or no data.

    A value is no data where nothing of it reaches an output but sizes, indices or comparisons:
    a gradient would never come.
    """
    reaching = set(outputs)
    roles: dict[str, set[str]] = {}
    for step in reversed(steps):
        alive = not reaching.isdisjoint(step.outputs) and not _is_blind(step)
        for i, name in enumerate(step.inputs):
            if step.op == "BatchNormalization" and i >= 3:
                role = "statistic"
            elif i in step.run.host:
                role = "host"
            elif not alive:
                role = "no data"
            else:
                role = "weight" if step.op in _WEIGHTED else "data"
                reaching.add(name)
            roles.setdefault(name, set()).add(role)
    return roles


def _is_blind(step: Step) -> bool:
    """Tell whether an operator has no gradient to pass on."""
    return step.op in _BLIND or (
        step.op == "Cast" and not DTYPES[step.attrs["to"]].is_floating_point
    )
