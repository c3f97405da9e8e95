"""The walk, on small networks in which it is known what can be restored."""

import numpy as np
import onnx
import pytest

import spa
from spa.coupling.couple import Cut
from spa.coupling.groups import find_groups
from spa.graph.execute import run
from spa.observe.gram import strength, sums_of
from spa.observe.layers import find_layers
from spa.observe.rows import all_rows
from spa.obspa.calibration import calibrate
from spa.obspa.reconstruct import reconstruct
from spa.obspa.score import scores_of
from spa.obspa.settings import Settings
from spa.obspa.update import refit
from spa.pruning.comparison import zeroed
from spa.pruning.surgery import cut_model
from spa.pruning.verify import verify_cut
from tests.graphs import Builder, initializer

FINE = Settings(damping=1e-9, samples=64, intercept=False)


def walk(proto, channels, settings=FINE, source="noise"):
    """Refits a model whose groups lose channels; ``channels`` is by parameter name, axis 0."""
    model = spa.load(proto)
    groups = find_groups(model)
    gone = np.zeros(groups.coupling.components.kept.size, dtype=bool)
    for group in groups.groups:
        for member in group.members:
            if member.axis.axis == 0 and member.name in channels:
                holds = np.isin(member.indices, channels[member.name]).any(axis=1)
                gone[group.components[holds]] = True
    cut = Cut(groups.coupling, gone[groups.coupling.components.of])
    made = calibrate(model, source, settings)
    return model, cut, made, reconstruct(model, cut, made, settings)


def samples_of(made):
    return np.concatenate(made.inputs["x"])


def outputs(proto, x):
    return run(proto, {"x": x})[0]


def planted(seed=0):
    """A residual net in which channels 4 to 7 are multiples of channels 0 to 3, before the ReLU."""
    rng = np.random.default_rng(seed)
    factors = rng.uniform(0.5, 2.0, 4).astype(np.float32)

    def redundant(*shape):
        w = (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
        w[4:8] = w[:4] * factors.reshape(-1, *[1] * (len(shape) - 1))
        return w

    g = Builder(seed=seed)
    x = g.input(3, 6, 6)
    stem = g.weight(redundant(8, 3, 3, 3), "stem")
    x = g.node("Relu", [g.node("Conv", [x, stem], pads=[1, 1, 1, 1])])
    inner = g.weight(redundant(8, 8, 3, 3), "inner")
    y = g.node("Relu", [g.node("Conv", [x, inner], pads=[1, 1, 1, 1])])
    last = g.weight(redundant(8, 8, 3, 3), "last")
    y = g.node("Conv", [y, last], pads=[1, 1, 1, 1])
    x = g.node("Relu", [g.node("Add", [x, y])])
    x = g.node("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])
    y = g.gemm(g.node("Flatten", [x]), 8 * 9, 5)
    return g.model(y, dims=[["N", 5]])


@pytest.mark.parametrize("target_outputs", ["dense", "own"])
def test_redundant_channels_are_made_up_for(target_outputs):
    proto = planted()
    settings = Settings(damping=1e-9, samples=256, target_outputs=target_outputs)
    doomed = {"stem0": [4, 5, 6, 7], "inner0": [4, 5, 6, 7]}
    model, cut, _, rebuilt = walk(proto, doomed, settings)
    assert rebuilt.updated == ("inner0", "last0", "w0")
    assert rebuilt.notes == ()
    x = np.random.default_rng(5).standard_normal((16, 3, 6, 6)).astype(np.float32)
    dense = outputs(proto, x)
    scale = np.abs(dense).max()
    changed = model.with_weights(rebuilt.proto)
    smaller = cut_model(changed, cut)
    assert initializer(smaller, "inner0").shape == (4, 4, 3, 3)
    assert np.abs(outputs(smaller, x) - dense).max() < 2e-3 * scale
    assert np.abs(outputs(zeroed(model, cut), x) - dense).max() > 0.1 * scale
    proof = verify_cut(changed, smaller, cut, find_groups(model))
    assert proof.equal


def chain(seed=0):
    """Three convolutions and nothing else but ReLUs."""
    g = Builder(seed=seed)
    x = g.input(3, 7, 7)
    x = g.node("Relu", [g.conv(x, 3, 6, bias=False)])
    x = g.node("Relu", [g.conv(x, 6, 6, bias=False)])
    return g.model(g.conv(x, 6, 4, bias=False), dims=[["N", 4, 7, 7]])


def with_weights(proto, **values):
    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    for tensor in changed.graph.initializer:
        if tensor.name in values:
            tensor.CopyFrom(onnx.numpy_helper.from_array(values[tensor.name], tensor.name))
    return changed


def activation(proto, name, x):
    probed = onnx.ModelProto()
    probed.CopyFrom(proto)
    probed.graph.output.append(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
    )
    return run(probed, {"x": x})[-1]


def test_a_layer_learns_from_refitted_predecessors_with_doomed_channels_alive():
    """The same walk by hand, through ONNX Runtime, one layer at a time."""
    proto = chain()
    settings = Settings(
        samples=8, target_outputs="own", columns=10**6, damping=0.01, intercept=False
    )
    model, _, made, rebuilt = walk(proto, {"w0": [1, 4], "w1": [0, 5]}, settings)
    x = samples_of(made)
    layers = list(find_layers(spa.find_groups(model).coupling).values())
    current = proto
    for layer, removed, name in ((layers[1], [1, 4], "w1"), (layers[2], [0, 5], "w2")):
        seen = activation(current, layer.node.inputs[0], x)
        # What is doomed is alive on the way in: otherwise there would be nothing to learn.
        assert all(np.abs(seen[:, channel]).max() > 0 for channel in removed)
        sums = sums_of(all_rows(layer, seen, 10**6, 0)[0])
        keep = np.repeat(~np.isin(np.arange(6), removed), 9)
        w = initializer(current, name)
        lam = strength(sums.diagonal, settings.damping)
        new = refit(layer.blocks(w)[0], sums, keep, lam, intercept=False).weight
        new = layer.weight_of(new[None], w.shape)
        current = with_weights(current, **{name: new})
    for name in ("w0", "w1", "w2"):
        np.testing.assert_allclose(
            initializer(rebuilt.proto, name), initializer(current, name), rtol=1e-3, atol=1e-4
        )
    refitted, old = initializer(rebuilt.proto, "w1"), initializer(proto, "w1")
    kept = [0, 2, 3, 5]
    assert np.abs(refitted[:, kept] - old[:, kept]).max() > 0.01, "the update is not zero"
    assert np.abs(refitted[[0, 5]][:, kept]).max() > 0.01, "doomed outputs are still there"
    assert not refitted[:, [1, 4]].any()


def test_the_dense_target_undoes_more_than_the_own_one():
    proto = chain(3)
    x = np.random.default_rng(9).standard_normal((32, 3, 7, 7)).astype(np.float32)
    dense = outputs(proto, x)
    errors = {}
    for target in ("own", "dense"):
        settings = Settings(samples=64, target_outputs=target)
        model, cut, _, rebuilt = walk(proto, {"w0": [1, 4], "w1": [0, 5]}, settings)
        smaller = cut_model(model.with_weights(rebuilt.proto), cut)
        errors[target] = np.square(outputs(smaller, x) - dense).mean()
    assert errors["dense"] < errors["own"]
    assert errors["own"] < np.square(outputs(zeroed(model, cut), x) - dense).mean()


def test_one_gram_matrix_per_group_of_a_grouped_convolution():
    rng = np.random.default_rng(0)
    g = Builder()
    x = g.input(3, 6, 6)
    w = rng.standard_normal((8, 3, 3, 3)).astype(np.float32)
    w[[3, 7]] = 1.5 * w[[0, 4]]  # the last channel of both groups can be made up for
    x = g.node("Relu", [g.node("Conv", [x, g.weight(w, "first")], pads=[1, 1, 1, 1])])
    x = g.conv(x, 8, 6, group=2)
    proto = g.model(g.conv(x, 6, 4), dims=[["N", 4, 6, 6]])
    model, cut, _, rebuilt = walk(proto, {"first0": [3, 7]})
    assert rebuilt.updated == ("w0",)
    smaller = cut_model(model.with_weights(rebuilt.proto), cut)
    assert initializer(smaller, "w0").shape == (6, 3, 3, 3)
    x = rng.standard_normal((8, 3, 6, 6)).astype(np.float32)
    dense = outputs(proto, x)
    np.testing.assert_allclose(outputs(smaller, x), dense, atol=2e-3 * np.abs(dense).max())


def test_transposed_and_constant_weights_are_refitted():
    for storage in ("initializer", "constant", "identity", "input"):
        rng = np.random.default_rng(0)
        g = Builder(storage=storage)
        x = g.input(5)
        first = rng.standard_normal((8, 5)).astype(np.float32)
        first[6:] = 2 * first[:2]
        first = g.node("Transpose", [g.weight(first, "first")], perm=[1, 0])
        x = g.node("Relu", [g.node("MatMul", [x, first])])
        second = g.node("Transpose", [g.normal(3, 8, stem="second")], perm=[1, 0])
        proto = g.model(g.node("MatMul", [x, second]), dims=[["N", 3]])
        model, cut, _, rebuilt = walk(proto, {"first0": [6, 7]})
        assert rebuilt.updated == ("second0",)
        smaller = cut_model(model.with_weights(rebuilt.proto), cut)
        x = rng.standard_normal((8, 5)).astype(np.float32)
        np.testing.assert_allclose(outputs(smaller, x), outputs(proto, x), atol=2e-3)


def test_a_weight_with_two_readers_is_left_with_a_note():
    g = Builder()
    x = g.input(4, 5, 5)
    x = g.node("Relu", [g.conv(x, 4, 6)])
    shared = g.normal(4, 6, 3, 3, stem="shared")
    y = [g.node("Conv", [g.node(op, [x]), shared]) for op in ("Sigmoid", "Tanh")]
    proto = g.model(g.node("Concat", y, axis=1), dims=[["N", 8, 3, 3]])
    model, cut, _, rebuilt = walk(proto, {"w0": [2]})
    assert rebuilt.updated == ()
    assert len(rebuilt.notes) == 2
    assert "read more than once" in rebuilt.notes[0]
    assert rebuilt.proto == model.proto
    verify_cut(model, cut_model(model, cut), cut, find_groups(model))


def batch_norm_net():
    g = Builder(seed=2)
    x = g.input(3, 6, 6)
    x = g.node("Relu", [g.batch_norm(g.conv(x, 3, 8, bias=False), 8)])
    x = g.node("Relu", [g.batch_norm(g.conv(x, 8, 6, bias=False), 6)])
    return g.model(g.conv(x, 6, 4), dims=[["N", 4, 6, 6]])


def test_statistics_change_on_purpose_only():
    proto = batch_norm_net()
    names = ("mean0", "var0", "mean1", "var1")
    for kind in ("keep", "refresh", "relative"):
        settings = Settings(samples=64, batch_norms=kind, intercept=False)
        *_, rebuilt = walk(proto, {"w0": [0, 1, 2, 3]}, settings)
        same = [np.array_equal(initializer(rebuilt.proto, n), initializer(proto, n)) for n in names]
        assert all(same) == (kind == "keep")
        assert rebuilt.batch_norms == (0 if kind == "keep" else 2)


def test_refreshed_statistics_are_those_of_the_calibration_inputs():
    proto = batch_norm_net()
    settings = Settings(samples=64, batch_norms="refresh", batch_statistics=False)
    *_, made, rebuilt = walk(proto, {"w0": [0, 1, 2, 3]}, settings)
    x = samples_of(made)
    for conv, mean, var in (("conv_0", "mean0", "var0"), ("conv_1", "mean1", "var1")):
        seen = np.moveaxis(activation(rebuilt.proto, conv, x), 1, 0).reshape(
            8 if conv == "conv_0" else 6, -1
        )
        np.testing.assert_allclose(initializer(rebuilt.proto, mean), seen.mean(1), atol=1e-4)
        expected = seen.var(1)
        np.testing.assert_allclose(initializer(rebuilt.proto, var), expected, rtol=1e-3)


def test_relative_statistics_of_an_unchanged_layer_stay():
    proto = batch_norm_net()
    settings = Settings(samples=64, batch_norms="relative")
    *_, rebuilt = walk(proto, {"w0": [0, 1]}, settings)
    for name in ("mean0", "var0"):  # nothing before the first batch norm changes
        np.testing.assert_allclose(
            initializer(rebuilt.proto, name), initializer(proto, name), rtol=1e-5, atol=1e-6
        )


def test_batch_statistics_stand_for_the_stored_ones_in_both_streams():
    """As if the dense model had stored what the calibration inputs show it."""
    proto = batch_norm_net()
    doomed = {"w0": [0, 1, 2], "w1": [1, 4]}
    *_, made, rebuilt = walk(proto, doomed, Settings(samples=64, intercept=False))
    as_if = proto
    for conv, mean, var in (("conv_0", "mean0", "var0"), ("conv_1", "mean1", "var1")):
        seen = np.moveaxis(activation(as_if, conv, samples_of(made)), 1, 0).reshape(
            8 if conv == "conv_0" else 6, -1
        )
        statistics = {mean: seen.mean(1), var: seen.var(1)}
        as_if = with_weights(as_if, **statistics)
    *_, expected = walk(
        as_if, doomed, Settings(samples=64, batch_statistics=False, intercept=False)
    )
    assert rebuilt.updated == expected.updated == ("w1", "w2")
    for name in rebuilt.updated:
        np.testing.assert_allclose(
            initializer(rebuilt.proto, name), initializer(expected.proto, name), atol=1e-4
        )
    assert np.array_equal(initializer(rebuilt.proto, "mean1"), initializer(proto, "mean1"))


# --- intercepts ---------------------------------------------------------------------------------


def biased(kind):
    """Layers whose intercept goes into a bias, an Add, or a batch norm's mean."""
    g = Builder(seed=3)
    x = g.input(3, 6, 6)
    x = g.node("Relu", [g.conv(x, 3, 8)])
    if kind == "conv":
        y = g.conv(x, 8, 5)
    elif kind == "transposed":
        y = g.conv_transpose(x, 8, 5)
    elif kind == "norm":
        y = g.node("Relu", [g.batch_norm(g.conv(x, 8, 5, bias=False), 5)])
    else:
        x = g.node("Transpose", [x], perm=[0, 2, 3, 1])
        y = g.node("MatMul", [x, g.normal(8, 5)])
        y = g.node("Add", [g.normal(5, stem="b"), y])
    return g.model(y, dims=[["N", "a", "b", "c"]])


@pytest.mark.parametrize("kind", ["conv", "transposed", "norm", "product"])
def test_an_intercept_goes_where_it_belongs(kind):
    """The mean of what the layer gives stays, and the error falls below that of a refit alone."""
    proto = biased(kind)
    x = np.random.default_rng(7).standard_normal((64, 3, 6, 6)).astype(np.float32)
    errors = {}
    for intercept in (False, True):
        settings = Settings(
            samples=64, columns=10**6, damping=0.05, intercept=intercept, target_outputs="own",
            batch_statistics=False,
        )  # fmt: skip
        model, cut, _, rebuilt = walk(proto, {"w0": [1, 4, 5]}, settings, source=x)
        assert rebuilt.intercepts == int(intercept)
        smaller = cut_model(model.with_weights(rebuilt.proto), cut)
        dense, ours = outputs(proto, x), outputs(smaller, x)
        errors[intercept] = np.square(dense - ours).mean()
        axes = (0, 1, 2) if kind == "product" else (0, 2, 3)
        if intercept and kind != "norm":  # a norm and ReLU stand between
            np.testing.assert_allclose(ours.mean(axes), dense.mean(axes), atol=1e-4)
    assert errors[True] < errors[False]
    assert errors[False] < np.square(outputs(zeroed(model, cut), x) - outputs(proto, x)).mean()


# --- scores ------------------------------------------------------------------------------------


def losses_by_hand(proto, group_parameter, settings):
    """Rise of the best objective when one channel goes, summed over the layers, by refitting."""
    model = spa.load(proto)
    groups = find_groups(model)
    made = calibrate(model, "noise", settings)
    scores = scores_of(model, groups, made, settings)
    group = next(g for g in groups if any(m.name == group_parameter for m in g.members))
    return model, groups, group, samples_of(made), scores


def test_the_score_adds_up_over_all_linear_consumers():
    g = Builder(seed=4)
    x = g.input(3, 4, 4)
    x = g.node("Relu", [g.conv(x, 3, 6)])
    depthwise = g.conv(x, 6, 6, group=6)  # mixes no channels: no consumer
    flat = g.gemm(g.node("Flatten", [depthwise]), 6 * 16, 5)
    other = g.node("Flatten", [g.conv(x, 6, 2)])
    proto = g.model(g.node("Concat", [flat, other], axis=1), dims=[["N", 37]])
    settings = Settings(selection="obs", normalize="mean", samples=48, columns=10**6, damping=0.01)
    model, groups, group, x, scores = losses_by_hand(proto, "w0", settings)
    expected = np.zeros(6)
    for layer in find_layers(groups.coupling).values():
        if layer.node.inputs[0] == "x":
            continue
        w = layer.blocks(model.array(layer.parameter))[0].astype(np.float64)
        seen = activation(proto, layer.node.inputs[0], x)
        h = sums_of(all_rows(layer, seen, 10**6, 0)[0]).hessian()
        lam = settings.damping * float(h.diagonal().mean())
        inverse = np.linalg.inv(h + lam * np.eye(len(h)))
        size = w.shape[1] // 6  # columns of one channel: the kernel, or the flattened map
        for channel in range(6):
            s = slice(channel * size, (channel + 1) * size)
            part = np.linalg.inv(inverse[s, s])
            expected[channel] += float(np.trace(w[:, s] @ part @ w[:, s].T))
    np.testing.assert_allclose(scores.by_group[group.id], expected / expected.mean(), rtol=1e-3)


def test_what_no_linear_layer_reads_gets_no_score():
    g = Builder(batch="N")
    x = g.input(6, 8)
    q, k = (g.node("MatMul", [x, g.normal(8, 4)]) for _ in range(2))
    product = g.node("MatMul", [q, g.node("Transpose", [k], perm=[0, 2, 1])])
    v = g.node("MatMul", [x, g.normal(8, 4)])
    y = g.node("MatMul", [g.node("MatMul", [product, v]), g.normal(4, 3)])
    proto = g.model(y, dims=[["N", 6, 3]])
    for selection in ("l1", "obs"):
        settings = Settings(selection=selection, samples=8)
        _, groups, query, _, scores = losses_by_hand(proto, "w0", settings)
        value = next(group for group in groups if any(m.name == "w2" for m in group.members))
        assert query.id not in scores.by_group
        assert value.id in scores.by_group
