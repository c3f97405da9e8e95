"""How large a model becomes once its functions are inlined, found out before that is done.

A function that calls another one ten times, which calls a third one ten times, and so on, is a few
hundred bytes and a billion nodes. Counting takes one step for each call that the file holds.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx

from spa.errors import ModelError
from spa.graph.nodes import all_nodes

# The largest published models have some ten thousand nodes.
MAX_NODES = 200_000
MAX_BYTES = 2**31
# Functions of exporters call three or four deep; onnx's inliner calls itself for each level.
MAX_DEPTH = 100

Key = tuple[str, str, str]
# Nodes and bytes of a body, and how deep functions call one another below it.
_Size = tuple[int, int, int]


def check_inlined_size(proto: onnx.ModelProto) -> None:
    """Refuses a model that inlining its functions would make too large.

    Args:
        proto: the model, without large weights.

    Raises:
        ModelError: saying how large it would be, or that functions call one another in a circle.
    """
    bodies = {(f.domain, f.name, f.overload): f for f in proto.functions}
    sizes: dict[Key, _Size] = {}
    for key in _callees_first(bodies):
        sizes[key] = _size(bodies[key].node, sizes)
    nodes, size, depth = _size(proto.graph.node, sizes)
    if nodes > MAX_NODES or size > MAX_BYTES or depth > MAX_DEPTH:
        raise ModelError(
            f"its local functions cannot be inlined: that would make {nodes:,} nodes of "
            f"{size:,} bytes, {depth} calls deep; {MAX_NODES:,}, {MAX_BYTES:,} and {MAX_DEPTH} "
            "are allowed."
        )


def _size(nodes: Iterable[onnx.NodeProto], sizes: dict[Key, _Size]) -> _Size:
    count, size, depth = 0, 0, 0
    for node in nodes:
        # A subgraph's bytes count once with its node, and what its calls add with them.
        size += node.ByteSize()
        for inner in all_nodes([node]):
            more, bytes_more, below = sizes.get(_key(inner), (1, 0, -1))
            count, size, depth = count + more, size + bytes_more, max(depth, below + 1)
    return count, size, depth


def _callees_first(bodies: dict[Key, onnx.FunctionProto]) -> list[Key]:
    """Functions in an order in which each comes behind those that it calls.

    Raises:
        ModelError: there is none, as some call one another in a circle.
    """
    calls = {
        key: [_key(node) for node in all_nodes(body.node) if _key(node) in bodies]
        for key, body in bodies.items()
    }
    order: list[Key] = []
    seen: set[Key] = set()
    for first in bodies:
        path = [(first, iter(calls[first]))] if first not in seen else []
        open_calls = {first}
        while path:  # no recursion: a file may hold more levels than Python's stack
            key, rest = path[-1]
            called: Key | None = next((each for each in rest if each not in seen), None)
            if called is None:
                path.pop()
                open_calls.discard(key)
                seen.add(key)
                order.append(key)
            elif called in open_calls:
                raise ModelError(
                    f'its local functions cannot be inlined: "{called[1]}" is recursive.'
                )
            else:
                path.append((called, iter(calls[called])))
                open_calls.add(called)
    return order


def _key(node: onnx.NodeProto) -> Key:
    return node.domain, node.op_type, node.overload
