"""Control flow: nodes whose subgraphs are modules of their own.

A subgraph reads tensors from around it by name. The bridge lists these behind the node's own
inputs, and they are the last inputs of the subgraph's module. What a subgraph holds itself stays as
it is: it has no gradient, and is not written back. (`spa.load` opens Ifs with weights inside, see
`spa.graph.forks`; then there is nothing to hold.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from spa.bridge.registry import Operator
from spa.graph.nodes import captured, subgraphs

# Others, such as Scan, are refused.
RUN = ("If", "Loop")


class Subgraphs(Operator):
    """A node with subgraphs.

    Args:
        bodies: a module for each.
        host: see `Operator`.
    """

    def __init__(self, bodies: Sequence[nn.Module], host: tuple[int, ...]) -> None:
        super().__init__(host)
        self.bodies = nn.ModuleList(bodies).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Subgraphs:
        """Statistics inside would move, and be lost."""
        super().train(mode)
        self.bodies.eval()
        return self

    def _run(self, which: int, inputs: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
        outputs = self.bodies[which](*inputs)
        return outputs if isinstance(outputs, tuple) else (outputs,)


class Branches(Subgraphs):
    """If: a condition, and what the branches read."""

    def compute(self, *inputs: Tensor | None) -> Any:
        """Runs one branch."""
        condition, *read = inputs
        assert condition is not None
        return self._run(0 if bool(condition) else 1, read)


class Trips(Subgraphs):
    """Loop: the number of trips, whether to begin, what is carried on, and what the body reads.

    Args:
        body: takes the trip's number, the condition, what is carried on, and what it reads; gives
            the condition, what is carried on, and what is collected of every trip.
        carried: how many tensors are carried on.
        collected: how many are collected.
    """

    def __init__(self, body: nn.Module, carried: int, collected: int) -> None:
        super().__init__([body], host=(0, 1))
        self.carried, self.collected = carried, collected

    def compute(self, *inputs: Tensor | None) -> Any:
        """Runs the body until its condition is false, or the trips are over."""
        trips, condition, *rest = inputs
        state: Sequence[Tensor | None] = rest[: self.carried]
        read = rest[self.carried :]
        rows: list[tuple[Tensor, ...]] = []
        number = 0
        go_on = torch.tensor(True) if condition is None else condition
        while bool(go_on) and (trips is None or number < int(trips)):
            go_on, *given = self._run(0, [torch.tensor(number), go_on, *state, *read])
            state = given[: self.carried]
            rows.append(tuple(given[self.carried :]))
            number += 1
        columns = zip(*rows, strict=True) if rows else [()] * self.collected
        return (*state, *(torch.stack(c) if c else torch.zeros(0) for c in columns))


def bodies_of(node: onnx.NodeProto, opsets: dict[str, int]) -> list[onnx.ModelProto]:
    """A node's subgraphs as models, in the order of If's branches; what they read is an input."""
    order = {"then_branch": 0, "else_branch": 1}
    attributes = sorted(node.attribute, key=lambda a: order.get(a.name, 0))
    models = []
    for graph in (graph for attribute in attributes for graph in subgraphs(attribute)):
        model = onnx.ModelProto(ir_version=onnx.IR_VERSION, graph=graph)
        model.graph.input.extend(onnx.ValueInfoProto(name=name) for name in captured(node))
        model.opset_import.extend(
            onnx.helper.make_opsetid(domain, version) for domain, version in opsets.items()
        )
        models.append(model)
    return models


def operator_of(node: onnx.NodeProto, bodies: Sequence[nn.Module]) -> Operator:
    """What runs a node with subgraphs, given their modules."""
    if node.op_type == "If":
        return Branches(bodies, host=(0,))
    (body,) = (a.g for a in node.attribute if a.name == "body")
    carried = len(body.input) - 2
    return Trips(bodies[0], carried, len(body.output) - 1 - carried)
