"""LSTM, GRU and RNN: a hidden unit is one row of every gate, and goes with all of them.

x: (T, N, I)   W: (D, G*H, I)   R: (D, G*H, H)   b: (D, 2*G*H)   states: (D, N, H)   P: (D, 3*H)
Y: (T, D, N, H)   Y_h, Y_c: (D, N, H); with layout 1, N comes first

T: time steps, N: batch, D: directions, G: gates, H: hidden units.

1. Unit h stands in every gate of W, R, b and P, in R's last axis, in the states and the outputs.
   Both directions lie in one tensor, so unit h of both goes at once.
2. W's last axis goes with x's channels. Time, batch and directions are kept.
3. Initial states of zeros that are filled while the model runs, as the batch is dynamic, are the
   same as none: surgery takes them out. So stacked layers that share such a tensor stay apart.
4. Removal is exact with any activations, as R's column of the unit goes too. What the unit still
   gives is zero where its activations map zero to zero and its state starts at zero.
"""

from __future__ import annotations

from spa.coupling.filled import is_zero_fill
from spa.coupling.labels import Labels, along
from spa.coupling.rules.base import Cutter, resize, rule
from spa.coupling.tracker import Tracker
from spa.graph.nodes import Node

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
# Activations of each direction by default, and those among them that an idle unit's output is
# made of: an LSTM's cell input and output, a GRU's candidate, an RNN's only one.
ACTIVATIONS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
VALUE_OF = {"LSTM": (1, 2), "GRU": (1,), "RNN": (0,)}
# f(0) = 0 whatever their alpha and beta.
MAPS_ZERO_TO_ZERO = frozenset({
    "elu", "leakyrelu", "relu", "scaledtanh", "softsign", "tanh",
})  # fmt: skip
STATES = (5, 6)


@rule("LSTM", "GRU", "RNN", weights=(1, 2, 3, *STATES), biases=(3, *STATES), bounded=True)
def recurrent(node: Node, tracker: Tracker) -> None:
    """Branches are numbered as in the module's text."""
    gates, hidden = GATES[node.op], tracker.shape(node, 2)[2]
    runs = "a recurrent layer runs over this axis"
    channels = tracker.vector(
        tracker.keep_axes(tracker.read(node, 0), (0, 1), node, runs),
        2, tracker.shape(node, 0)[2], node,
    )  # fmt: skip
    tracker.equal(channels, _axis(node, tracker, 1, 2), node)  # 2
    units = _axis(node, tracker, 2, 2)
    for i, blocks in ((1, gates), (2, gates), (3, 2 * gates), (7, 3)):  # 1
        if node.has_input(i):
            tracker.equal(_axis(node, tracker, i, 1).reshape(blocks, hidden), units[None], node)
    if node.has_input(4):
        tracker.keep_layers(tracker.read(node, 4), node, "they are lengths of sequences")
    starts_at_zero = True
    for i in STATES:
        if not node.has_input(i) or is_zero_fill(node.inputs[i], tracker.model):  # 3
            continue
        state = _axis(node, tracker, i, 2)
        if not state.any():
            tracker.keep(units, node, "its initial state is given, and is as wide as it is")
        else:
            tracker.equal(state, units, node)
        known = tracker.is_zeroed(node, i)
        starts_at_zero = starts_at_zero and known
    for i, name in enumerate(node.outputs):
        if name:
            rank = len(tracker.out_shape(node, i))
            tracker.write(node, [along(units, rank - 1, rank)], i)
            if starts_at_zero and _is_idle_at_zero(node, tracker):  # 4
                tracker.zeros.add(name)


@resize("LSTM", "GRU", "RNN")
def resize_recurrent(node: Node, cutter: Cutter) -> None:
    """The attribute follows; initial states of zeros go."""
    hidden = cutter.input_shape(node, 2)[2]
    if hidden == cutter.old_shape(node.inputs[2])[2]:
        return
    cutter.set_attr(node, "hidden_size", hidden)
    for i in STATES:
        if node.has_input(i) and cutter.is_zero_fill(node, i):
            cutter.drop_input(node, i)


def _axis(node: Node, tracker: Tracker, i: int, axis: int) -> Labels:
    """Labels of one axis of input ``i``; directions, and batch where it has one, are kept."""
    shape = tracker.shape(node, i)
    others = (0, 1) if i in STATES else (0,)
    layers = tracker.keep_axes(tracker.read(node, i), others, node, "")
    return tracker.vector(layers, axis, shape[axis], node)


def _is_idle_at_zero(node: Node, tracker: Tracker) -> bool:
    """Whether a unit of zero weights gives zero."""
    names = node.attr("activations")
    directions = tracker.shape(node, 1)[0]
    if names is None:
        names = ACTIVATIONS[node.op] * directions
    each = len(ACTIVATIONS[node.op])
    values = [_text(names[d * each + k]) for d in range(directions) for k in VALUE_OF[node.op]]
    return all(value in MAPS_ZERO_TO_ZERO for value in values)


def _text(name: bytes | str) -> str:
    return (name.decode("utf-8", "replace") if isinstance(name, bytes) else name).lower()
