"""Criteria, aggregation and normalisation, on the worked examples of the paper's figure."""

from __future__ import annotations

import numpy as np
import pytest

import spa
from spa.importance.aggregate import AGGREGATES, NORMALIZATIONS
from spa.importance.criterion import get, names
from spa.importance.values import Axes
from spa.importance.view import View
from spa.observe.data import data_for
from tests.graphs import Builder, classifier, from_text, initializer


def two_layers(w1: np.ndarray, w2: np.ndarray):
    text = "g (float[N,4] x) => (float[N,3] y) { h = MatMul(x, W1) y = MatMul(h, W2) }"
    return spa.load(from_text(text, {"W1": w1, "W2": w2}))


def test_the_figure_s_set_of_coupled_channels():
    """The figure's GeMMs: one channel of W1, of the activation between, and of W2."""
    model = two_layers(np.ones((4, 4), np.float32), np.ones((4, 3), np.float32))
    (group,) = spa.find_groups(model).groups
    assert group.channels == 4
    assert [(m.name, m.axis.axis) for m in group.members] == [("W1", 1), ("W2", 0)]
    assert [m.indices[1].tolist() for m in group.members] == [[1], [1]]


def test_the_figure_s_scores():
    """Sets of 0.33, 0.05, 0.47 and 0.14: at one half, those of 0.05 and 0.14 go."""
    shares = np.array([0.33, 0.05, 0.47, 0.14])
    w1 = np.tile(shares / 8, (4, 1)).astype(np.float32)
    w2 = np.tile(shares[:, None] / 6, (1, 3)).astype(np.float32)
    model = two_layers(w1, w2)
    groups = spa.find_groups(model)
    scores = spa.score(model, groups, "l1", aggregate="sum", normalize="none")
    assert scores.by_group[0] == pytest.approx(shares, rel=1e-5)
    plan = spa.make_plan(groups, scores, spa.Target(ratio=0.5))
    assert plan.groups[0].removed == (1, 3)


def test_slices_are_summed_and_members_aggregated():
    rng = np.random.default_rng(0)
    w1, w2 = (rng.standard_normal(shape).astype(np.float32) for shape in ((4, 4), (4, 3)))
    model = two_layers(w1, w2)
    groups = spa.find_groups(model)
    members = np.stack([np.abs(w1).sum(0), np.abs(w2).sum(1)])
    expected = {
        "sum": members.sum(0), "mean": members.mean(0), "max": members.max(0),
        "prod": members.prod(0), "first": members[0], "median": np.median(members, 0),
    }  # fmt: skip
    assert set(expected) == set(AGGREGATES)
    for name, values in expected.items():
        scores = spa.score(model, groups, "l1", aggregate=name, normalize="none")
        assert scores.by_group[0] == pytest.approx(values, rel=1e-5)
    squares = np.square(w1).sum(0) + np.square(w2).sum(1)
    scores = spa.score(model, groups, "l2", normalize="none")
    assert scores.by_group[0] == pytest.approx(squares, rel=1e-5)


def test_normalisations():
    values = np.array([1.0, 2.0, 5.0])
    expected = {
        "none": values, "sum": values / 8, "mean": values / (8 / 3), "max": values / 5,
        "minmax": (values - 1) / 4, "gaussian": (values - values.mean()) / values.std(),
        "lamp": [1 / 8, 2 / 7, 1],
    }  # fmt: skip
    assert set(expected) == set(NORMALIZATIONS)
    for name, want in expected.items():
        assert NORMALIZATIONS[name](values) == pytest.approx(want)
        # A group whose channels all score alike stays finite, and in order.
        assert np.isfinite(NORMALIZATIONS[name](np.zeros(3))).all()


def test_normalisation_keeps_the_order_of_signed_scores():
    values = np.array([-3.0, 0.5, 2.0, -0.1])
    for name in NORMALIZATIONS.keys() - {"lamp"}:  # which refuses them
        normalize = NORMALIZATIONS[name]
        assert np.array_equal(np.argsort(normalize(values)), np.argsort(values)), name


def test_a_flattened_channel_counts_all_its_columns():
    g = Builder()
    x = g.node("Flatten", [g.conv(g.input(3, 2, 2), 3, 4)])
    proto = g.model(g.gemm(x, 16, 3))
    model = spa.load(proto)
    groups = spa.find_groups(model)
    scores = spa.score(model, groups, "l1", normalize="none")
    conv, gemm = np.abs(initializer(proto, "w0")), np.abs(initializer(proto, "w1"))
    bias = np.abs(initializer(proto, "b0"))
    expected = conv.sum((1, 2, 3)) + bias + gemm.reshape(3, 4, 4).sum((0, 2))
    assert scores.by_group[0] == pytest.approx(expected, rel=1e-5)


def test_running_statistics_get_no_score():
    proto = classifier()
    before = spa.score(spa.load(proto), spa.find_groups(spa.load(proto)), normalize="none")
    means = {n.input[3] for n in proto.graph.node if n.op_type == "BatchNormalization"}
    for tensor in proto.graph.initializer:
        if tensor.name in means:
            array = initializer(proto, tensor.name) + 100
            tensor.raw_data = array.astype(np.float32).tobytes()
    after = spa.score(spa.load(proto), spa.find_groups(spa.load(proto)), normalize="none")
    for key, values in before.by_group.items():
        assert np.array_equal(values, after.by_group[key])


def test_random_follows_its_seed():
    model = spa.load(classifier())
    groups = spa.find_groups(model)
    one, two, other = (spa.score(model, groups, "random", seed=s).by_group for s in (1, 1, 2))
    assert all(np.array_equal(one[k], two[k]) for k in one)
    assert any(not np.array_equal(one[k], other[k]) for k in one)


def test_bn_scale_in_both_forms():
    """A BatchNormalization node, and the Mul and Add that some exporters write."""
    g = Builder()
    x = g.conv(g.input(3, 6, 6), 3, 8, bias=False)
    x = g.batch_norm(x, 8)
    x = g.conv(x, 8, 6, bias=False)
    scale = g.weight(np.linspace(1, 6, 6, dtype=np.float32).reshape(6, 1, 1), "gamma")
    x = g.node("Add", [g.node("Mul", [x, scale]), g.normal(6, 1, 1, stem="beta")])
    proto = g.model(g.conv(x, 6, 5))
    model = spa.load(proto)
    groups = spa.find_groups(model)
    scores = spa.score(model, groups, "bn_scale", normalize="none").by_group
    assert scores[0] == pytest.approx(np.abs(initializer(proto, "scale0")))
    assert scores[1] == pytest.approx(np.arange(1, 7))


def test_bn_scale_without_batch_norm_says_so():
    g = Builder()
    proto = g.model(g.conv(g.conv(g.input(3, 6, 6), 3, 8), 8, 5))
    with pytest.raises(spa.SettingError, match="batch norm"):
        spa.prune(proto, criterion="bn_scale", rf=1.5)


def test_groups_without_a_score_are_left_dense_and_named():
    g = Builder()
    x = g.batch_norm(g.conv(g.input(3, 6, 6), 3, 16), 16)
    proto = g.model(g.conv(g.conv(x, 16, 8), 8, 5))
    result = spa.prune(proto, criterion="bn_scale", rf=1.3)
    assert [len(group.removed) > 0 for group in result.plan.groups] == [True, False]
    assert "scores nothing in 1 of 2 groups" in result.plan.notes[0]


def test_snip_is_the_sensitivity_of_the_loss():
    """|w dL/dw| by finite differences of the loss, on a linear softmax model."""
    rng = np.random.default_rng(0)
    w1, w2 = (rng.standard_normal(shape).astype(np.float32) for shape in ((4, 4), (4, 3)))
    x, y = rng.standard_normal((8, 4)).astype(np.float32), rng.integers(0, 3, 8)

    def loss(a, b):
        logits = x.astype(np.float64) @ a @ b
        return np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(8), y])

    model = two_layers(w1, w2)
    got = elements(model, "snip", x, y)
    for name, array in (("W1", w1), ("W2", w2)):
        numeric = np.zeros(array.shape)
        for place in np.ndindex(array.shape):
            step = np.zeros(array.shape)
            step[place] = 1e-5
            pair = [(w1 + s * step, w2) if name == "W1" else (w1, w2 + s * step) for s in (1, -1)]
            numeric[place] = (loss(*pair[0]) - loss(*pair[1])) / 2e-5
        assert got[name] == pytest.approx(np.abs(array * numeric), abs=2e-4)


def elements(model, name, x, y, **options):
    """An element criterion's scores on labelled data."""
    view = View(model, spa.find_groups(model), data=data_for(model, (x, y)))
    return get(name).function(view, get(name).how(options)).of


def test_hessian_gradient_products_are_differences_of_gradients():
    rng = np.random.default_rng(1)
    w1, w2 = (rng.standard_normal(shape).astype(np.float32) for shape in ((4, 4), (4, 3)))
    x, y = rng.standard_normal((8, 4)).astype(np.float32), rng.integers(0, 3, 8)

    def gradient(a, b):
        logits = x.astype(np.float64) @ a @ b / 200
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        p[np.arange(8), y] -= 1
        p /= 8 * 200
        return x.T.astype(np.float64) @ (p @ b.T), (x @ a).T @ p

    model = two_layers(w1, w2)
    view = View(model, spa.find_groups(model), data=data_for(model, (x, y)))
    first, got = view.differentiated(temperature=200.0).products()
    g1, g2 = gradient(w1, w2)
    assert first["W1"] == pytest.approx(g1, rel=1e-4)
    h = 1e-1
    up, down = gradient(w1 + h * g1, w2 + h * g2), gradient(w1 - h * g1, w2 - h * g2)
    for name, hi, lo in zip(("W1", "W2"), up, down, strict=True):
        assert got[name] == pytest.approx((hi - lo) / (2 * h), rel=1e-2, abs=1e-9)


SEEING = [name for name in names() if get(name).needs.sees_data]


@pytest.mark.parametrize("criterion", SEEING)
def test_without_data_a_criterion_that_looks_at_some_stops(criterion):
    with pytest.raises(spa.SettingError, match="none was given"):
        spa.prune(classifier(widths=(16, 24, 32)), criterion=criterion, rf=1.5)


@pytest.mark.parametrize("criterion", SEEING)
def test_noise_is_taken_where_it_is_asked_for_and_the_plan_says_so(criterion):
    proto = classifier(widths=(16, 24, 32))
    result = spa.prune(proto, criterion=criterion, rf=1.3, data="noise")
    assert result.proof.equal
    assert result.plan.settings["scoring"]["data"] == "noise"
    assert result.plan.settings["scoring"]["samples"] == 64


def test_a_loss_is_not_guessed():
    """Half the mean square of a map of features is what nobody asked for."""
    g = Builder()
    proto = g.model(g.conv(g.node("Relu", [g.conv(g.input(3, 6, 6), 3, 8)]), 8, 4))
    with pytest.raises(spa.SettingError, match="Give another loss"):
        spa.prune(proto, criterion="snip", rf=1.3, data="noise")
    result = spa.prune(proto, criterion="snip", rf=1.3, data="noise", loss="outputs")
    assert result.plan.settings["scoring"]["loss"] == "outputs"
    x = np.random.default_rng(0).standard_normal((8, 3, 6, 6)).astype(np.float32)
    with pytest.raises(spa.SettingError, match="does not take outputs"):
        spa.prune(proto, criterion="snip", rf=1.3, data=(x, np.zeros((8, 2, 2), np.int64)))
    labels = np.zeros((8, 6, 6), np.int64)  # one for every place of the map
    result = spa.prune(proto, criterion="snip", rf=1.3, data=(x, labels))
    assert result.plan.settings["scoring"]["loss"] == "cross_entropy"


def test_options_are_checked_and_recorded():
    proto = classifier(widths=(16, 24, 32))
    with pytest.raises(spa.SettingError, match='no option "temprature"; it has cut, stat'):
        spa.prune(proto, criterion="grasp", options={"temprature": 1}, rf=1.3, data="noise")
    with pytest.raises(spa.SettingError, match="it has none"):
        spa.prune(proto, criterion="l1", options={"p": 3}, rf=1.3)
    result = spa.prune(proto, criterion="snip", options={"form": "gate"}, rf=1.3, data="noise")
    assert result.plan.settings["scoring"]["options"] == {"form": "gate"}
    with pytest.raises(spa.SettingError, match="nothing to aggregate"):
        spa.prune(proto, criterion="grasp", aggregate="max", rf=1.3, data="noise")


def test_a_function_is_a_criterion():
    """Written by a user, without a registry: keep what has large biases."""

    def by_bias(view: View) -> Axes:
        names = [name for name in view.model.counted_parameters if name.startswith("b")]
        return Axes({(n, 0): np.abs(view.model.array(n).astype(np.float64)) for n in names})

    proto = classifier(widths=(16, 24, 32))
    result = spa.prune(proto, criterion=by_bias, rf=1.3)
    assert result.plan.criterion == "by_bias"
    assert result.proof.equal


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ((4, 3, 8, 8), [0, 1, 2], "does not fit"),
        ((4, 3, 8), [0, 1, 2, 3], "does not fit"),
        ((4, 3, 8, 8), [[0], [1], [2], [3]], "labels .N, ....* are needed"),
        ((4, 3, 8, 8), [0, 1, 2, 5], "from 0 to 4"),
        ((4, 3, 8, 8), [0, 1, 2, -1], "from 0 to 4"),
    ],
)
def test_data_that_does_not_fit_is_refused(x, y, message):
    data = (np.zeros(x, np.float32), np.array(y))
    with pytest.raises(spa.SettingError, match=message):
        spa.prune(classifier(), criterion="snip", rf=1.5, data=data)


def test_unknown_names_offer_near_matches():
    model = spa.load(classifier())
    groups = spa.find_groups(model)
    with pytest.raises(spa.SettingError, match=r"Did you mean.*snip"):
        spa.score(model, groups, "snipp")
    with pytest.raises(spa.SettingError, match="median"):
        spa.score(model, groups, aggregate="medium")
    with pytest.raises(spa.SettingError, match="minmax"):
        spa.score(model, groups, normalize="min-max")
    assert set(names()) >= {"bn_scale", "grasp", "l1", "l2", "random", "snip"}


def test_scores_that_are_not_finite_are_refused():
    proto = classifier()
    weight = next(t for t in proto.graph.initializer if t.name == "w1")
    array = initializer(proto, "w1").copy()
    array[0, 0, 0, 0] = np.nan
    weight.raw_data = array.tobytes()
    with pytest.raises(spa.SettingError, match="not finite"):
        spa.prune(proto, rf=1.5)
