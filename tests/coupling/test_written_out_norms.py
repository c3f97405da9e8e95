"""Norms over the channels, written out in every spelling that exporters and people use.

The mean of fewer channels is another mean, so a mean over them is not exact. A sum of them, times
one over their number, is: the removed entries are zero, and the number stays what it was, whether
it is written as a constant or computed from a Shape. What was centred around a mean is zero no
more, so the variance of a layer norm is not exact unless it is taken as E[x^2] - E[x]^2.
"""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest

from tests.coupling.cases import described, kept, prove
from tests.coupling.modules import linear
from tests.graphs import Builder

CHANNELS = 6
MEANS = ("ReduceMean", "sum times a constant", "sum over a constant", "sum over a size")
SQUARES = ("Pow", "Mul", "ReduceSumSquare")
ROOTS = ("Sqrt, Div", "Sqrt, Reciprocal, Mul", "Pow, Mul", "Pow, Div")


def _number(g: Builder, value: float) -> str:
    return g.weight(np.float32(value), "number")


def _over_count(g: Builder, x: str, total: str, how: str) -> str:
    """A sum, divided by the number of channels."""
    if how == "sum times a constant":
        return g.node("Mul", [total, _number(g, 1 / CHANNELS)])
    if how == "sum over a constant":
        return g.node("Div", [total, _number(g, CHANNELS)])
    size = g.node("Gather", [g.node("Shape", [x]), g.ints(-1)], axis=0)
    return g.node("Div", [total, g.node("Cast", [size], to=onnx.TensorProto.FLOAT)])


def _mean(g: Builder, x: str, how: str) -> str:
    if how == "ReduceMean":
        return g.reduce("ReduceMean", x, [-1])
    return _over_count(g, x, g.reduce("ReduceSum", x, [-1]), how)


def _mean_square(g: Builder, x: str, square: str, mean: str) -> str:
    if square == "ReduceSumSquare":
        how = "sum times a constant" if mean == "ReduceMean" else mean
        return _over_count(g, x, g.reduce("ReduceSumSquare", x, [-1]), how)
    inputs = [x, x] if square == "Mul" else [x, _number(g, 2)]
    return _mean(g, g.node(square, inputs), mean)


def _scaled_by_root(g: Builder, x: str, variance: str, root: str) -> str:
    variance = g.node("Add", [variance, _number(g, 1e-3)])
    if root.startswith("Pow"):
        sign = 1 if root == "Pow, Div" else -1
        power = g.node("Pow", [variance, _number(g, 0.5 * sign)])
        return g.node("Div" if sign > 0 else "Mul", [x, power])
    deviation = g.node("Sqrt", [variance])
    if root == "Sqrt, Div":
        return g.node("Div", [x, deviation])
    return g.node("Mul", [x, g.node("Reciprocal", [deviation])])


def _around(norm) -> onnx.ModelProto:
    g = Builder()
    x = linear(g, g.input(4, 7), 7, CHANNELS)
    y = g.node("Mul", [norm(g, x), g.normal(CHANNELS, stem="gain")])
    return g.model(linear(g, y, CHANNELS, 5))


MEMBERS = "6: b0.0 gain0.0 w0.1 w1.0"


@pytest.mark.parametrize(("mean", "square"), itertools.product(MEANS, SQUARES))
def test_rms_norm(mean, square):
    exact = mean != "ReduceMean" or square == "ReduceSumSquare"

    def norm(g: Builder, x: str) -> str:
        return _scaled_by_root(g, x, _mean_square(g, x, square, mean), "Sqrt, Div")

    proto = _around(norm)
    assert described(proto) == [MEMBERS if exact else "~" + MEMBERS]
    prove(proto, equal=exact, plain=False)


@pytest.mark.parametrize("root", ROOTS)
def test_every_inverse_root(root):
    proto = _around(
        lambda g, x: _scaled_by_root(g, x, _mean_square(g, x, "Mul", "sum over a size"), root)
    )
    assert described(proto) == [MEMBERS]
    prove(proto, plain=False)


@pytest.mark.parametrize(("mean", "square"), itertools.product(MEANS, SQUARES))
def test_layer_norm(mean, square):
    """Centred entries are not zero, so their squares do not sum up to the same."""

    def norm(g: Builder, x: str) -> str:
        centred = g.node("Sub", [x, _mean(g, x, mean)])
        return _scaled_by_root(g, centred, _mean_square(g, centred, square, mean), "Sqrt, Div")

    proto = _around(norm)
    assert described(proto) == ["~" + MEMBERS]
    prove(proto, equal=False, plain=False)


@pytest.mark.parametrize("mean", MEANS)
def test_layer_norm_by_the_variance_of_squares(mean):
    exact = mean != "ReduceMean"

    def norm(g: Builder, x: str) -> str:
        average = _mean(g, x, mean)
        squares = _mean_square(g, x, "Mul", mean)
        variance = g.node("Sub", [squares, g.node("Mul", [average, average])])
        return _scaled_by_root(g, g.node("Sub", [x, average]), variance, "Sqrt, Div")

    proto = _around(norm)
    assert described(proto) == [MEMBERS if exact else "~" + MEMBERS]
    prove(proto, equal=exact, plain=False)


@pytest.mark.parametrize("op", ["LayerNormalization", "RMSNormalization"])
def test_fused(op):
    g = Builder(23)
    x = linear(g, g.input(4, 7), 7, CHANNELS)
    y = g.node(op, [x, g.normal(CHANNELS, stem="gain")], axis=-1)
    proto = g.model(linear(g, y, CHANNELS, 5))
    assert described(proto) == ["~" + MEMBERS]
    prove(proto, equal=False, plain=False)


@pytest.mark.parametrize("shifted", [False, True])
def test_softmax_written_out(shifted):
    """Exp, ReduceSum, Div over the channels, with or without the maximum taken off."""

    def softmax(g: Builder, x: str) -> str:
        if shifted:
            x = g.node("Sub", [x, g.reduce("ReduceMax", x, [-1])])
        powers = g.node("Exp", [x])
        return g.node("Div", [powers, g.reduce("ReduceSum", powers, [-1])])

    proto = _around(softmax)
    assert described(proto) == ["~" + MEMBERS]
    prove(proto, equal=False, plain=False)


def test_softmax_written_out_over_tokens_is_exact():
    def softmax(g: Builder, x: str) -> str:
        powers = g.node("Exp", [x])
        return g.node("Div", [powers, g.reduce("ReduceSum", powers, [1])])

    proto = _around(softmax)
    assert described(proto) == [MEMBERS]
    prove(proto)


@pytest.mark.parametrize("guard", ["Add", "Max", "Clip"])
def test_l2_norm_of_features(guard):
    """x / ||x||: the norm of zeros adds nothing."""

    def norm(g: Builder, x: str) -> str:
        length = g.reduce("ReduceL2", x, [-1])
        small = _number(g, 1e-3)
        length = g.node(guard, [length, small])
        return g.node("Div", [x, length])

    proto = _around(norm)
    assert described(proto) == [MEMBERS]
    prove(proto, plain=False)


# --- norms of weights ---------------------------------------------------------------------------


def _standardised(g: Builder, cin: int, cout: int, eps: float = 1e-3) -> str:
    """Weight standardisation: every filter is brought to mean 0 and deviation 1."""
    w = g.normal(cout, cin, 3, 3, stem="raw")
    centred = g.node("Sub", [w, g.reduce("ReduceMean", w, [1, 2, 3])])
    variance = g.reduce("ReduceMean", g.node("Mul", [centred, centred]), [1, 2, 3])
    root = g.node("Sqrt", [g.node("Add", [variance, _number(g, eps)])])
    return g.node("Div", [centred, root])


def test_weight_standardisation():
    """The output axis is exact: a filter of zeros stays one. The input axis is averaged over."""
    g = Builder()
    x = g.node("Relu", [g.node("Conv", [g.input(3, 6, 6), _standardised(g, 3, 8)])])
    x = g.node("Relu", [g.node("Conv", [x, _standardised(g, 8, 6)])])
    proto = g.model(g.conv(x, 6, 5, 1))
    assert described(proto) == ["6: raw1.0 w0.1", "~8: raw0.0 raw1.1"]
    prove(proto, equal=False, plain=False)


def test_weight_standardisation_of_the_output_side_alone():
    g = Builder()
    x = g.node("Relu", [g.node("Conv", [g.input(3, 6, 6), _standardised(g, 3, 8)])])
    proto = g.model(g.conv(x, 8, 5))
    assert described(proto) == ["8: raw0.0 w0.1"]
    prove(proto, plain=False)


@pytest.mark.parametrize("guarded", [False, True])
def test_weight_norm(guarded):
    """g * v / ||v||: without a guard the zeroed dense model divides zero by zero."""
    g = Builder()
    v = g.normal(8, 3, 3, 3, stem="v")
    length = g.reduce("ReduceL2", v, [1, 2, 3])
    if guarded:
        length = g.node("Add", [length, _number(g, 1e-3)])
    gain = g.weight(g._vector(8, 1.0).reshape(8, 1, 1, 1), "gain")
    w = g.node("Mul", [g.node("Div", [v, length]), gain])
    x = g.node("Relu", [g.node("Conv", [g.input(3, 6, 6), w])])
    proto = g.model(g.conv(x, 8, 5))
    flag = "" if guarded else "~"
    assert described(proto) == [f"{flag}8: gain0.0 v0.0 w0.1"]
    prove(proto, plain=False, equal=guarded)


def test_spectral_norm_keeps_nothing_and_is_not_exact():
    """One number, computed from all weights, divides them."""
    g = Builder()
    w = g.normal(8, 3, 3, 3, stem="raw")
    flat = g.reshape(w, [8, 27])
    u, v = g.normal(1, 8, stem="u"), g.normal(27, 1, stem="v")
    sigma = g.node("MatMul", [g.node("MatMul", [u, flat]), v])
    w = g.node("Div", [w, g.reshape(sigma, [1, 1, 1, 1])])
    x = g.node("Relu", [g.node("Conv", [g.input(3, 6, 6), w])])
    proto = g.model(g.conv(x, 8, 5))
    assert described(proto) == ["8: raw0.0 u0.1 w0.1"]
    prove(proto, plain=False)


def test_a_norm_over_a_kept_width_says_so():
    g = Builder()
    x = g.input(4, CHANNELS)
    y = g.node("LayerNormalization", [x, g.normal(CHANNELS, stem="gain")])
    y = linear(g, g.node("Relu", [linear(g, y, CHANNELS, 8)]), 8, 5)
    proto = g.model(y)
    assert described(proto) == ["8: b0.0 w0.1 w1.0"]
    assert "another operand" in kept(proto)["gain0.0"]
    prove(proto)
