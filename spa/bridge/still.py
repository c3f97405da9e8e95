"""Random numbers held still, so that a module that draws some can be compared with its export.

Draws cannot be told apart from faults, so for a comparison both give the middle of what they draw
from: noise is its mean; dropout, and what is drawn by its probability, lets everything pass.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import onnx
import torch
from onnx import helper
from torch import Tensor
from torch.overrides import TorchFunctionMode

from spa.graph.nodes import RANDOM_OPS, all_nodes

MIDDLE = 0.5


def _draws(proto: onnx.ModelProto) -> bool:
    """Whether a model draws random numbers."""
    return any(
        node.op_type in RANDOM_OPS or node.op_type == "Dropout" and len(node.input) > 2
        for node in all_nodes(proto.graph.node)
    )


def stilled(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A model that gives the middle of whatever it draws: a copy, where it draws anything."""
    if not _draws(proto):
        return proto
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for node in all_nodes(copy.graph.node):
        if node.op_type == "Dropout":
            del node.input[1:]  # without a ratio and a mode it is one of evaluation
        elif node.op_type == "Bernoulli":
            _fill(node, 1.0)
        elif node.op_type in RANDOM_OPS and node.op_type != "Multinomial":
            given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            middle = given.get("mean", 0.0)
            if "Uniform" in node.op_type:
                middle = (given.get("low", 0.0) + given.get("high", 1.0)) / 2
            _fill(node, middle)
    return copy


def _fill(node: onnx.NodeProto, middle: float) -> None:
    """Lets a node draw from a range too small to matter, around a number."""
    kind = [a for a in node.attribute if a.name in ("dtype", "shape", "seed")]
    shaped = node.op_type.endswith("Like") or node.op_type == "Bernoulli"
    op = "RandomUniformLike" if shaped else "RandomUniform"
    node.op_type = op
    del node.attribute[:]
    node.attribute.extend(kind)
    node.attribute.append(helper.make_attribute("low", float(middle)))
    node.attribute.append(helper.make_attribute("high", float(middle)))


@contextlib.contextmanager
def in_full_precision() -> Iterator[None]:
    """Lets a module that asks for autocast compute in its weights' own type.

    ONNX Runtime has no brain floats on a CPU; what autocast would change is rounding.
    """
    with (
        torch.autocast("cpu", enabled=False),
        mock.patch.object(torch.autocast, "__enter__", lambda self: self),
        mock.patch.object(torch.autocast, "__exit__", return_value=None),
    ):
        yield


class Still(TorchFunctionMode):
    """Lets torch give the middle of whatever it draws, as `stilled` does."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Changes what comes of functions that draw."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in _DROPOUTS:
            return func(args[0], *args[1:2], **{**kwargs, "training": False})
        result = func(*args, **kwargs)
        if name in _MIDDLES and isinstance(result, Tensor):
            return _held(name, result, args, kwargs)
        return result


_DROPOUTS = frozenset({
    "dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout",
})  # fmt: skip
# What drawing gives instead.
_MIDDLES = {
    "randn": 0.0, "randn_like": 0.0, "normal": 0.0, "normal_": 0.0,
    "rand": MIDDLE, "rand_like": MIDDLE, "uniform_": MIDDLE, "bernoulli": 1.0, "bernoulli_": 1.0,
}  # fmt: skip


def _held(name: str, result: Tensor, args: Any, kwargs: Any) -> Tensor:
    middle = _MIDDLES[name]
    if name == "normal_":
        middle = kwargs.get("mean", args[1] if len(args) > 1 else 0.0)
    if name == "normal":
        mean = kwargs.get("mean", args[0] if args else 0.0)
        return mean.expand_as(result) if isinstance(mean, Tensor) else torch.full_like(result, mean)
    if name == "uniform_":
        low = kwargs.get("from", args[1] if len(args) > 1 else 0.0)
        high = kwargs.get("to", args[2] if len(args) > 2 else 1.0)
        middle = (low + high) / 2
    return result.fill_(middle) if name.endswith("_") else torch.full_like(result, middle)
