"""Channels that move, in every spelling: what goes together is what NumPy would say.

The numbers in the docstrings name the example of the wish list that a test stands for: 4 (Concat),
5 (Split, chunk, Reshape, Slice), 9 (broadcasting).
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from tests.coupling.cases import described, kept, prove
from tests.graphs import Builder, initializer, node_of

C = 8
ALL = ["8: b0.0 w0.0 w1.1"]


def _moved(move, *, batch: int | str = "N", opset: int = 17, width: int = C) -> onnx.ModelProto:
    """conv -> movement -> conv."""
    g = Builder(opset, batch=batch)
    x = move(g, g.conv(g.input(3, 4, 4), 3, C))
    return g.model(g.conv(x, width, 5))


def _added(move, *, batch: int | str = "N", opset: int = 17) -> onnx.ModelProto:
    """conv -> x + moved x -> conv: every channel is tied to the one that lands on it."""
    return _moved(lambda g, x: g.node("Add", [x, move(g, x)]), batch=batch, opset=opset)


def _wide(places: list[int]) -> np.ndarray:
    return np.broadcast_to(np.array(places).reshape(1, -1, 1, 1), (2, len(places), 4, 4))


# --- shuffles -------------------------------------------------------------------------------------

SHUFFLED = [0, 4, 1, 5, 2, 6, 3, 7]  # two groups of four, interleaved


def _shuffle_by_reshape(g: Builder, x: str) -> str:
    x = g.node("Transpose", [g.reshape(x, [-1, 2, 4, 4, 4])], perm=[0, 2, 1, 3, 4])
    return g.reshape(x, [-1, 8, 4, 4])


def _shuffle_by_flat_reshape(g: Builder, x: str) -> str:
    """ShuffleNet as some exporters write it: pixels flattened meanwhile."""
    x = g.node("Transpose", [g.reshape(x, [-1, 2, 4, 16])], perm=[0, 2, 1, 3])
    return g.reshape(x, [-1, 8, 4, 4])


def _shuffle_by_gather(g: Builder, x: str) -> str:
    return g.node("Gather", [x, g.ints(SHUFFLED)], axis=1)


def _shuffle_by_split(g: Builder, x: str) -> str:
    parts = g.split(x, [1] * 8)
    return g.node("Concat", [parts[i] for i in SHUFFLED], axis=1)


def _shuffle_by_stack(g: Builder, x: str) -> str:
    """torch.stack of two halves along a new axis, flattened."""
    halves = [g.unsqueeze(part, [2]) for part in g.split(x, [4, 4])]
    return g.reshape(g.node("Concat", halves, axis=2), [-1, 8, 4, 4])


def _shuffle_by_elements(g: Builder, x: str) -> str:
    return g.node("GatherElements", [x, g.weight(_wide(SHUFFLED), "k")], axis=1)


def _shuffle_by_einsum(g: Builder, x: str) -> str:
    x = g.node("Einsum", [g.reshape(x, [-1, 2, 4, 4, 4])], equation="nabhw->nbahw")
    return g.reshape(x, [-1, 8, 4, 4])


SHUFFLES = [_shuffle_by_reshape, _shuffle_by_flat_reshape, _shuffle_by_gather, _shuffle_by_stack,
            _shuffle_by_elements, _shuffle_by_einsum]  # fmt: skip


@pytest.mark.parametrize("shuffle", SHUFFLES)
def test_a_shuffle_alone(shuffle):
    """5: a view, a transposition and a view, or whatever says the same."""
    proto = _moved(shuffle, batch=2)
    # A grid of 2 x 4 may lose columns only (4 pairs); a list of places may lose any channel.
    free = shuffle in (_shuffle_by_gather, _shuffle_by_elements)
    expected = ALL if free else ["4: b0.0*2 w0.0*2 w1.1*2"]
    if shuffle is _shuffle_by_stack:
        expected = ["4: b0.0*2 w0.0*2 w1.1*2"]
    assert described(proto) == expected
    prove(proto)


@pytest.mark.parametrize("shuffle", [_shuffle_by_gather, _shuffle_by_elements])
def test_a_shuffle_added_to_what_it_came_from(shuffle):
    """The cycles of the permutation: {0}, {1, 2, 4}, {3, 5, 6}, {7}."""
    proto = _added(shuffle, batch=2)
    assert described(proto) == ["2: b0.0 w0.0 w1.1", "2: b0.0*3 w0.0*3 w1.1*3"]
    prove(proto)


def test_a_shuffle_by_single_channels_keeps_them():
    """Each part is one channel, which may not be emptied."""
    proto = _moved(_shuffle_by_split)
    assert described(proto) == []
    assert "empty a tensor" in kept(proto)["w0.0"]


def test_a_shuffle_between_grouped_convolutions():
    """ShuffleNet's unit: grouped, shuffled, depthwise, grouped."""
    g = Builder()
    x = g.conv(g.input(3, 4, 4), 3, 8, bias=False)
    x = g.conv(_shuffle_by_reshape(g, g.conv(x, 8, 8, k=1, group=2, bias=False)), 8, 8,
               group=8, bias=False)  # fmt: skip
    proto = g.model(g.conv(x, 8, 5, k=1, bias=False))
    assert described(proto) == ["4: w0.0*2 w1.1", "4: w1.0*2 w2.0*2 w3.1*2"]
    prove(proto)


# --- flips, rolls, orders -------------------------------------------------------------------------


def _flip_by_slice(g: Builder, x: str) -> str:
    return g.slice(x, -1, -(2**31), step=-1)


def _flip_by_gather(g: Builder, x: str) -> str:
    return g.node("Gather", [x, g.ints(range(7, -1, -1))], axis=1)


def _flip_by_reverse(g: Builder, x: str) -> str:
    return g.node("ReverseSequence", [x, g.ints([8, 8])], batch_axis=0, time_axis=1)


def _flip_by_elements(g: Builder, x: str) -> str:
    return g.node("GatherElements", [x, g.weight(_wide(list(range(7, -1, -1))), "k")], axis=1)


FLIPS = [_flip_by_slice, _flip_by_gather, _flip_by_reverse, _flip_by_elements]


@pytest.mark.parametrize("flip", FLIPS)
@pytest.mark.parametrize("added", [False, True])
def test_a_flip(flip, added):
    """5: torch.flip along the channels."""
    proto = (_added if added else _moved)(flip, batch=2)
    assert described(proto) == (["4: b0.0*2 w0.0*2 w1.1*2"] if added else ALL)
    prove(proto)


def _roll_by_slices(g: Builder, x: str) -> str:
    return g.node("Concat", [g.slice(x, 5, 2**31 - 1), g.slice(x, 0, 5)], axis=1)


def _roll_by_gather(g: Builder, x: str) -> str:
    return g.node("Gather", [x, g.ints([5, 6, 7, 0, 1, 2, 3, 4])], axis=1)


def _roll_by_split(g: Builder, x: str) -> str:
    first, last = g.split(x, [5, 3])
    return g.node("Concat", [last, first], axis=1)


@pytest.mark.parametrize("roll", [_roll_by_slices, _roll_by_gather, _roll_by_split])
def test_a_roll(roll):
    """5: torch.roll along the channels. What is cut up and joined loses no part whole."""
    proto = _moved(roll)
    parts = ["3: b0.0 w0.0 w1.1", "5: b0.0 w0.0 w1.1"]
    assert described(proto) == (ALL if roll is _roll_by_gather else parts)
    prove(proto)


@pytest.mark.parametrize("roll", [_roll_by_slices, _roll_by_gather, _roll_by_split])
def test_a_roll_added_to_what_it_came_from_ties_all_channels(roll):
    """3 and 8 have no common factor, so every channel lands on every other in the end."""
    proto = _added(roll)
    if roll is _roll_by_gather:
        assert described(proto) == ["1: b0.0*8 w0.0*8 w1.1*8"]
    else:
        assert described(proto) == []
        assert "empty a tensor" in kept(proto)["w0.0"]


def test_a_roll_by_half_ties_pairs():
    proto = _added(lambda g, x: g.node("Concat", g.split(x, [4, 4])[::-1], axis=1))
    assert described(proto) == ["4: b0.0*2 w0.0*2 w1.1*2"]
    prove(proto)


@pytest.mark.parametrize(
    ("places", "groups"),
    [
        ([0, 2, 4, 6], ["4: b0.0 w0.0", "4: b0.0 w0.0 w1.1"]),
        ([1, 4, 7], ["3: b0.0 w0.0 w1.1", "5: b0.0 w0.0"]),
        ([0, 0, 1, 1, 2, 2], ["3: b0.0 w0.0 w1.1*2", "5: b0.0 w0.0"]),
        ([3, 1, 3, 2], ["1: b0.0 w0.0 w1.1*2", "2: b0.0 w0.0 w1.1", "5: b0.0 w0.0"]),
        ([6, 2, 7, 0, 3, 1, 5, 4], ALL),
    ],
)
@pytest.mark.parametrize("op", ["Gather", "GatherND"])
def test_strided_repeated_and_other_orders(op, places, groups):
    """5: any indexing along the channels."""

    def move(g: Builder, x: str) -> str:
        if op == "Gather":
            return g.node("Gather", [x, g.ints(places)], axis=1)
        tuples = np.broadcast_to(np.array(places).reshape(1, -1, 1), (2, len(places), 1))
        return g.node("GatherND", [x, g.weight(tuples, "k")], batch_dims=1)

    proto = _moved(move, batch=2, width=len(places))
    assert described(proto) == groups
    prove(proto)


@pytest.mark.parametrize(("start", "end", "step"), [(0, 8, 2), (1, 8, 3), (7, -9, -2)])
def test_a_strided_slice(start, end, step):
    taken = len(range(8)[start : None if end == -9 else end : step])
    proto = _moved(lambda g, x: g.slice(x, start, end, step=step), width=taken)
    assert described(proto) == sorted([f"{taken}: b0.0 w0.0 w1.1", f"{8 - taken}: b0.0 w0.0"])
    prove(proto)


def test_even_and_odd_channels_put_back_together():
    """5: chunks that are strided, then joined: a shuffle of 4 x 2."""
    proto = _moved(
        lambda g, x: g.node("Concat", [g.slice(x, 0, 8, step=2), g.slice(x, 1, 8, step=2)], axis=1)
    )
    assert described(proto) == ["4: b0.0 w0.0 w1.1"] * 2
    prove(proto)


# --- padding --------------------------------------------------------------------------------------


def _option_a(g: Builder, x: str, how: str) -> str:
    """ResNet's shortcut of type A: every other pixel, and channels of zeros around."""
    x = g.slice(g.slice(x, 0, 2**31 - 1, axis=2, step=2), 0, 2**31 - 1, axis=3, step=2)
    if how == "pad":
        return g.pad(x, [0, 4, 0, 0, 0, 4, 0, 0])
    if how == "average":
        return g.pad(g.node("AveragePool", [x], kernel_shape=[1, 1]), [0, 4, 0, 0, 0, 4, 0, 0])
    if how == "negated":
        zeros = g.node("Sub", [x, x])
        return g.node("Concat", [x, zeros], axis=1)
    zeros = g.weight(np.zeros((2, 4, 2, 2), np.float32), "z")
    return g.node("Concat", [zeros, x, zeros], axis=1)


@pytest.mark.parametrize("how", ["pad", "average", "constant"])
def test_a_padded_shortcut(how):
    """4: channels of zeros go with those that they are added to."""
    g = Builder(batch=2)
    x = g.conv(g.input(3, 4, 4), 3, 8, bias=False)
    y = g.conv(g.node("Relu", [x]), 8, 16, stride=2, bias=False)
    proto = g.model(g.conv(g.node("Add", [y, _option_a(g, x, how)]), 16, 5, bias=False))
    padded = "8: w1.0 w2.1"
    if how == "constant":
        padded = "8: w1.0 w2.1 z0@*"
    lines = described(proto)
    assert lines[0] == "8: w0.0 w1.0 w1.1 w2.1" or lines[-1] == "8: w0.0 w1.0 w1.1 w2.1"
    assert len(lines) == (2 if how != "constant" else 3), padded
    prove(proto)


def test_a_shortcut_that_doubles_its_channels():
    g = Builder(batch=2)
    x = g.conv(g.input(3, 4, 4), 3, 8, bias=False)
    y = g.conv(g.node("Relu", [x]), 8, 16, stride=2, bias=False)
    proto = g.model(g.conv(g.node("Add", [y, _option_a(g, x, "negated")]), 16, 5, bias=False))
    assert described(proto) == ["8: w0.0 w1.0*2 w1.1 w2.1*2"]
    prove(proto, plain=False)  # a difference of two equal maps hides every change


# --- joining --------------------------------------------------------------------------------------


def test_a_chunk_gate():
    """5: half the channels gate the other half."""
    proto = _moved(lambda g, x: g.node("Mul", g.split(x, [4, 4])), width=4)
    assert described(proto) == ["4: b0.0*2 w0.0*2 w1.1"]
    prove(proto)


def test_a_chunk_of_which_one_half_goes_on():
    """5: C2f, whose second half feeds a bottleneck and all are joined."""
    g = Builder()
    x = g.conv(g.input(3, 4, 4), 3, 8, bias=False)
    a, b = g.split(x, [4, 4])
    c = g.node("Add", [b, g.conv(g.node("Relu", [g.conv(b, 4, 4, bias=False)]), 4, 4, bias=False)])
    proto = g.model(g.conv(g.node("Concat", [a, b, c], axis=1), 12, 5, bias=False))
    assert described(proto) == ["4: w0.0 w1.1 w2.0 w3.1*2", "4: w0.0 w3.1", "4: w1.0 w2.1"]
    prove(proto)


@pytest.mark.parametrize("times", [2, 3])
def test_one_tensor_joined_with_itself(times):
    """4: Torch-Pruning#146."""
    proto = _moved(lambda g, x: g.node("Concat", [x] * times, axis=1), width=8 * times)
    assert described(proto) == [f"8: b0.0 w0.0 w1.1*{times}"]
    prove(proto)


def test_unequal_branches_and_a_constant_part():
    """4: offsets are exact, whatever the parts' sizes; a constant part may lose channels too."""
    g = Builder(batch=2)
    x = g.input(3, 4, 4)
    parts = [g.conv(x, 3, 6, bias=False), g.normal(2, 3, 4, 4, stem="t"),
             g.conv(x, 3, 1, bias=False), g.conv(x, 3, 5, bias=False), x]  # fmt: skip
    proto = g.model(g.conv(g.node("Concat", parts, axis=1), 18, 4, bias=False))
    assert described(proto) == ["3: t0.1 w3.1", "5: w2.0 w3.1", "6: w0.0 w3.1"]
    assert kept(proto)["w3.1"].startswith("4 of 18")
    prove(proto)


def test_channels_written_into_a_slice():
    """``z = zeros; z[:, :8] = x; z[:, 8:] = y``: a Concat by assignment."""
    g = Builder(18, batch=2)
    x = g.input(3, 4, 4)
    z = g.weight(np.zeros((12, 2, 4, 4), np.float32), "z")
    for start, size in ((0, 8), (8, 4)):
        part = g.node("Transpose", [g.conv(x, 3, size, bias=False)], perm=[1, 0, 2, 3])
        places = g.weight(np.arange(start, start + size).reshape(-1, 1), "k")
        z = g.node("ScatterND", [z, places, part])
    z = g.node("Transpose", [z], perm=[1, 0, 2, 3])
    proto = g.model(g.conv(z, 12, 5, bias=False))
    assert described(proto) == ["4: w1.0 w2.1 z0.0", "8: w0.0 w2.1 z0.0"]
    prove(proto)


# --- repeating ------------------------------------------------------------------------------------


def _repeat_each(g: Builder, x: str) -> str:
    """repeat_interleave: 0 0 1 1 2 2 ..."""
    x = g.node("Expand", [g.unsqueeze(x, [2]), g.ints([1, 1, 2, 1, 1])])
    return g.reshape(x, [-1, 16, 4, 4])


def test_channels_repeated_one_by_one():
    proto = _moved(_repeat_each, width=16)
    assert described(proto) == ["8: b0.0 w0.0 w1.1*2"]
    pruned = prove(proto)
    assert initializer(pruned, "w1").shape[1] == 8


def test_channels_tiled():
    proto = _moved(lambda g, x: g.node("Tile", [x, g.ints([1, 2, 1, 1])]), width=16)
    assert described(proto) == ["8: b0.0 w0.0 w1.1*2"]
    prove(proto)


@pytest.mark.parametrize("how", ["Tile", "Expand", "Add", "Gather"])
def test_one_channel_repeated_to_many(how):
    """An axis that is made up: its entries go with what reads them, the channel stays."""
    g = Builder()
    x = g.input(3, 4, 4)
    one = g.conv(x, 3, 1, bias=False)
    if how == "Tile":
        y = g.node("Tile", [one, g.ints([1, 6, 1, 1])])
    elif how == "Expand":
        y = g.node("Expand", [one, g.ints([1, 6, 1, 1])])
    elif how == "Gather":
        y = g.node("Gather", [one, g.ints([0] * 6)], axis=1)
    else:
        y = g.node("Add", [one, g.normal(6, 1, 1, stem="t")])
    z = g.conv(g.node("Add", [y, g.conv(x, 3, 6, bias=False)]), 6, 5, bias=False)
    proto = g.model(z)
    table = "t0.0 " if how == "Add" else ""
    assert described(proto) == [f"6: {table}w1.0 w2.1"]
    prove(proto)


def test_one_channel_joined_with_itself_keeps_all_parts():
    """A Concat has no part of no channels."""
    g = Builder()
    x = g.input(3, 4, 4)
    y = g.node("Concat", [g.conv(x, 3, 1, bias=False)] * 6, axis=1)
    z = g.conv(g.node("Add", [y, g.conv(x, 3, 6, bias=False)]), 6, 5, bias=False)
    proto = g.model(g.conv(g.node("Relu", [z]), 5, 4, bias=False))
    assert described(proto) == ["5: w2.0 w3.1"]
    assert "kept" in kept(proto)["w1.0"]
    prove(proto)


# --- channels become another axis, and broadcasting -----------------------------------------------


def test_channels_become_pixels_of_a_convolution():
    """A window reaches over them, so they stay."""
    g = Builder()
    x = g.node("Transpose", [g.conv(g.input(3, 4, 4), 3, 8)], perm=[0, 2, 1, 3])
    proto = g.model(g.conv(x, 4, 5))
    assert described(proto) == []
    assert "a window reaches over this axis" in kept(proto)["w0.0"]


def test_channels_become_tokens_of_a_mixer():
    """Token mixing: what was the channel axis is contracted by the next weight, and back again."""
    g = Builder()
    x = g.reshape(g.conv(g.input(3, 4, 4), 3, 8, bias=False), [0, 8, 16])
    x = g.node("Transpose", [x], perm=[0, 2, 1])  # (N, T, C)
    x = g.node("MatMul", [x, g.normal(8, 6)])
    x = g.node("Transpose", [g.node("Relu", [x])], perm=[0, 2, 1])  # (N, 6, T)
    x = g.node("Relu", [g.node("MatMul", [x, g.normal(16, 10)])])
    proto = g.model(g.node("MatMul", [x, g.normal(10, 4)]))
    assert described(proto) == ["10: w2.1 w3.0", "8: w0.0 w1.0"]
    prove(proto)


@pytest.mark.parametrize("op", ["Mul", "Add", "Div", "Max"])
def test_a_mask_of_one_channel_couples_with_nothing(op):
    """9: Torch-Pruning#510."""
    g = Builder()
    x = g.input(3, 4, 4)
    features = g.conv(x, 3, 32)
    mask = g.node("Sigmoid", [g.conv(x, 3, 1)])
    proto = g.model(g.conv(g.node(op, [features, mask]), 32, 5))
    assert described(proto) == ["32: b0.0 w0.0 w2.1"]
    prove(proto)


def test_a_mask_of_one_channel_in_front_of_the_features():
    g = Builder()
    x = g.input(3, 4, 4)
    mask = g.node("Sigmoid", [g.conv(x, 3, 1)])
    proto = g.model(g.conv(g.node("Mul", [mask, g.conv(x, 3, 32)]), 32, 5))
    assert described(proto) == ["32: b1.0 w1.0 w2.1"]
    prove(proto)


def test_a_padded_shortcut_says_less_padding():
    """The number of padded channels that remain is written anew."""
    proto = _moved(lambda g, x: g.pad(x, [0, 3, 0, 0, 0, 1, 0, 0]), width=12)
    assert described(proto) == ["4: w1.1", "8: b0.0 w0.0 w1.1"]
    pruned = prove(proto)
    pads = initializer(pruned, node_of(pruned, "Pad").input[1])
    assert initializer(pruned, "w1").shape[1] == 4 + pads[1] + pads[5]
