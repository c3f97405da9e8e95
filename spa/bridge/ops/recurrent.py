"""LSTM, GRU and RNN, step by step: torch's own layers lack most of what ONNX allows.

x: (T, N, I)   w: (D, G*H, I)   r: (D, G*H, H)   b: (D, 2*G*H)   states: (D, N, H)   p: (D, 3*H)
y: (T, D, N, H)   y_h, y_c: (D, N, H); with layout 1, N comes first

Gates: input, output, forget, cell (LSTM); update, reset, hidden (GRU).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from spa.bridge.registry import Function, OpNode, converter
from spa.errors import BridgeError

Activation = Callable[[Tensor], Tensor]
# One step: what the inputs give, the states, and the weights of the states; the new states.
Step = Callable[[Tensor, Tensor, Tensor, "Weights"], tuple[Tensor, Tensor]]

DEFAULTS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}

# By lower-case name: the function of x, alpha and beta, and what these are by default (None where
# it takes none).
ACTIVATIONS: dict[str, tuple[Callable[..., Tensor], float | None, float | None]] = {
    "affine": (lambda x, a, b: a * x + b, 1.0, 0.0),
    "elu": (lambda x, a, b: functional.elu(x, a), 1.0, None),
    "hardsigmoid": (lambda x, a, b: (a * x + b).clamp(0.0, 1.0), 0.2, 0.5),
    "leakyrelu": (lambda x, a, b: functional.leaky_relu(x, a), 0.01, None),
    "relu": (lambda x, a, b: functional.relu(x), None, None),
    "scaledtanh": (lambda x, a, b: a * torch.tanh(b * x), 1.0, 1.0),
    "sigmoid": (lambda x, a, b: torch.sigmoid(x), None, None),
    "softplus": (lambda x, a, b: functional.softplus(x), None, None),
    "softsign": (lambda x, a, b: functional.softsign(x), None, None),
    "tanh": (lambda x, a, b: torch.tanh(x), None, None),
    "thresholdedrelu": (lambda x, a, b: torch.where(x > a, x, 0.0), 1.0, None),
}


@dataclass(frozen=True)
class Weights:
    """What one direction does with its states.

    Attributes:
        r: (G*H, H).
        bias: of the recurrent part, (G*H,).
        peepholes: (3, H).
    """

    r: Tensor
    bias: Tensor
    peepholes: Tensor


@converter("LSTM", "GRU", "RNN")
def recurrent(node: OpNode) -> Function:
    """Every attribute of the three operators."""
    attrs = node.attrs
    direction = attrs.get("direction", "forward")
    backward = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[direction]
    functions = _activations(node, len(backward))
    steps = [_STEPS[node.op](node, activations) for activations in functions]
    batch_first = bool(attrs.get("layout", 0))

    def run(
        x: Tensor,
        w: Tensor,
        r: Tensor,
        b: Tensor | None = None,
        lengths: Tensor | None = None,
        h: Tensor | None = None,
        c: Tensor | None = None,
        p: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        if batch_first:
            x = x.transpose(0, 1)
            h, c = (s if s is None else s.transpose(0, 1) for s in (h, c))
        hidden = r.shape[2]
        zero = x.new_zeros(x.shape[1], hidden)
        results = []
        for d, reverse in enumerate(backward):
            bias = w.new_zeros(2 * w.shape[1]) if b is None else b[d]
            of_inputs, of_states = bias.chunk(2)
            peepholes = w.new_zeros(3 * hidden) if p is None else p[d]
            weights = Weights(r[d], of_states, peepholes.reshape(3, hidden))
            inputs = functional.linear(x, w[d], of_inputs)
            states = (zero if h is None else h[d], zero if c is None else c[d])
            results.append(_unroll(inputs, states, weights, steps[d], lengths, reverse))
        y, y_h, y_c = (torch.stack(parts, dim=-3) for parts in zip(*results, strict=True))
        if batch_first:  # y: (N, T, D, H)
            y, y_h, y_c = y.permute(2, 0, 1, 3), y_h.transpose(0, 1), y_c.transpose(0, 1)
        return (y, y_h, y_c)[: len(node.outputs)]

    return run


def _unroll(
    inputs: Tensor,
    states: tuple[Tensor, Tensor],
    weights: Weights,
    step: Step,
    lengths: Tensor | None,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """One direction; y: (T, N, H), and both last states.

    A sequence that has ended keeps its states and gives zeros. In reverse each sequence starts at
    its own end.
    """
    h, c = states
    count = inputs.shape[0]
    # The step that stands at each place of a sequence read backwards, (T, N, 1).
    order: Tensor | None = None
    if reverse and lengths is not None:
        places = torch.arange(count, device=inputs.device).unsqueeze(1)
        order = torch.where(places < lengths, lengths - 1 - places, places).long().unsqueeze(2)
        inputs = inputs.gather(0, order.expand_as(inputs))
    elif reverse:
        inputs = inputs.flip(0)
    outputs = []
    for t in range(count):
        new_h, new_c = step(inputs[t], h, c, weights)
        if lengths is None:
            h, c = new_h, new_c
            outputs.append(h)
        else:
            runs = (t < lengths).unsqueeze(1)
            h, c = torch.where(runs, new_h, h), torch.where(runs, new_c, c)
            outputs.append(torch.where(runs, new_h, 0.0))
    y = torch.stack(outputs)
    if order is not None:
        y = y.gather(0, order.expand_as(y))
    elif reverse:
        y = y.flip(0)
    return y, h, c


def _lstm(node: OpNode, activations: list[Activation]) -> Step:
    f, g, h_of = activations
    clip = _clip(node)
    coupled = bool(node.attrs.get("input_forget", 0))

    def step(x: Tensor, h: Tensor, c: Tensor, weights: Weights) -> tuple[Tensor, Tensor]:
        i, o, forget, cell = (x + functional.linear(h, weights.r, weights.bias)).chunk(4, dim=-1)
        p_i, p_o, p_f = weights.peepholes
        i = f(clip(i + p_i * c))
        keeps = 1.0 - i if coupled else f(clip(forget + p_f * c))
        c = keeps * c + i * g(clip(cell))
        return f(clip(o + p_o * c)) * h_of(c), c

    return step


def _gru(node: OpNode, activations: list[Activation]) -> Step:
    f, g = activations
    clip = _clip(node)
    linear_first = bool(node.attrs.get("linear_before_reset", 0))

    def step(x: Tensor, h: Tensor, c: Tensor, weights: Weights) -> tuple[Tensor, Tensor]:
        x_z, x_r, x_h = x.chunk(3, dim=-1)
        (r_z, r_r, r_h), (b_z, b_r, b_h) = weights.r.chunk(3), weights.bias.chunk(3)
        z = f(clip(x_z + functional.linear(h, r_z, b_z)))
        reset = f(clip(x_r + functional.linear(h, r_r, b_r)))
        if linear_first:
            new = x_h + reset * functional.linear(h, r_h, b_h)
        else:
            new = x_h + functional.linear(reset * h, r_h, b_h)
        return (1.0 - z) * g(clip(new)) + z * h, c

    return step


def _rnn(node: OpNode, activations: list[Activation]) -> Step:
    (f,) = activations
    clip = _clip(node)

    def step(x: Tensor, h: Tensor, c: Tensor, weights: Weights) -> tuple[Tensor, Tensor]:
        return f(clip(x + functional.linear(h, weights.r, weights.bias))), c

    return step


_STEPS: dict[str, Callable[[OpNode, list[Activation]], Step]] = {
    "LSTM": _lstm,
    "GRU": _gru,
    "RNN": _rnn,
}


def _clip(node: OpNode) -> Activation:
    limit = node.attrs.get("clip")
    return (lambda x: x) if limit is None else (lambda x: x.clamp(-limit, limit))


def _activations(node: OpNode, directions: int) -> list[list[Activation]]:
    """By direction; alphas and betas are handed out in order to the functions that take them."""
    names = node.attrs.get("activations", DEFAULTS[node.op] * directions)
    alphas = iter(node.attrs.get("activation_alpha", ()))
    betas = iter(node.attrs.get("activation_beta", ()))
    found: list[Activation] = []
    for name in names:
        if name.lower() not in ACTIVATIONS:
            raise BridgeError(f'{node.op} "{node.name}" has an unknown activation, {name}.')
        function, alpha, beta = ACTIVATIONS[name.lower()]
        a = alpha if alpha is None else next(alphas, alpha)
        b = beta if beta is None else next(betas, beta)
        found.append(partial(_call, function, a, b))
    each = len(DEFAULTS[node.op])
    return [found[d * each : (d + 1) * each] for d in range(directions)]


def _call(
    function: Callable[..., Tensor], alpha: float | None, beta: float | None, x: Tensor
) -> Tensor:
    return function(x, alpha, beta)
