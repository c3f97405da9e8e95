"""Unary operators pass channels on; binary ones align them; size 1 couples with nothing."""

import numpy as np
import pytest

from spa.coupling.rules.base import RULES
from spa.coupling.rules.elementwise import broadcasting, unary
from tests.coupling.cases import described, kept, prove
from tests.graphs import from_text

W = {"A": (8, 3, 3, 3), "B": (8, 3, 3, 3), "C": (5, 8, 1, 1)}


def _net(body: str, **weights):
    """Conv A gives a (and Conv B gives b), the body makes z of them, Conv C reads it."""
    second = "b = Conv<pads=[1,1,1,1]>(x, B)" if "B" in weights or ", b)" in body else ""
    text = f"""g (float[N,3,6,6] x) => (float[N,5,6,6] y) {{
      a = Conv<pads=[1,1,1,1]>(x, A)
      {second}
      {body}
      y = Conv(z, C)
    }}"""
    used = {k: v for k, v in W.items() if k != "B" or second}
    return from_text(text, {**used, **weights})


@pytest.mark.parametrize("op", ["Relu", "Sigmoid", "Tanh", "Abs", "Neg", "Exp", "Softplus",
                                "Elu", "LeakyRelu", "HardSigmoid", "HardSwish", "Erf", "Floor",
                                "Sign", "Softsign", "Identity", "Dropout", "Clip"])  # fmt: skip
def test_unary_operators_pass_channels(op):
    assert RULES[op] is unary
    proto = _net(f"z = {op}(a)")
    assert described(proto) == ["8: A.0 C.1"]
    prove(proto, plain=op not in ("Floor", "Sign", "Exp", "HardSigmoid"))


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Max", "Min", "Mean", "Sum"])
def test_two_branches_go_together(op):
    assert RULES[op] is broadcasting
    proto = _net(f"z = {op}(a, b)")
    assert described(proto) == ["8: A.0 B.0 C.1"]
    prove(proto)


@pytest.mark.parametrize("op", ["Max", "Sum", "Mean"])
def test_three_operands(op):
    proto = _net(f"c = Relu(a)\nz = {op}(a, c, b)")
    assert described(proto) == ["8: A.0 B.0 C.1"]
    prove(proto)


@pytest.mark.parametrize("op", ["Add", "Mul", "Div", "Pow", "Sub", "Max"])
@pytest.mark.parametrize("shape", [(8, 1, 1), (1, 8, 1, 1)])
@pytest.mark.parametrize("first", [False, True])
def test_a_vector_constant_goes_with_the_channels(op, shape, first):
    vector = (0.5 + np.random.default_rng(0).random(shape)).astype(np.float32)
    operands = "p, v" if not first else "v, p"
    proto = _net(f"s = Sigmoid(a)\np = Add(s, one)\nz = {op}({operands})", v=vector,
                 one=np.ones(1, np.float32))  # fmt: skip
    axis = len(shape) - 3
    assert described(proto) == [f"8: A.0 C.1 v.{axis}"]
    prove(proto, plain=op not in ("Pow", "Div"))


@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1), (1, 1, 1, 1), (6,), (6, 6), (1, 6, 1)])
def test_constants_of_size_1_on_the_channel_axis_couple_nothing(shape):
    value = np.random.default_rng(0).random(shape).astype(np.float32)
    proto = _net("z = Mul(a, v)", v=value)
    assert described(proto) == ["8: A.0 C.1"]
    prove(proto)


def test_a_mask_of_one_channel_times_32_channels_couples_nothing():
    """Torch-Pruning 510."""
    text = """g (float[N,3,6,6] x) => (float[N,5,6,6] y) {
      a = Conv<pads=[1,1,1,1]>(x, A)
      m = Conv<pads=[1,1,1,1]>(x, M)
      s = Sigmoid(m)
      z = Mul(a, s)
      y = Conv(z, C)
    }"""
    proto = from_text(text, {"A": (32, 3, 3, 3), "M": (1, 3, 3, 3), "C": (5, 32, 1, 1)})
    assert described(proto) == ["32: A.0 C.1"]
    prove(proto)


def test_a_gate_of_1x1_pixels_goes_with_the_channels():
    text = """g (float[N,3,6,6] x) => (float[N,5,6,6] y) {
      a = Conv<pads=[1,1,1,1]>(x, A)
      p = GlobalAveragePool(a)
      h = Conv(p, S, s)
      r = Relu(h)
      e = Conv(r, T, t)
      q = Sigmoid(e)
      z = Mul(a, q)
      y = Conv(z, C)
    }"""
    weights = {"A": (8, 3, 3, 3), "S": (4, 8, 1, 1), "s": (4,), "T": (8, 4, 1, 1), "t": (8,),
               "C": (5, 8, 1, 1)}  # fmt: skip
    proto = from_text(text, weights)
    assert described(proto) == ["4: S.0 T.1 s.0", "8: A.0 C.1 S.1 T.0 t.0"]
    prove(proto)


@pytest.mark.parametrize("op", ["Add", "Mul"])
def test_an_input_of_the_model_keeps_what_it_meets(op):
    text = f"""g (float[N,8,6,6] x) => (float[N,5,6,6] y) {{
      a = Conv<pads=[1,1,1,1]>(x, A)
      z = {op}(a, x)
      y = Conv(z, C)
    }}"""
    proto = from_text(text, {"A": (8, 8, 3, 3), "C": (5, 8, 1, 1)})
    assert described(proto) == []
    assert kept(proto)["A.0"].startswith("8 of 8: another operand's axis")


def test_an_output_of_the_model_is_kept_and_so_is_what_it_meets():
    text = """g (float[N,3,6,6] x) => (float[N,5,6,6] y, float[N,8,6,6] z) {
      a = Conv<pads=[1,1,1,1]>(x, A)
      b = Conv<pads=[1,1,1,1]>(x, B)
      z = Add(a, b)
      y = Conv(z, C)
    }"""
    proto = from_text(text, W)
    assert described(proto) == []
    assert kept(proto)["B.0"] == "8 of 8: it is an output of the model"


@pytest.mark.parametrize("operands", ["c, a, b", "c, b, a", "c, a, k", "c, k, a", "c, a, v"])
def test_where(operands):
    body = f"zero = Constant<value_float=0.0>()\nc = Greater(a, zero)\nz = Where({operands})"
    extra = {"k": np.array(0.3, np.float32), "v": (8, 1, 1), "b": (8, 3, 3, 3)}
    extra = {name.replace("b", "B"): v for name, v in extra.items() if name in operands}
    proto = _net(body, **extra)
    both = " B.0" if "b" in operands else ""
    vector = " v.0" if "v" in operands else ""
    assert described(proto) == [f"8: A.0{both} C.1{vector}"]
    prove(proto, plain=False)


def test_a_condition_of_the_mask_kind_couples_nothing():
    mask = np.eye(6, dtype=bool)[None, None]
    proto = _net("z = Where(c, a, k)", c=mask, k=np.array(0.3, np.float32))
    assert described(proto) == ["8: A.0 C.1"]
    prove(proto)


@pytest.mark.parametrize("shape", [(8, 1, 1), (1,), (8, 6, 6)])
def test_prelu(shape):
    proto = _net("z = PRelu(a, s)", s=shape)
    slope = " s.0" if shape[0] == 8 else ""
    assert described(proto) == [f"8: A.0 C.1{slope}"]
    prove(proto)


def test_a_constant_of_the_whole_map_goes_along_the_channels():
    proto = _net("z = Add(a, p)", p=(1, 8, 6, 6))
    assert described(proto) == ["8: A.0 C.1 p.1"]
    prove(proto)


def test_a_vector_shared_by_coincidence_is_cut_apart():
    """Exporters merge equal tensors: one tensor of ones scales two layers of the same width."""
    text = """g (float[N,3,6,6] x) => (float[N,5,6,6] y) {
      a = Conv<pads=[1,1,1,1]>(x, A, v)
      r = Relu(a)
      b = Conv<pads=[1,1,1,1]>(r, B, v)
      s = Relu(b)
      y = Conv(s, C)
    }"""
    proto = from_text(text, {**W, "B": (8, 8, 3, 3), "v": np.ones(8, np.float32)})
    assert described(proto) == ["8: A.0 B.1 v@0.0", "8: B.0 C.1 v@2.0"]
    prove(proto)


def test_a_matrix_shared_by_coincidence_is_cut_apart_when_all_its_values_are_equal():
    text = """g (float[N,3,6,6] x) => (float[N,5,6,6] y) {
      a = Conv<pads=[1,1,1,1]>(x, A)
      m = Add(a, p)
      r = Relu(m)
      b = Conv<pads=[1,1,1,1]>(r, B)
      n = Add(b, p)
      s = Relu(n)
      y = Conv(s, C)
    }"""
    values = np.full((1, 8, 6, 6), 0.1, np.float32)
    proto = from_text(text, {**W, "B": (8, 8, 3, 3), "p": values})
    assert described(proto) == ["8: A.0 B.1 p@1.1", "8: B.0 C.1 p@4.1"]
    prove(proto)
    values[0, 0, 0, 0] = 0.2  # now it is one table, tied on purpose
    proto = from_text(text, {**W, "B": (8, 8, 3, 3), "p": values})
    assert described(proto) == ["8: A.0 B.0 B.1 C.1 p.1"]
    prove(proto)


def test_casts_there_and_back():
    proto = _net("d = Cast<to=11>(a)\ne = Neg(d)\nz = Cast<to=1>(e)")
    assert described(proto) == ["8: A.0 C.1"]
    prove(proto)
