"""What differs between two opsets."""

from __future__ import annotations

from collections.abc import Iterable

import onnx

from spa.graph.nodes import DEFAULT_DOMAINS, all_nodes


def same_operators(nodes: Iterable[onnx.NodeProto], one: int, other: int) -> bool:
    """Whether the standard operators of some nodes have one definition in two known opsets."""
    operators = {node.op_type for node in all_nodes(nodes) if node.domain in DEFAULT_DOMAINS}
    try:
        return all(
            onnx.defs.get_schema(op, one).since_version
            == onnx.defs.get_schema(op, other).since_version
            for op in operators
        )
    except onnx.defs.SchemaError:
        return False
