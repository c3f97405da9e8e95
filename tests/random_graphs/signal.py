"""Spectra, windows and determinants, over tokens; features pass or are contracted before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from tests.graphs import Builder
from tests.random_graphs.registry import (
    Draw,
    Tokens,
    block,
    flip,
    linear,
    one_of,
    permute,
    scalar,
)

WINDOWS = ("BlackmanWindow", "HammingWindow", "HannWindow")


@block(Tokens, since=17)
def spectrum(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """The real part of every feature's spectrum over the tokens."""
    y = g.unsqueeze(permute(g, x.name, 0, 2, 1), [3])  # (N, D, T, 1)
    if g.opset >= 20:
        axis = g.weight(np.array(one_of(draw, 2, -2), np.int64), "axis", "initializer")
        y = g.node("DFT", [y, "", axis])
    else:
        y = g.node("DFT", [y], axis=2)
    y = g.node("Gather", [y, g.ints(0)], axis=3)
    y = permute(g, y, 0, 2, 1)
    return replace(x, name=g.node("Mul", [y, scalar(g, 0.2)]))


@block(Tokens, since=17, sized=True)
def short_spectra(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """What windows of one mixed feature hold gates all tokens."""
    if x.count < 4:
        return x
    window = g.node(one_of(draw, *WINDOWS), [g.ints(4)], periodic=draw(st.integers(0, 1)))
    signal = linear(g, draw, x.name, x.width, 1)  # (N, T, 1)
    y = g.node("STFT", [signal, g.ints(2), window, g.ints(4)])  # (N, frames, F, 2)
    mean = g.reduce("ReduceMean", y, [1, 2, 3], keepdims=0)
    gate = g.unsqueeze(g.node("Sigmoid", [mean]), [1, 2])
    return replace(x, name=g.node("Mul", [x.name, gate]))


@block(Tokens, since=17)
def mel_bands(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """Eight samples' spectrum to four bands, by a matrix that an operator makes."""
    low, high = (g.weight(np.float32(v), "edge", "initializer") for v in (100.0, 4000.0))
    matrix = g.node("MelWeightMatrix", [g.ints(4), g.ints(8), g.ints(8000), low, high])
    y = linear(g, draw, x.name, x.width, 5)
    return replace(x, name=g.node("MatMul", [y, matrix]), width=4)


@block(Tokens, since=11, plain=False)
def volume(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """The determinant of a small matrix of products, added to all tokens."""
    y = linear(g, draw, x.name, x.width, 2)
    if flip(draw):
        y = g.node("Tanh", [y])
    gram = g.node("MatMul", [permute(g, y, 0, 2, 1), y])  # (N, 2, 2)
    # Without it the matrix may be singular, and its determinant is what rounding leaves.
    gram = g.node("Add", [gram, g.weight(np.eye(2, dtype=np.float32), "eye", "initializer")])
    det = g.unsqueeze(g.node("Det", [gram]), [1, 2])
    return replace(x, name=g.node("Add", [x.name, g.node("Tanh", [det])]))
