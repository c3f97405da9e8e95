"""Choices that the last bit of a score may decide: an export is given those that torch made.

TopK and ArgMax of nearly equal scores pick other entries in another runtime, and all that comes
behind differs. So both go on with torch's choice, once it is seen to be one that the export's own
scores allow: none that was left out is better than what was taken, by more than rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from torch import Tensor
from torch.overrides import TorchFunctionMode

from spa.errors import BridgeError
from spa.graph.nodes import set_nodes

Array = npt.NDArray[Any]
_SORTING = ("topk", "sort", "argsort", "msort")
_EXTREME = ("argmax", "argmin")
_OPS = ("TopK", "ArgMax", "ArgMin")


class Choices(TorchFunctionMode):
    """Records what torch chooses, call by call.

    Attributes:
        made: the indices of each choice.
    """

    def __init__(self) -> None:
        super().__init__()
        self.made: list[Array] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Looks at the results of functions that choose."""
        result = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") in (*_SORTING, *_EXTREME):
            indices = result if isinstance(result, Tensor) else result[1]
            self.made.append(indices.detach().cpu().numpy())
        return result


@dataclass(frozen=True)
class Opened:
    """An export whose choices are inputs.

    Attributes:
        proto: the model; what is chosen from is an output, behind its own.
        nodes: the nodes that chose.
        outputs: how many outputs of its own it has.
    """

    proto: onnx.ModelProto
    nodes: tuple[onnx.NodeProto, ...]
    outputs: int

    def feeds(self, made: Sequence[Array], scores: Sequence[Array]) -> dict[str, Array]:
        """Values of the inputs: indices as torch chose them, and the scores there."""
        found = {}
        for node, indices, score in zip(self.nodes, made, scores, strict=True):
            if node.op_type != "TopK":
                found[node.output[0]] = indices
                continue
            found[node.output[1]] = indices
            found[node.output[0]] = np.take_along_axis(score, indices, _axis(node))
        return {name: value for name, value in found.items() if name}


def opened(proto: onnx.ModelProto) -> Opened | None:
    """Takes the nodes that choose out of the main graph; None where there are none."""
    nodes = [node for node in proto.graph.node if node.op_type in _OPS and not node.domain]
    if not nodes:
        return None
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    names = {node.output[0] for node in nodes}
    set_nodes(copy.graph, [n for n in copy.graph.node if not names & set(n.output)])
    for node in nodes:
        for place, name in enumerate(node.output):
            whole = node.op_type != "TopK" or place == 1
            kind = onnx.TensorProto.INT64 if whole else _type_of(proto, node.input[0])
            if name:
                copy.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, None))
    count = len(copy.graph.output)
    made = {v.name for v in copy.graph.output}
    for name in dict.fromkeys(node.input[0] for node in nodes):
        if name not in made:
            copy.graph.output.append(onnx.ValueInfoProto(name=name))
    return Opened(copy, tuple(nodes), count)


def check_choice(node: onnx.NodeProto, score: Array, indices: Array, tolerance: float) -> None:
    """Holds a choice to the scores that an export has.

    Raises:
        BridgeError: something better was left out.
    """
    axis = _axis(node)
    attributes = {a.name: a.i for a in node.attribute}
    largest = attributes.get("largest", 1) if node.op_type == "TopK" else node.op_type == "ArgMax"
    sign = 1.0 if largest else -1.0
    if node.op_type != "TopK" and not attributes.get("keepdims", 1):
        indices = np.expand_dims(indices, axis)
    ranked = -np.sort(-sign * score.astype(np.float64), axis=axis)
    taken = np.take_along_axis(sign * score.astype(np.float64), indices, axis)
    best = np.take(ranked, np.arange(indices.shape[axis]), axis=axis)
    taken = -np.sort(-taken, axis=axis)
    scale = float(np.abs(score).max(initial=1e-12))
    if taken.shape != best.shape or not (np.abs(taken - best) <= tolerance * scale).all():
        raise BridgeError(f'{node.op_type} "{node.name}" chooses otherwise than PyTorch does')


def _axis(node: onnx.NodeProto) -> int:
    default = -1 if node.op_type == "TopK" else 0
    return next((int(a.i) for a in node.attribute if a.name == "axis"), default)


def _type_of(proto: onnx.ModelProto, name: str) -> int:
    inferred = onnx.shape_inference.infer_shapes(proto)
    values = (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
    kinds = {value.name: value.type.tensor_type.elem_type for value in values}
    return int(kinds.get(name, 0)) or int(onnx.TensorProto.FLOAT)
