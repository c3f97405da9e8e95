"""What fused attention multiplies: scores, what they weigh, and the packed projection.

q: (B, h, T, d) or (B, T, h*d)   S keys   y: as q, with the head size of the values

Scores cost B*T*S for every channel of q, and weighing the values as much for every channel of y.
"""

from __future__ import annotations

from collections.abc import Mapping

from spa.graph.nodes import Node

Shape = tuple[int, ...]
Product = tuple[float, list[tuple[str, int]]]

MICROSOFT = "com.microsoft::"
# Where an operator gives the present keys.
PRESENT_KEY = 1


def attention_products(node: Node, shapes: Mapping[str, Shape]) -> list[Product]:
    """Products of a fused attention node; none for other nodes."""
    known = all(name in shapes for name in node.inputs if name) and node.outputs[0] in shapes
    if node.op == f"{MICROSOFT}Attention" and known:
        return _with_projection(node, shapes)
    fused = ("Attention", f"{MICROSOFT}MultiHeadAttention", f"{MICROSOFT}GroupQueryAttention")
    if node.op not in fused or not known or len(shapes[node.inputs[0]]) > 4:
        return []
    q, y = node.inputs[0], node.outputs[0]
    batch, tokens = shapes[q][0], shapes[q][-2]
    fixed = float(batch * tokens * _keys(node, shapes))
    if not node.has_input(1):  # q holds keys and values too; y has as many channels as queries
        return [(2 * fixed, [(y, 2)])]
    return [(fixed, _channels(q, shapes)), (fixed, _channels(y, shapes))]


def _with_projection(node: Node, shapes: Mapping[str, Shape]) -> list[Product]:
    """x: (B, T, I)   W: (I, q + k + v), where q and k are as wide: (W - y) / 2."""
    x, w, y = node.inputs[0], node.inputs[1], node.outputs[0]
    batch, tokens, _ = shapes[x]
    scores = batch * tokens * tokens / 2
    return [(float(batch * tokens), [(w, 0), (w, 1)]), (scores, [(w, 1)]), (scores, [(y, 2)])]


def _keys(node: Node, shapes: Mapping[str, Shape]) -> int:
    """Tokens that are attended to, past ones included."""
    if len(node.outputs) > PRESENT_KEY and node.outputs[PRESENT_KEY] in shapes:
        return shapes[node.outputs[PRESENT_KEY]][2]
    keys = node.inputs[1] if node.has_input(1) else node.inputs[0]
    return shapes[keys][-2]


def _channels(name: str, shapes: Mapping[str, Shape]) -> list[tuple[str, int]]:
    return [(name, 1), (name, 3)] if len(shapes[name]) == 4 else [(name, 2)]
