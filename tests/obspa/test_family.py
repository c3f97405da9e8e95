"""Defaults by the kind of network, and language models: their text, their residual stream."""

import numpy as np
import onnx
import pytest

import spa
import spa.obspa
from spa.coupling.couple import couple
from spa.observe.layers import find_layers
from spa.observe.residual import find_joint, scaled_weights
from spa.obspa.calibration import calibrate
from spa.obspa.family import family_of
from spa.obspa.settings import Settings
from spa.obspa.writing import LENGTH
from tests.graphs import Builder, classifier, initializer

WORDS, WIDTH, HIDDEN = 23, 8, 24


def language_model(seed=0, length="T"):
    """Token ids (N, T) -> logits (N, T, WORDS): one block of causal attention and one MLP."""
    g = Builder(seed=seed)
    ids = g.input(length, name="ids", dtype=onnx.TensorProto.INT64)
    x = g.node("Gather", [g.normal(WORDS, WIDTH, stem="table"), ids])
    q, k, v = (g.node("MatMul", [x, g.normal(WIDTH, WIDTH)]) for _ in range(3))
    scores = g.node("MatMul", [q, g.node("Transpose", [k], perm=[0, 2, 1])])
    causal = g.node("Trilu", [scores], upper=0)
    y = g.node("MatMul", [g.node("Softmax", [causal], axis=-1), v])
    x = g.node("Add", [x, g.node("MatMul", [y, g.normal(WIDTH, WIDTH)])])
    y = g.node("Relu", [g.node("MatMul", [x, g.normal(WIDTH, HIDDEN, stem="up")])])
    y = g.node("MatMul", [y, g.normal(HIDDEN, WIDTH, stem="down")])
    x = g.node("Add", [x, g.node("Add", [y, g.normal(WIDTH, stem="b")])])
    return g.model(g.node("MatMul", [x, g.normal(WIDTH, WORDS)]), dims=[["N", length, WORDS]])


IDS = np.random.default_rng(0).integers(0, WORDS, (48, 16))


def test_families_are_told_from_the_graph():
    assert family_of(spa.load(classifier())) == "convolutional"
    assert family_of(spa.load(language_model())) == "transformer"


def test_defaults_follow_the_family_and_are_recorded():
    text = spa.obspa.prune(language_model(), ratio=0.2, calibration=IDS)
    chosen = text.plan.settings["obspa"]
    assert chosen["family"] == text.details["family"] == "transformer"
    assert text.plan.criterion == "obs"
    assert (chosen["target_outputs"], chosen["damping"]) == ("stream", "held-out")
    assert text.details["damping_median"] >= 0.1
    noise = spa.obspa.prune(language_model(), ratio=0.2, calibration="noise", samples=32)
    assert noise.plan.settings["obspa"]["damping"] == 1.0
    pictures = spa.obspa.prune(classifier(), ratio=0.2, calibration="noise", samples=16)
    chosen = pictures.plan.settings["obspa"]
    assert (chosen["selection"], chosen["target_outputs"], chosen["damping"]) == (
        "l1",
        "dense",
        0.01,
    )
    own = spa.obspa.prune(
        language_model(), ratio=0.2, calibration=IDS, selection="l1", damping=0.05,
        target_outputs="own",
    )  # fmt: skip
    chosen = own.plan.settings["obspa"]
    assert (chosen["selection"], chosen["target_outputs"], chosen["damping"]) == ("l1", "own", 0.05)


def test_where_a_layer_joins_the_stream():
    model = spa.load(language_model(), {"ids": (2, 5)})
    joints = {}
    for layer in find_layers(couple(model)).values():
        joints[layer.parameter] = find_joint(model, layer)
    assert joints["down0"] is not None  # through the bias
    first = joints["w3"]
    assert first is not None
    assert joints["down0"].earlier == first.joined
    assert [joints[name] for name in ("w0", "up0", "w4")] == [None, None, None]


def test_large_positions_count_less():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 6, 8))
    x[:, 0] *= 1000
    (weights,) = scaled_weights([x], [np.arange(24)])
    assert weights.mean() == pytest.approx(1.0)
    first = weights.reshape(4, 6)[:, 0]
    assert first.max() < 1e-4
    np.testing.assert_allclose(
        weights.reshape(4, 6)[:, 1:] * np.square(x[:, 1:]).mean(-1),
        np.full((4, 5), (weights * np.square(x).mean(-1).ravel()).mean()), rtol=0.5,
    )  # fmt: skip


def test_the_stream_is_brought_back_further_than_by_own_outputs():
    """Both blocks lose channels; the second one can make up for what the first one lost."""
    proto = language_model(3)
    errors = {}
    for target in ("own", "stream"):
        result = spa.obspa.prune(
            proto, ratio=0.5, calibration=IDS, target_outputs=target, damping=0.01,
            token_weights=False, limits=spa.Limits(scope="local"),
        )  # fmt: skip
        runs = [spa.graph.execute.run(p, {"ids": IDS})[0] for p in (proto, result.model)]
        errors[target] = np.square(runs[0] - runs[1]).mean()
    assert errors["stream"] < errors["own"]


def test_a_stream_that_moves_at_the_first_position_is_told():
    """What writes the first position goes."""
    proto = language_model(1)
    for tensor in proto.graph.initializer:
        if tensor.name in ("up0", "down0"):
            value = 40 * np.array(initializer(proto, tensor.name))
            tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))
    result = spa.obspa.prune(
        proto, ratio=0.6, calibration=IDS, refit=True, selection="random", damping=1e6,
        target_outputs="own", limits=spa.Limits(include=["up0"]),
    )  # fmt: skip
    assert any("first position moves" in note for note in result.plan.notes)
    quiet = spa.obspa.prune(
        language_model(1), ratio=0.05, calibration=IDS, limits=spa.Limits(include=["up0"])
    )
    assert not any("first position" in note for note in quiet.plan.notes)


# --- text that a model writes -------------------------------------------------------------------


def test_a_model_writes_its_own_text():
    model = spa.load(language_model())
    settings = Settings(samples=10, seed=3)
    texts = [np.concatenate(calibrate(model, "self", settings).inputs["ids"]) for _ in range(2)]
    assert texts[0].shape == (10, LENGTH)
    assert np.array_equal(*texts)  # by the seed
    assert texts[0].min() >= 0
    assert texts[0].max() < WORDS
    assert len({text.tobytes() for text in texts[0]}) == 10
    other = calibrate(model, "self", Settings(samples=10, seed=4))
    assert not np.array_equal(texts[0], np.concatenate(other.inputs["ids"]))


def test_tokens_are_drawn_as_the_model_says():
    """A model whose logits ask for the next number of the table writes that."""
    g = Builder()
    ids = g.input("T", name="ids", dtype=onnx.TensorProto.INT64)
    x = g.node("Gather", [g.weight(np.eye(WORDS, dtype=np.float32), "table"), ids])
    ahead = 50 * np.roll(np.eye(WORDS, dtype=np.float32), 1, axis=1)
    proto = g.model(g.node("MatMul", [x, g.weight(ahead)]), dims=[["N", "T", WORDS]])
    (text,) = calibrate(spa.load(proto), "self", Settings(samples=6)).inputs["ids"]
    assert ((text[:, 1:] - text[:, :-1]) % WORDS == 1).all()


def test_its_own_text_is_enough_to_prune_it():
    result = spa.obspa.prune(language_model(), ratio=0.2, calibration="self", samples=8)
    assert result.proof.equal
    assert result.details["calibration_used"] == "self"
    with pytest.raises(spa.SettingError, match="language model"):
        spa.obspa.prune(classifier(), ratio=0.2, calibration="self")
