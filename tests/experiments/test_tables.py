"""Table mathematics on result files made by hand."""

from __future__ import annotations

import csv
import io
import json
import statistics

import pytest

from experiments import files, paths, tables
from experiments.tables import Cell, build, comma_separated, latex, markdown, show, summarise

COLUMN = {column.key: column for column in tables.COLUMNS}


def accuracies(made_result, *values, **more):
    return [
        made_result(seed=i, acc={"dense": 0.99, "pruned": 0.5, "finetuned": value}, **more)
        for i, value in enumerate(values)
    ]


def test_mean_and_sample_standard_deviation():
    cell = summarise([0.97, 0.98, 0.99])
    assert (cell.mean, cell.n) == (pytest.approx(0.98), 3)
    assert cell.std == pytest.approx(0.01)  # over n - 1
    assert show(COLUMN["acc_finetuned"], cell) == "98.0 ± 1.0"


def test_one_seed_has_no_spread():
    assert summarise([0.97]) == Cell(0.97, None, 1)
    assert show(COLUMN["acc_finetuned"], summarise([0.97])) == "97.0"


def test_equal_seeds_have_a_spread_of_zero():
    assert show(COLUMN["rf"], summarise([2.0, 2.0])) == "2.00 ± 0.00"


def test_missing_values_are_missing_and_not_zero():
    assert summarise([None, None]) == Cell(None, None, 0)
    assert summarise([0.5, None, float("nan"), 0.7]).n == 2
    assert show(COLUMN["rf"], summarise([])) == "—"
    assert show(COLUMN["rf"], summarise([], exists=False)) == "n/a"


def test_rows_are_settings_and_columns_are_measured(made_result):
    (row,) = build(accuracies(made_result, 0.97, 0.98, 0.99))
    assert row.names == {
        **{"model": "resnet8", "time": "train_prune_finetune"},
        **{"method": "l1", "asked": "RF 2"},
    }
    assert (row.done, row.runs) == (3, 3)
    expected = [0.97, 0.98, 0.99]
    assert row.cells["acc_finetuned"].mean == pytest.approx(statistics.mean(expected))
    text = markdown([row], "made")
    cells = [cell.strip() for cell in text.splitlines()[4].strip("|").split("|")]
    assert cells == [
        *("resnet8", "train_prune_finetune", "l1", "RF 2"),
        *("99.0 ± 0.0", "50.0 ± 0.0", "98.0 ± 1.0"),
        *("2.01 ± 0.00", "1.90 ± 0.00", "0.25 ± 0.00", "2.00 ± 0.00", "1.50 ± 0.00", "3"),
    ]


def test_failed_runs_are_counted_and_shown(made_result):
    failed = {key: made_result()[key] for key in ("time", "method", "model", "asked", "criterion")}
    results = accuracies(made_result, 0.97, 0.98)
    lost = [{**failed, "run_id": "aaaaaaaaaa"}, {**failed, "run_id": "b", "criterion": "snip"}]
    rows = build(results, lost)
    texts = markdown(rows, "made").splitlines()[4:6]
    assert "97.5 ± 0.7" in texts[0]
    assert texts[0].endswith("| 2 of 3 |")
    assert texts[1] == (
        "| resnet8 | train_prune_finetune | snip | RF 2 | — | — | — | — | — | — | — | — | 0 of 1 |"
    )


def test_no_fine_tuning_is_not_a_missing_value(made_result):
    acc = {"dense": 0.99, "pruned": 0.9, "finetuned": None}
    (row,) = build(
        [
            made_result(
                **{"time": "train_prune", "acc": acc, "method": "obspa", "criterion": None},
                calibration="bn",
            )
        ]
    )
    assert row.names["method"] == "obspa (bn)"
    assert show(COLUMN["acc_finetuned"], row.cells["acc_finetuned"]) == "n/a"


@pytest.mark.parametrize(
    ("bn_refresh", "label"),
    [
        *((None, "obspa (bn)"), (False, "obspa (bn)")),
        *((True, "obspa (bn, statistics refreshed)"), ("relative", "obspa (bn, statistics moved)")),
    ],
)
def test_how_obspa_ran_is_in_its_name(made_result, bn_refresh, label):
    given = {"method": "obspa", "criterion": None, "calibration": "bn", "bn_refresh": bn_refresh}
    plain = made_result(run_id="b")
    assert [row.names["method"] for row in build([made_result(**given), plain])][-1] == label
    assert "bn_refresh" not in build([made_result(**given), plain])[0].names


def test_a_setting_gets_a_column_when_it_differs(made_result):
    one, two = made_result(), made_result(run_id="b", scope="local")
    assert "scope" not in build([one])[0].names
    assert [row.names["scope"] for row in build([one, two])] == ["global", "local"]
    named = made_result(run_id="b", normalize="max")
    assert [row.names["normalize"] for row in build([one, named])] == ["default", "max"]


def test_rows_that_read_alike_show_their_run_id(made_result):
    rows = build([made_result(), made_result(run_id="b")])
    assert [row.names["run"] for row in rows] == ["aaaaaaaaaa", "b"]


def test_rows_are_sorted_by_model_time_and_method(made_result):
    results = [
        made_result(run_id="1", model="vgg_small"),
        made_result(run_id="2", criterion="snip"),
        made_result(run_id="3", time="prune_train"),
        made_result(run_id="4", criterion="l1"),
    ]
    assert [row.run_id for row in build(results)] == ["3", "4", "2", "1"]
    assert build(results) == build(results[::-1])


def test_csv_has_full_precision_and_empty_cells(made_result):
    rows = build(accuracies(made_result, 1 / 3), [{**made_result(), "run_id": "b"}])
    first, second = csv.DictReader(io.StringIO(comma_separated(rows)))
    assert float(first["acc_finetuned_mean"]) == 1 / 3
    assert (first["acc_finetuned_std"], first["acc_finetuned_n"]) == ("", "1")
    assert (second["acc_finetuned_mean"], second["runs"], second["done"]) == ("", "1", "0")


def test_latex_is_escaped_and_closed(made_result):
    text = latex(build([made_result()]), "made", ["100 % measured"])
    assert "train\\_prune\\_finetune" in text
    assert "acc. \\%" in text
    assert text.count("\\begin{tabular}") == text.count("\\end{tabular}") == 1
    body = text.split("\\midrule")[1].split("\\bottomrule")[0]
    assert body.count("&") == text.split("\\toprule")[1].split("\\midrule")[0].count("&")


def test_write_makes_three_tables_and_a_plot_that_never_change(tmp_path, made_result):
    for i, result in enumerate(accuracies(made_result, 0.97, 0.98)):
        files.write_json(paths.run(tmp_path, "made", "aaaaaaaaaa", i) / "result.json", result)
    arguments = ["--experiment", "made", "--results", str(tmp_path)]
    assert tables.main(arguments) == 0
    made = {path.name: path.read_bytes() for path in (tmp_path / "tables").iterdir()}
    assert set(made) == {f"made.{kind}" for kind in ("md", "csv", "tex", "svg", "png")}
    assert tables.main(arguments) == 0
    again = {path.name: path.read_bytes() for path in (tmp_path / "tables").iterdir()}
    assert made == again
    text = made["made.md"].decode()
    assert "97.5 ± 0.7" in text
    assert "0123456789" in text  # the code version


def test_a_plot_has_a_line_for_each_setting_that_differs(tmp_path, made_result):
    for name, run_id in (("jax", "aaaaaaaaaa"), ("mxnet", "bbbbbbbbbb")):
        result = made_result(framework=name, run_id=run_id)
        files.write_json(paths.run(tmp_path, "made", run_id, 0) / "result.json", result)
    assert tables.main(["--experiment", "made", "--results", str(tmp_path)]) == 0
    drawn = (tmp_path / "tables" / "made.svg").read_text()
    assert "l1, jax" in drawn
    assert "l1, mxnet" in drawn


def test_a_torn_file_is_named(tmp_path, made_result, capsys):
    path = paths.run(tmp_path, "made", "aaaaaaaaaa", 0) / "result.json"
    files.write_text(path, json.dumps(made_result())[:-20])
    assert tables.main(["--experiment", "made", "--results", str(tmp_path)]) == 1
    assert "seed_0/result.json is torn" in capsys.readouterr().err
    assert not (tmp_path / "tables").exists()


def test_no_runs_is_an_error_that_says_how_to_make_them(tmp_path, capsys):
    assert tables.main(["--experiment", "made", "--results", str(tmp_path)]) == 1
    assert "python -m experiments.run experiment=made" in capsys.readouterr().err
    assert tables.main(["--results", str(tmp_path)]) == 1
