"""Figures of results made by hand: which there are, what they show, that they never change."""

from __future__ import annotations

import pytest

from experiments import figures
from experiments.figures import FIGURES, style

NAMES = ("accuracy_over_rf", "latency_over_macs", "prune_time_over_params", "widths")


def figure(name, results):
    with style.printed():
        return FIGURES.get(name)(results)


def texts(made):
    return {text.get_text() for legend in made.legends for text in legend.get_texts()}


def test_every_figure_is_written_twice_and_never_changes(tmp_path, made_result):
    results = [made_result(seed=seed) for seed in range(2)]
    made = figures.draw(results, tmp_path / "made")
    assert made == {name: tmp_path / f"made_{name}.svg" for name in NAMES}
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(first) == 2 * len(NAMES)
    assert all(first[f"made_{name}.png"].startswith(b"\x89PNG") for name in NAMES)
    figures.draw(results, tmp_path / "made")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first


def test_what_the_results_have_no_data_for_is_not_drawn_and_removed(tmp_path, made_result):
    figures.draw([made_result()], tmp_path / "made")
    lost = {"dense": 0.99, "pruned": None, "finetuned": None}
    made = figures.draw([made_result(widths=[], acc=lost)], tmp_path / "made")
    assert set(made) == {"latency_over_macs", "prune_time_over_params"}
    assert not (tmp_path / "made_widths.png").exists()
    assert figures.draw([], tmp_path / "made") == {}
    assert list(tmp_path.iterdir()) == []


def test_a_line_for_each_method_and_setting_that_differs(made_result):
    results = [
        made_result(framework=name, run_id=name, asked={"rf": rf})
        for name in ("jax", "mxnet")
        for rf in (2.0, 3.0)
    ]
    assert texts(figure("accuracy_over_rf", results)) == {"l1, jax", "l1, mxnet"}
    alike = [made_result(), made_result(run_id="b")]
    assert texts(figure("accuracy_over_rf", alike)) == {"l1 (aaaaaaaaaa)", "l1 (b)"}


def test_accuracy_starts_at_the_dense_network_and_has_a_band_over_seeds(made_result):
    results = [
        made_result(
            **{"run_id": str(rf), "seed": seed, "asked": {"rf": rf}},
            reached={"rf": rf, "rp": 1.0},
            acc={"dense": 0.99, "pruned": 0.5, "finetuned": 0.9 + 0.02 * seed},
        )
        for rf in (2.0, 3.0)
        for seed in range(3)
    ]
    (axes,) = figure("accuracy_over_rf", results).axes
    line = axes.lines[0]
    assert list(line.get_xdata()) == [1, 2, 3]
    assert list(line.get_ydata()) == pytest.approx([99, 92, 92])
    (band,) = axes.collections
    points = {(round(x, 6), round(y, 6)) for x, y in band.get_paths()[0].vertices}
    assert {(2.0, 90.0), (2.0, 94.0), (1.0, 99.0)} <= points  # ± the sample standard deviation
    alone = figure("accuracy_over_rf", results[:1])
    assert len(alone.axes[0].collections) == 0


def test_latency_has_the_dense_network_of_each_framework(made_result):
    results = [
        made_result(framework=name, run_id=name, latency_ms={"dense": dense, "pruned": 1.0})
        for name, dense in (("jax", 2.0), ("mxnet", 4.0))
    ]
    made = figure("latency_over_macs", results)
    assert [axes.get_title() for axes in made.axes] == ["resnet8, jax", "resnet8, mxnet"]
    rings = [[line for line in axes.lines if line.get_fillstyle() == "none"] for axes in made.axes]
    assert [float(line.get_ydata()[0]) for (line,) in rings] == [2.0, 4.0]
    assert "l1" in texts(made)


def test_prune_time_is_logarithmic_where_it_spans_much(made_result):
    sizes = {"a": 1e5, "b": 1e6, "c": 1e8}
    results = [
        made_result(
            **{"model": name, "run_id": name, "params": {"dense": size, "pruned": 1}},
            prune_seconds=size / 1e5,
        )
        for name, size in sizes.items()
    ]
    (axes,) = figure("prune_time_over_params", results).axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert list(axes.lines[0].get_ydata()) == [1, 10, 1000]
    (axes,) = figure("prune_time_over_params", results[:1]).axes
    assert (axes.get_xscale(), axes.get_ylim()[0]) == ("linear", 0)


def test_widths_name_their_groups_and_average_over_seeds(made_result):
    def groups(pruned):
        return [
            {"name": "stem.0.weight", "dense": 16, "pruned": pruned},
            {"name": "classifier", "dense": 64, "pruned": 64},
        ]

    results = [made_result(seed=seed, widths=groups(8 + seed)) for seed in range(3)]
    (axes,) = figure("widths", results).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["stem.0", "classifier"]
    assert axes.get_title() == "resnet8, train-prune-finetune\nl1, RF 2"
    dense, pruned = (list(patch.get_data().values) for patch in axes.patches)
    assert dense == [16, 0, 64]
    assert pruned == [9, 0, 64]


def test_of_many_settings_some_are_shown_and_that_is_said(made_result):
    results = [made_result(run_id=str(i), asked={"rf": 2.0 + i}) for i in range(40)]
    made = figure("widths", results)
    titles = [axes.get_title() for axes in made.axes]
    assert titles[0].endswith("RF 2")
    assert titles[-1].endswith("RF 41")
    assert len(titles) == 12
    assert made.get_suptitle() == "12 settings of a model are shown, of more"


def test_no_two_lines_look_alike():
    looks = [style.look(i) for i in range(36)]
    marks = {(look["color"], look["marker"]) for look in looks}
    grey = {(look["marker"], look["linestyle"]) for look in looks}
    assert len(marks) == len(grey) == 36


def test_a_name_is_not_read_as_mathematics(tmp_path, made_result):
    made = figures.draw([made_result(model="a$_$b", criterion="$")], tmp_path / "made")
    assert "accuracy_over_rf" in made
