"""LSTM, GRU and RNN: directions, states, peepholes, stacks, and what torch exports."""

import io

import numpy as np
import onnx
import pytest
import torch

import spa
from spa.errors import ModelError
from spa.graph.cost import measure_cost
from tests.coupling.cases import described, kept, prove
from tests.graphs import Builder, attribute, from_text, initializer, node_of

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
HIDDEN = 6


def layer(
    g: Builder, op: str, x: str, *, channels: int, directions: int = 1, bias: bool = True,
    lengths: str = "", h: str = "", c: str = "", peepholes: bool = False, outputs: int = 1, **attrs,
):  # fmt: skip
    """Adds a recurrent node of `HIDDEN` units; returns its outputs."""
    rows = GATES[op] * HIDDEN
    inputs = [
        x,
        g.normal(directions, rows, channels, stem="W"),
        g.normal(directions, rows, HIDDEN, stem="R"),
        g.normal(directions, 2 * rows, stem="B") if bias else "",
        lengths,
        h,
    ]
    if op == "LSTM":
        inputs += [c, g.normal(directions, 3 * HIDDEN, stem="P") if peepholes else ""]
    if directions == 2:
        attrs["direction"] = "bidirectional"
    names = [g.fresh("y") for _ in range(outputs)]
    return g.node(op, inputs, names, hidden_size=HIDDEN, **attrs)


def head(g: Builder, y: str, directions: int = 1) -> str:
    """Y (T, D, N, H) to (T, N, D*H), then a linear layer to 3."""
    y = g.reshape(g.node("Transpose", [y], perm=[0, 2, 1, 3]), [0, 0, -1])
    return g.node("MatMul", [y, g.normal(directions * HIDDEN, 3, stem="V")])


def read_in(g: Builder, channels: int = 4) -> str:
    """A sequence of 5 steps that a linear layer of its own makes, so that the inputs can shrink."""
    x = g.node("MatMul", [g.input(5, 3), g.normal(3, channels, stem="E")])
    return g.node("Transpose", [x], perm=[1, 0, 2])


def with_all(op: str, *, bias: bool, peepholes: bool) -> str:
    """The group of the hidden units of `layer` with a head of one direction."""
    gates = GATES[op]
    times = "" if gates == 1 else f"*{gates}"
    members = [f"R0.1{times}", "R0.2", f"W0.1{times}", "V0.0"]
    members += [f"B0.1*{2 * gates}"] if bias else []
    members += ["P0.1*3"] if peepholes else []
    return f"{HIDDEN}: {' '.join(sorted(members))}"


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("op", GATES)
def test_a_layer_of_one_direction(op, direction, bias):
    g = Builder()
    (y,) = layer(g, op, read_in(g), channels=4, bias=bias, direction=direction)
    proto = g.model(head(g, y))
    assert described(proto) == sorted(["4: E0.1 W0.2", with_all(op, bias=bias, peepholes=False)])
    pruned = prove(proto)
    gates = GATES[op]
    assert attribute(node_of(pruned, op), "hidden_size") == 3
    assert initializer(pruned, "W0").shape == (1, gates * 3, 2)
    assert initializer(pruned, "R0").shape == (1, gates * 3, 3)
    if bias:
        assert initializer(pruned, "B0").shape == (1, 2 * gates * 3)


@pytest.mark.parametrize("op", GATES)
def test_a_unit_of_both_directions_goes_at_once(op):
    g = Builder()
    (y,) = layer(g, op, read_in(g), channels=4, directions=2)
    proto = g.model(head(g, y, 2))
    times = "" if op == "RNN" else f"*{GATES[op]}"
    members = [f"B0.1*{2 * GATES[op]}", f"R0.1{times}", "R0.2", "V0.0*2", f"W0.1{times}"]
    assert described(proto) == ["4: E0.1 W0.2", f"6: {' '.join(sorted(members))}"]
    pruned = prove(proto)
    assert initializer(pruned, "V0").shape == (6, 3)
    assert initializer(pruned, "R0").shape[0] == 2


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 14, 22])
@pytest.mark.parametrize("op", GATES)
def test_every_opset(op, opset):
    g = Builder(opset)
    (y,) = layer(g, op, read_in(g), channels=4)
    prove(g.model(head(g, y)), seeds=(0,))


@pytest.mark.parametrize("directions", [1, 2])
def test_peepholes_go_with_their_units(directions):
    g = Builder()
    (y,) = layer(g, "LSTM", read_in(g), channels=4, directions=directions, peepholes=True)
    proto = g.model(head(g, y, directions))
    if directions == 1:
        assert with_all("LSTM", bias=True, peepholes=True) in described(proto)
    assert initializer(prove(proto), "P0").shape == (directions, 9)


@pytest.mark.parametrize("op", GATES)
def test_lengths_of_sequences(op):
    g = Builder(batch=3)
    x = read_in(g)
    g.inputs.append(onnx.helper.make_tensor_value_info("lengths", onnx.TensorProto.INT32, [3]))
    (y,) = layer(g, op, x, channels=4, lengths="lengths")
    prove(g.model(head(g, y)))


@pytest.mark.parametrize(
    ("op", "attrs"),
    [
        ("GRU", {"linear_before_reset": 1}),
        ("LSTM", {"clip": 0.5}),
        ("LSTM", {"input_forget": 1}),
        ("LSTM", {"activations": ["HardSigmoid", "Softsign", "Relu"]}),
        ("LSTM", {"activations": ["Sigmoid", "Sigmoid", "Softplus"]}),
        ("GRU", {"activations": ["Sigmoid", "Affine"], "activation_alpha": [0.7],
                 "activation_beta": [0.3]}),
        ("RNN", {"activations": ["Relu"]}),
        ("RNN", {"activations": ["Sigmoid"]}),
    ],
)  # fmt: skip
def test_attributes_change_nothing(op, attrs):
    """R's column goes with the unit, so what an idle unit gives reaches no other one."""
    g = Builder()
    (y,) = layer(g, op, read_in(g), channels=4, **attrs)
    proto = g.model(head(g, y))
    assert with_all(op, bias=True, peepholes=False) in described(proto)
    prove(proto)


@pytest.mark.parametrize(
    ("op", "attrs", "exact"),
    [
        ("LSTM", {}, True),
        ("LSTM", {"activations": ["Sigmoid", "Tanh", "Sigmoid"]}, False),
        ("LSTM", {"activations": ["Sigmoid", "Sigmoid", "Tanh"]}, False),
        ("GRU", {}, True),
        ("GRU", {"linear_before_reset": 1}, True),
        ("GRU", {"activations": ["Sigmoid", "Sigmoid"]}, False),
        ("RNN", {"activations": ["LeakyRelu"], "activation_alpha": [0.1]}, True),
        ("RNN", {"activations": ["HardSigmoid"]}, False),
    ],
)
def test_a_product_of_two_activations_needs_idle_units_at_zero(op, attrs, exact):
    """Scores of all pairs of steps: exact where removed units give zeros."""
    g = Builder()
    (y,) = layer(g, op, read_in(g), channels=4, **attrs)
    y = g.node("Transpose", [g.squeeze(y, [1])], perm=[1, 0, 2])  # (N, T, H)
    scores = g.node("MatMul", [y, g.node("Transpose", [y], perm=[0, 2, 1])])
    proto = g.model(scores)
    units = next(line for line in described(proto) if "R0.2" in line)
    assert units.startswith("6:" if exact else "~6:")
    prove(proto, equal=exact, plain=False)


@pytest.mark.parametrize("op", GATES)
def test_a_state_that_is_an_input_keeps_the_units(op):
    g = Builder(batch=2)
    x = read_in(g)
    states = ["h", "c"] if op == "LSTM" else ["h"]
    for name in states:
        g.inputs.append(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 2, HIDDEN])
        )
    (y,) = layer(g, op, x, channels=4, **dict.fromkeys(states, "") | {n: n for n in states})
    proto = g.model(head(g, y))
    assert described(proto) == ["4: E0.1 W0.2"]
    reasons = kept(proto)
    assert reasons["R0.2"].startswith("6 of 6: its initial state is given, and is as wide as it is")
    assert "W0.0" not in reasons
    prove(proto)


@pytest.mark.parametrize("op", GATES)
def test_a_state_that_is_an_output_keeps_the_units(op):
    g = Builder(batch=2)
    outputs = 3 if op == "LSTM" else 2
    y, *states = layer(g, op, read_in(g), channels=4, outputs=outputs)
    proto = g.model(head(g, y), *states)
    assert described(proto) == ["4: E0.1 W0.2"]
    assert kept(proto)["R0.2"].startswith("6 of 6: it is an output of the model")
    prove(proto)


@pytest.mark.parametrize("op", GATES)
def test_a_state_that_is_a_constant_goes_with_the_units(op):
    g = Builder(batch=2)
    x = read_in(g)
    states = {"h": g.normal(2, 2, HIDDEN, stem="h")}
    if op == "LSTM":
        states["c"] = g.normal(2, 2, HIDDEN, stem="c")
    (y,) = layer(g, op, x, channels=4, directions=2, **states)
    proto = g.model(head(g, y, 2))
    assert "h0.2" in described(proto)[1]
    pruned = prove(proto)
    assert initializer(pruned, "h0").shape == (2, 2, 3)


def _filled_states(g: Builder, x: str, how: str, layers: int) -> list[str]:
    """States of zeros for some layers, cut out of one tensor, as exporters write them."""
    size = g.node("Gather", [g.node("Shape", [x]), g.ints(1)], axis=0)
    shape = [g.ints([layers]), g.unsqueeze(size, [0]), g.ints([HIDDEN])]
    shape = g.node("Concat", shape, axis=0)
    if how == "fill":
        states = g.node("ConstantOfShape", [shape])
    else:
        zero = g.weight(np.zeros((), np.float32), "zero")
        states = g.node("Expand", [zero, shape])
    return [g.slice(states, i, i + 1, axis=0) for i in range(layers)]


@pytest.mark.parametrize("how", ["fill", "expand"])
@pytest.mark.parametrize("op", GATES)
def test_states_that_are_filled_to_the_batch_size_are_taken_out(op, how):
    """Stacked layers that share a tensor of zeros stay independent of each other."""
    g = Builder()
    x = read_in(g)
    states = _filled_states(g, x, how, 2)
    y = x
    for i, channels in enumerate((4, HIDDEN)):
        more = {"c": states[i]} if op == "LSTM" else {}
        (y,) = layer(g, op, y, channels=channels, h=states[i], **more)
        y = g.squeeze(y, [1])
    proto = g.model(g.node("MatMul", [y, g.normal(HIDDEN, 3, stem="V")]))
    lines = described(proto)
    assert [line[:2] for line in lines] == ["4:", "6:", "6:"]
    pruned = prove(proto)
    assert all(not any(node.input[5:]) for node in pruned.graph.node if node.op_type == op)
    assert not {"Shape", "ConstantOfShape", "Expand"} & {n.op_type for n in pruned.graph.node}


def test_a_learned_state_that_is_repeated_over_the_batch():
    text = """g (float[T,N,3] x) => (float[T,N,2] y) {
      s = Shape(x)
      n = Slice(s, one, two, zero)
      shape = Concat<axis=0>(one, n, six)
      h = Expand(H, shape)
      a, a_h = GRU<hidden_size=6>(x, W, R, B, , h)
      b = Squeeze(a, one)
      y = MatMul(b, V)
    }"""
    integers = {name: np.array([v]) for name, v in
                {"zero": 0, "one": 1, "two": 2, "six": 6}.items()}  # fmt: skip
    weights = {"H": (1, 1, 6), "W": (1, 18, 3), "R": (1, 18, 6), "B": (1, 36), "V": (6, 2)}
    proto = from_text(text, weights | integers)
    assert described(proto) == ["6: B.1*6 H.2 R.1*3 R.2 V.0 W.1*3"]
    prove(proto)


def test_a_state_filled_with_something_else_goes_with_the_units():
    g = Builder()
    x = read_in(g)
    size = g.node("Gather", [g.node("Shape", [x]), g.ints(1)], axis=0)
    shape = g.node("Concat", [g.ints([1]), g.unsqueeze(size, [0]), g.ints([HIDDEN])], axis=0)
    one = onnx.numpy_helper.from_array(np.ones(1, np.float32))
    h = g.node("ConstantOfShape", [shape], value=one)
    (y,) = layer(g, "RNN", x, channels=4, h=h)
    proto = g.model(head(g, y))
    assert "R0.2" not in kept(proto)
    prove(proto)


@pytest.mark.parametrize("op", GATES)
def test_an_encoder_hands_its_state_to_a_decoder(op):
    """Their hidden units are the same channels, and the removed ones hand over zeros."""
    g = Builder()
    x = read_in(g)
    outputs = 3 if op == "LSTM" else 2
    _, *states = layer(g, op, x, channels=4, outputs=outputs)
    (y,) = layer(g, op, x, channels=4, **dict(zip("hc", states, strict=False)))
    proto = g.model(head(g, y))
    assert len(described(proto)) == 2
    assert "R0.2" in described(proto)[1]
    assert "R1.2" in described(proto)[1]
    prove(proto)


@pytest.mark.parametrize("op", GATES)
def test_the_last_state_feeds_a_classifier(op):
    g = Builder()
    outputs = ["", "last"] + ([""] if op == "LSTM" else [])
    x = read_in(g)
    layer(g, op, x, channels=4, directions=2)
    g.nodes[-1].output[:] = outputs
    y = g.reshape(g.node("Transpose", ["last"], perm=[1, 0, 2]), [-1, 2 * HIDDEN])
    proto = g.model(g.gemm(y, 2 * HIDDEN, 3))
    assert len(described(proto)) == 2
    prove(proto)


def test_weights_that_are_put_together_in_the_graph():
    """Torch's gates are in another order, so some exporters cut and join W while the model runs."""
    g = Builder()
    w = g.normal(4 * HIDDEN, 4, stem="w")
    i, f, c, o = g.split(w, [HIDDEN] * 4, axis=0)
    whole = g.unsqueeze(g.node("Concat", [i, o, f, c], axis=0), [0])
    inputs = [read_in(g), whole, g.normal(1, 4 * HIDDEN, HIDDEN, stem="R")]
    (y,) = g.node("LSTM", inputs, ["y"], hidden_size=HIDDEN)
    proto = g.model(head(g, y))
    assert described(proto) == ["4: E0.1 w0.1", "6: R0.1*4 R0.2 V0.0 w0.0*4"]
    prove(proto, plain=False)


def test_the_cost_is_that_of_both_products():
    g = Builder(batch=2)
    (y,) = layer(g, "LSTM", read_in(g), channels=4, directions=2)
    proto = g.model(head(g, y, 2))
    # 5 steps; a linear layer in and out.
    both = 5 * 2 * 4 * HIDDEN * (4 + HIDDEN)
    assert measure_cost(spa.load(proto)).macs == 5 * 3 * 4 + both + 5 * 2 * HIDDEN * 3
    pruned = prove(proto, seeds=(0,))
    both = 5 * 2 * 4 * 3 * (2 + 3)
    assert measure_cost(spa.load(pruned)).macs == 5 * 3 * 2 + both + 5 * 2 * 3 * 3


def test_the_reached_cost_is_the_measured_one():
    g = Builder()
    (y,) = layer(g, "GRU", read_in(g), channels=4, directions=2)
    result = spa.prune(g.model(head(g, y, 2)), rf=1.8)
    measured = measure_cost(spa.load(result.model))
    assert (measured.macs, measured.params) == (result.pruned.macs, result.pruned.params)
    assert result.reached.rf >= 1.8


def test_batch_first_nodes_are_refused_with_the_runtime_s_reason():
    """ONNX Runtime runs no layout but 0; exporters write Transposes instead."""
    g = Builder(batch=2)
    (y,) = layer(g, "LSTM", g.input(5, 4), channels=4, bias=False, layout=1)
    with pytest.raises(ModelError, match="layout"):
        spa.load(g.model(y))


def test_a_quantised_lstm_stays_dense():
    g = Builder()
    x = g.node("Transpose", [g.node("MatMul", [g.input(5, 3), g.normal(3, 4)])], perm=[1, 0, 2])
    rng = np.random.default_rng(0)
    quantised = [
        g.weight(rng.integers(-90, 90, (1, rows, 24)).astype(np.int8), "q") for rows in (4, HIDDEN)
    ]
    scale = [g.weight(np.full(1, 0.01, np.float32), "s") for _ in range(2)]
    zero = [g.weight(np.zeros(1, np.int8), "z") for _ in range(2)]
    inputs = [x, *quantised, g.normal(1, 48), "", "", "", "", scale[0], zero[0], scale[1], zero[1]]
    (y,) = g.node("DynamicQuantizeLSTM", inputs, ["y"], hidden_size=HIDDEN, domain="com.microsoft")
    proto = g.model(head(g, y))
    assert described(proto) == []
    assert "com.microsoft::DynamicQuantizeLSTM" in kept(proto)["w0.1"]


# --- torch ---------------------------------------------------------------------------------------


class Tagger(torch.nn.Module):
    """A recurrent net over a sequence, with a linear layer in and out."""

    def __init__(self, kind: str, directions: int, layers: int, batch_first: bool) -> None:
        super().__init__()
        self.embed = torch.nn.Linear(3, 4)
        self.layer = getattr(torch.nn, kind)(
            4, 6, num_layers=layers, bidirectional=directions == 2, batch_first=batch_first
        )
        self.head = torch.nn.Linear(6 * directions, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(self.embed(x))[0])


def exported(module: torch.nn.Module, exporter: str, free: list[int]) -> onnx.ModelProto:
    """ONNX with the ``free`` axes of the input dynamic."""
    x = torch.randn(3, 7, 3)
    module.eval()
    names = {axis: f"size_{axis}" for axis in free}
    if exporter == "dynamo":
        program = torch.onnx.export(
            module, (x,), dynamo=True, verbose=False, dynamic_shapes=(names,) if free else None
        )
        return program.model_proto
    file = io.BytesIO()
    torch.onnx.export(
        module, (x,), file, dynamo=False, input_names=["x"], dynamic_axes={"x": names}
    )
    return onnx.load_from_string(file.getvalue())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
@pytest.mark.parametrize(
    ("kind", "directions", "layers", "batch_first"),
    [
        ("LSTM", 1, 1, False), ("LSTM", 2, 2, True), ("LSTM", 2, 1, False), ("LSTM", 1, 2, True),
        ("GRU", 1, 1, True), ("GRU", 2, 2, False), ("RNN", 1, 2, True), ("RNN", 2, 2, False),
    ],
)  # fmt: skip
def test_torch_exports(kind, directions, layers, batch_first, exporter):
    torch.manual_seed(0)
    module = Tagger(kind, directions, layers, batch_first)
    batch = 0 if batch_first else 1
    # Torch cannot export an RNN for sizes that vary with its new exporter, nor, with its old one,
    # stacked layers for a number of steps that varies.
    free = [batch] if exporter == "torchscript" or kind != "RNN" else []
    proto = exported(module, exporter, free)
    lines = described(proto)
    # Its new exporter unrolls an RNN into linear layers, whose directions share nothing.
    unrolled = kind == "RNN" and exporter == "dynamo"
    count = layers * directions if unrolled else layers
    assert sorted(int(line.split(":")[0]) for line in lines) == [4] + [6] * count
    prove(proto, plain=False, seeds=(0, 1))
