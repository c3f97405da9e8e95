"""Below which difference a value next to zero says nothing, and how that is handed on."""

import numpy as np
import pytest

import spa
from spa.pruning.proof.floors import UNITS, floors
from tests.graphs import from_text

LAST_BIT = UNITS * float(np.finfo(np.float32).eps)


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
    ],
)
def test_what_is_handed_on(steps, expected):
    text = f"g (float[N,4] x) => (float[N,4] y) {{ u = MatMul(x, W) s = Sigmoid(u) {steps} }}"
    arrays = {"W": np.eye(4, dtype=np.float32), "half": np.float32([0.5])}
    model = spa.load(from_text(text, {k: v for k, v in arrays.items() if f"{k})" in text}))
    assert floors(model).get("y", 0.0) == pytest.approx(expected * LAST_BIT)
