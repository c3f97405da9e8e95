"""Below which difference a value next to zero says nothing, and how that is handed on."""

import numpy as np
import pytest

import spa
from spa.errors import VerificationError
from spa.pruning.proof.closeness import compare
from spa.pruning.proof.floors import NONE, UNITS, Floor, floors
from tests.graphs import from_text

LAST_BIT = UNITS * float(np.finfo(np.float32).eps)


def _model(text):
    """Of a square input, so that it can be multiplied with itself."""
    arrays = {
        "W": np.eye(4, dtype=np.float32),
        "half": np.float32([0.5]),
        "zero": np.float32([0]),
    }
    used = {k: v for k, v in arrays.items() if f"{k})" in text or f"{k}," in text}
    return spa.load(from_text(text, used))


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ("y = Neg(s)", 1.0),
        ("m = ReduceMean(s) y = Add(m, u)", 1.0),
        ("y = Mul(s, half)", 0.5),
        ("t = Tanh(u) y = Mul(s, t)", 2.0),  # both may be off
        ("t = Tanh(u) i = Mul(s, t) c = Add(i, u) o = Tanh(c) y = Mul(s, o)", 2.0),
        ("y = Mul(s, u)", 0.0),  # as large as u, which nobody knows
        ("y = Exp(s)", 0.0),
        ("p = Softmax(u) c = Identity(p) y = MatMul(c, s)", 1.0),
        ("p = Softmax(u) n = IsNaN(p) c = Where(n, zero, p) y = MatMul(c, s)", 1.0),
        ("p = Softmax<axis=0>(u) y = MatMul(p, s)", 0.0),  # rows may sum up to anything
        ("p = Softmax(u) y = MatMul(s, p)", 0.0),
    ],
)
def test_what_is_handed_on(steps, expected):
    text = f"g (float[4,4] x) => (float[4,4] y) {{ u = MatMul(x, W) s = Sigmoid(u) {steps} }}"
    model = _model(text)
    assert floors(model).get("y", NONE).flat == pytest.approx(expected * LAST_BIT)


def _gated():
    text = "g (float[4,4] x) => (float[4,4] y) { u = MatMul(x, W) s = Sigmoid(u) y = Mul(s, u) }"
    return floors(_model(text))


def test_a_shut_gate_is_off_by_what_it_shuts_out():
    assert _gated()["y"] == Floor(0.0, (("u", LAST_BIT),))
    sizes = np.float32([[-200, 3, np.inf, 0]])
    assert Floor(1.0, (("u", 0.5),)).among({"u": sizes}).tolist() == [[101, 2.5, 1, 1]]
    assert Floor(1.0, (("u", 0.5),)).among({}) == 1.0


@pytest.mark.parametrize("entry", [0, 1])
def test_no_entry_is_off_by_what_another_shuts_out(entry):
    """Of two that are nearly 0, one stands for -200 behind a gate, and the other for -1e-3."""
    u = np.float32([[-200, -1e-3], [4, 4], [5, 6], [7, 8]])
    want = {"u": u, "y": np.float32([[-4e-5, -4e-5], [4, 4], [5, 6], [7, 8]])}
    have = {name: value.copy() for name, value in want.items()}
    have["y"][0, entry] -= 200 * LAST_BIT / UNITS

    def compared():
        return compare(want, have, "it", 1e-7, tuple, (), _gated())

    if entry:
        with pytest.raises(VerificationError, match="rounding allows"):
            compared()
    else:
        compared()


def test_attention_over_gates_is_off_by_their_last_bit():
    """A gate that gives exactly 0 in one place gives a last bit of 1 in another."""
    steps = "u = MatMul(x, W) s = Sigmoid(u) p = Softmax(u) y = MatMul(p, s)"
    known = floors(_model(f"g (float[4,4] x) => (float[4,4] y) {{ {steps} }}"))
    want = {"y": np.float32([[0, 1, 1, 1]] * 4)}
    have = {"y": want["y"] + np.float32([[3e-8, 0, 0, 0]])}
    compare(want, have, "it", 1e-9, tuple, (), known)
    have["y"][0, 0] += 1e-6
    with pytest.raises(VerificationError, match="rounding allows"):
        compare(want, have, "it", 1e-9, tuple, (), known)
