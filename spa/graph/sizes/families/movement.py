"""Operators that only rearrange, repeat or join: sizes move with the entries."""

from __future__ import annotations

from spa.graph.nodes import Node
from spa.graph.sizes.algebra import Size
from spa.graph.sizes.families.elementwise import broadcast
from spa.graph.sizes.registry import Axes, Reasoner, axes_of


@axes_of("Transpose")
def transpose(node: Node, reason: Reasoner) -> Axes:
    axes = reason.axes(node.inputs[0])
    return tuple([axes[k] for k in node.attr("perm", range(len(axes))[::-1])])


@axes_of("Squeeze", "Unsqueeze")
def squeeze(node: Node, reason: Reasoner) -> Axes:
    axes, seen = reason.axes(node.inputs[0]), reason.seen(node.outputs[0])
    named = node.attr("axes")
    if named is None and node.has_input(1):
        value = reason.fixed(node.inputs[1])
        if value is None:
            return tuple(reason.open(node, k) for k in range(len(seen)))
        named = value.reshape(-1).tolist()
    if node.op == "Unsqueeze":
        new = {int(k) % len(seen) for k in named}
        rest = iter(axes)
        return tuple([1 if k in new else next(rest) for k in range(len(seen))])
    if named is None:  # every axis of size 1: open ones are not, or the rank would be open too
        gone = {k for k, size in enumerate(axes) if isinstance(size, int) and size == 1}
    else:
        gone = {int(k) % len(axes) for k in named}
    return tuple([size for k, size in enumerate(axes) if k not in gone])


@axes_of("Flatten")
def flatten(node: Node, reason: Reasoner) -> Axes:
    axes = reason.axes(node.inputs[0])
    axis = int(node.attr("axis", 1))
    axis = axis + len(axes) if axis < 0 else axis
    return (reason.algebra.product(axes[:axis]), reason.algebra.product(axes[axis:]))


@axes_of("Reshape")
def reshape(node: Node, reason: Reasoner) -> Axes:
    """0 copies the input's size at the same place, -1 is what is left."""
    axes, rank = reason.axes(node.inputs[0]), len(reason.seen(node.outputs[0]))
    named = node.attr("shape")  # before opset 5
    target = reason.numbers(node.inputs[1]) if named is None else None
    if named is None and (target is None or target.size != rank):
        return tuple(reason.open(node, k) for k in range(rank))
    sizes = (
        list(named) if target is None else [reason.algebra.resolved(s) for s in target.reshape(-1)]
    )
    copies = not node.attr("allowzero", 0)
    result = [
        axes[k] if copies and k < len(axes) and isinstance(size, int) and size == 0 else size
        for k, size in enumerate(sizes)
    ]
    rest = [k for k, size in enumerate(sizes) if isinstance(size, int) and size == -1]
    for k in rest:
        others = [size for i, size in enumerate(result) if i != k]
        result[k] = reason.algebra.quotient(axes, others)
    if not rest:
        _learn_one(reason, axes, result)
    return tuple(result)


def _learn_one(reason: Reasoner, axes: Axes, result: list[Size]) -> None:
    """Of two equal products with one unknown factor that nothing else holds, it follows."""
    strange = [s for s in result if reason.algebra.called(s)]
    if len(strange) == 1:
        others = [s for s in result if s is not strange[0]]
        reason.algebra.learn(strange[0], reason.algebra.quotient(axes, others))


@axes_of("Concat", "com.microsoft::QLinearConcat")
def concat(node: Node, reason: Reasoner) -> Axes:
    names = node.inputs if node.op == "Concat" else node.inputs[2::3]
    shapes = [reason.axes(name) for name in names]
    axis = int(node.attr("axis", 1)) % len(shapes[0])
    total: Size = 0
    for axes in shapes:
        total = reason.algebra.plus(total, axes[axis])
    result = list(shapes[0])
    for axes in shapes[1:]:  # all other sizes are equal: one that is fixed says so for all
        result = [a if isinstance(a, int) else b if isinstance(b, int) else a
                  for a, b in zip(result, axes, strict=True)]  # fmt: skip
    result[axis] = total
    return tuple(result)


@axes_of("Expand")
def expand(node: Node, reason: Reasoner) -> Axes:
    axes, rank = reason.axes(node.inputs[0]), len(reason.seen(node.outputs[0]))
    target = reason.numbers(node.inputs[1])
    length = reason.seen(node.inputs[1])[0]
    if target is None or target.size != length:
        wide = (1,) * (rank - len(axes)) + tuple(axes)
        return tuple(
            size if isinstance(size, int) and size != 1 else reason.open(node, k)
            for k, size in enumerate(wide)
        )
    return broadcast(reason, [axes, tuple(target.reshape(-1))])


@axes_of("Tile")
def tile(node: Node, reason: Reasoner) -> Axes:
    axes = reason.axes(node.inputs[0])
    repeats = reason.numbers(node.inputs[1])
    if repeats is None or repeats.size != len(axes):
        return tuple(reason.open(node, k) for k in range(len(axes)))
    return tuple(map(reason.algebra.times, axes, repeats.reshape(-1)))


@axes_of("Pad")
def pad(node: Node, reason: Reasoner) -> Axes:
    axes = reason.axes(node.inputs[0])
    places = list(range(len(axes)))
    if node.has_input(3):
        named = reason.fixed(node.inputs[3])
        if named is None:
            return tuple(reason.open(node, k) for k in places)
        places = [int(k) % len(axes) for k in named.reshape(-1)]
    amounts = node.attr("pads", node.attr("paddings"))
    if amounts is None:
        found = reason.numbers(node.inputs[1])
        if found is None or found.size != 2 * len(places):
            return tuple(reason.open(node, k) if k in places else s for k, s in enumerate(axes))
        amounts = found.reshape(-1)
    result = list(axes)
    for i, k in enumerate(places):
        more = reason.algebra.plus(amounts[i], amounts[i + len(places)])
        result[k] = reason.algebra.plus(axes[k], more)
    return tuple(result)


@axes_of("DepthToSpace")
def depth_to_space(node: Node, reason: Reasoner) -> Axes:
    n, c, h, w = reason.axes(node.inputs[0])
    block, algebra = int(node.attr("blocksize")), reason.algebra
    return (n, algebra.divided(c, block * block), algebra.times(h, block), algebra.times(w, block))


@axes_of("SpaceToDepth")
def space_to_depth(node: Node, reason: Reasoner) -> Axes:
    n, c, h, w = reason.axes(node.inputs[0])
    block, algebra = int(node.attr("blocksize")), reason.algebra
    return (
        n,
        algebra.times(c, block * block),
        algebra.divided(h, block),
        algebra.divided(w, block),
    )


@axes_of("CenterCropPad")
def center_crop_pad(node: Node, reason: Reasoner) -> Axes:
    result = list(reason.axes(node.inputs[0]))
    named = [int(k) % len(result) for k in node.attr("axes", range(len(result)))]
    sizes = reason.numbers(node.inputs[1])
    for i, k in enumerate(named):
        known = sizes is not None and sizes.size == len(named)
        result[k] = sizes.reshape(-1)[i] if sizes is not None and known else reason.open(node, k)
    return tuple(result)
