"""LSTM, GRU and RNN in PyTorch: equal to ONNX Runtime, and trainable."""

import numpy as np
import onnx
import pytest
import torch
from onnx.backend.test.case.node import collect_testcases
from oracle import compare, difference, one_op, run_onnx, run_torch

from spa.bridge import to_torch
from spa.errors import BridgeError

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
STEPS, BATCH, CHANNELS, HIDDEN = 5, 3, 4, 6


def case(
    op: str, directions: int = 1, *, opset: int = 14, bias: bool = True, lengths: bool = False,
    states: bool = False, peepholes: bool = False, outputs: int | None = None, seed: int = 0,
    **attrs,
) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:  # fmt: skip
    """A model of one node with its weights inside, and inputs for it."""
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    rows = GATES[op] * HIDDEN
    inputs = {"i0": draw(STEPS, BATCH, CHANNELS)}
    constants = {"i1": draw(directions, rows, CHANNELS), "i2": draw(directions, rows, HIDDEN)}
    if bias:
        constants["i3"] = draw(directions, 2 * rows)
    if lengths:
        inputs["i4"] = np.array([5, 2, 3], np.int32)
    if states:
        inputs["i5"] = draw(directions, BATCH, HIDDEN)
        if op == "LSTM":
            inputs["i6"] = draw(directions, BATCH, HIDDEN)
    if peepholes:
        constants["i7"] = draw(directions, 3 * HIDDEN)
    if directions == 2:
        attrs["direction"] = "bidirectional"
    count = outputs or (3 if op == "LSTM" else 2)
    return one_op(op, opset, inputs, constants, count, hidden_size=HIDDEN, **attrs), inputs


@pytest.mark.parametrize("states", [False, True])
@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", GATES)
def test_directions_lengths_and_states(op, direction, lengths, states):
    directions = 2 if direction == "bidirectional" else 1
    proto, inputs = case(op, directions, lengths=lengths, states=states, direction=direction)
    assert compare(proto, inputs) <= 1e-5


@pytest.mark.parametrize("opset", [7, 9, 13, 14, 22])
@pytest.mark.parametrize("op", GATES)
def test_every_opset(op, opset):
    assert compare(*case(op, opset=opset)) <= 1e-5


@pytest.mark.parametrize(
    ("op", "settings"),
    [
        ("LSTM", {"bias": False}),
        ("LSTM", {"peepholes": True, "states": True}),
        ("LSTM", {"peepholes": True, "directions": 2, "lengths": True}),
        ("LSTM", {"clip": 0.3}),
        ("LSTM", {"input_forget": 1}),
        ("LSTM", {"outputs": 1}),
        ("GRU", {"linear_before_reset": 1}),
        ("GRU", {"linear_before_reset": 1, "directions": 2, "lengths": True, "bias": False}),
        ("GRU", {"clip": 0.3}),
        ("RNN", {"bias": False}),
        ("RNN", {"clip": 0.3}),
    ],
)
def test_attributes_and_optional_inputs(op, settings):
    assert compare(*case(op, **settings)) <= 1e-5


@pytest.mark.parametrize(
    ("op", "names", "numbers"),
    [
        ("LSTM", ["HardSigmoid", "Softsign", "Relu"], {}),
        ("LSTM", ["HardSigmoid", "ScaledTanh", "Elu"],
         {"activation_alpha": [0.3, 1.2, 0.7], "activation_beta": [0.4, 0.8]}),
        ("GRU", ["Sigmoid", "LeakyRelu"], {"activation_alpha": [0.1]}),
        ("GRU", ["Softsign", "Softplus"], {}),
        ("RNN", ["Affine"], {"activation_alpha": [0.3], "activation_beta": [0.1]}),
        ("RNN", ["ThresholdedRelu"], {"activation_alpha": [0.2]}),
        ("RNN", ["Relu"], {}),
    ],
)  # fmt: skip
def test_activations(op, names, numbers):
    assert compare(*case(op, activations=names, **numbers)) <= 1e-5


def test_directions_may_have_activations_of_their_own():
    names = ["Sigmoid", "Tanh", "Tanh", "HardSigmoid", "Relu", "Softsign"]
    assert compare(*case("LSTM", 2, activations=names)) <= 1e-5


def test_an_unknown_activation_is_named():
    proto, _ = case("RNN", activations=["Swishy"])
    with pytest.raises(BridgeError, match="Swishy"):
        to_torch(proto)


def test_onnx_s_own_cases():
    """Batch-first layouts among them, which ONNX Runtime does not run."""
    seen = 0
    for entry in collect_testcases(None):
        if entry.model.graph.node[0].op_type not in GATES or len(entry.model.graph.node) > 1:
            continue
        net = to_torch(entry.model)
        for inputs, expected in entry.data_sets:
            found = run_torch(net, dict(zip(net.input_names, inputs, strict=True)))
            assert difference(found, expected) <= 1e-5, entry.name
            seen += 1
    assert seen >= 12


@pytest.mark.parametrize("op", GATES)
def test_gradients_are_those_of_torch_s_own_layer(op):
    """The same weights in torch's layer, whose gates are in another order."""
    proto, inputs = case(op, linear_before_reset=1) if op == "GRU" else case(op)
    net = to_torch(proto)
    order = {"LSTM": [0, 2, 3, 1], "GRU": [1, 0, 2], "RNN": [0]}[op]  # torch's gates among ours
    theirs = getattr(torch.nn, op)(CHANNELS, HIDDEN)

    def reordered(tensor: torch.Tensor) -> torch.Tensor:
        return torch.cat([tensor.chunk(GATES[op])[k] for k in order])

    weights = {name: net.weights[name] for name in ("i1", "i2", "i3")}
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(reordered(weights["i1"][0]))
        theirs.weight_hh_l0.copy_(reordered(weights["i2"][0]))
        of_inputs, of_states = weights["i3"][0].chunk(2)
        theirs.bias_ih_l0.copy_(reordered(of_inputs))
        theirs.bias_hh_l0.copy_(reordered(of_states))
    x = torch.from_numpy(inputs["i0"])
    y = net(x)[0].squeeze(1)
    torch.testing.assert_close(y, theirs(x)[0], rtol=1e-4, atol=1e-5)
    y.square().sum().backward()
    theirs(x)[0].square().sum().backward()
    gradients = [reordered(weights[name].grad[0]) for name in ("i1", "i2")]
    gradients += [reordered(half) for half in weights["i3"].grad[0].chunk(2)]
    for ours, parameter in zip(gradients, theirs.parameters(), strict=True):
        assert parameter.grad.abs().max() > 1e-3
        torch.testing.assert_close(ours, parameter.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_an_export_from_torch_is_pruned_trained_and_written_back(kind):
    """Stacked, bidirectional, batch first: through the whole chain."""
    import spa
    from spa.bridge import from_torch, to_onnx

    class Tagger(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = getattr(torch.nn, kind)(
                CHANNELS, HIDDEN, num_layers=2, bidirectional=True, batch_first=True
            )
            self.head = torch.nn.Linear(2 * HIDDEN, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.layer(x)[0][:, -1])

    torch.manual_seed(0)
    module, x = Tagger().eval(), torch.randn(4, STEPS, CHANNELS)
    proto = from_torch(module, x)
    assert kind in {node.op_type for node in proto.graph.node}
    with torch.no_grad():
        want = module(x).numpy()
    np.testing.assert_allclose(run_onnx(proto, {"input": x})[0], want, atol=1e-5)
    result = spa.prune(proto, rf=1.5)
    assert result.proof.equal
    net = to_torch(result.model)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    target = torch.randn(4, 3)
    losses = []
    for _ in range(20):
        loss = (net(x) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    trained = to_onnx(net, result.model)
    with torch.no_grad():
        want = net(x).numpy()
    np.testing.assert_allclose(run_onnx(trained, {"input": x})[0], want, atol=1e-5)
