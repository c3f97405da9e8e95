"""Table mathematics on result files made by hand."""

from __future__ import annotations

import csv
import io
import json
import re
import statistics

import pytest

from experiments import tables
from experiments.ground import files, paths
from experiments.results.literature import Published
from experiments.results.schema import checksum
from experiments.tables import Cell, build, comma_separated, latex, markdown, show, summarise
from experiments.tables.as_markdown import escaped

COLUMN = {column.key: column for column in tables.columns(["classification"])}


def accuracies(made_result, *values, **more):
    return [
        made_result(seed=i, acc={"dense": 0.99, "pruned": 0.5, "finetuned": value}, **more)
        for i, value in enumerate(values)
    ]


def write(root, *results):
    for result in results:
        path = paths.run(root, "made", result["run_id"], result["seed"]) / "result.json"
        files.write_json(path, result)
    return ["--experiment", "made", "--results", str(root)]


def cells(text):
    """The cells of a Markdown table, by heading, a dictionary each row."""
    lines = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]


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
    (line,) = cells(markdown([row], "made"))
    assert line == {
        **{"model": "resnet8", "time": "train_prune_finetune", "method": "l1", "asked": "RF 2"},
        **{"dense acc. %": "99.0 ± 0.0", "pruned acc. %": "50.0 ± 0.0"},
        **{"fine-tuned acc. %": "98.0 ± 1.0", "reached RF": "2.01 ± 0.00"},
        **{"reached RP": "1.90 ± 0.00", "prune s": "0.25 ± 0.00", "dense ms": "2.00 ± 0.00"},
        **{"pruned ms": "1.50 ± 0.00", "SPA paper": "not available", "n": "3"},
        "run": "aaaaaaaaaa",
    }


def test_failed_runs_are_counted_and_shown(made_result):
    known = ("time", "method", "model", "framework", "dataset", "asked", "criterion")
    failed = {key: made_result()[key] for key in known}
    results = accuracies(made_result, 0.97, 0.98)
    lost = [{**failed, "run_id": "aaaaaaaaaa"}, {**failed, "run_id": "b", "criterion": "snip"}]
    rows = build(results, lost)
    some, none = cells(markdown(rows, "made"))
    assert some["fine-tuned acc. %"] == "97.5 ± 0.7"
    assert (some["n"], none["n"]) == ("2 of 3", "0 of 1")
    assert [none[column.heading] for column in tables.columns(["classification"])] == ["—"] * len(
        tables.columns(["classification"])
    )
    assert (none["method"], none["run"]) == ("snip", "b")


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


def test_every_row_says_its_run(made_result):
    rows = build([made_result(), made_result(run_id="b")])
    assert [line["run"] for line in cells(markdown(rows, "made"))] == ["aaaaaaaaaa", "b"]
    linked = cells(markdown(rows, "made", links={"b": "../records/made/b_seed_0.json"}))
    assert [line["run"] for line in linked] == ["aaaaaaaaaa", "[b](../records/made/b_seed_0.json)"]


def test_rows_are_sorted_by_model_time_and_method(made_result):
    results = [
        made_result(run_id="1", model="vgg_small"),
        made_result(run_id="2", criterion="snip"),
        made_result(run_id="3", time="prune_train"),
        made_result(run_id="4", criterion="l1"),
    ]
    assert [row.run_id for row in build(results)] == ["3", "4", "2", "1"]
    assert build(results) == build(results[::-1])
    targets = [made_result(run_id=str(rf), asked={"rf": rf}) for rf in (10.0, 1.5, 2.0)]
    assert [row.run_id for row in build(targets)] == ["1.5", "2.0", "10.0"]


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


def bold(rows):
    """Method and heading of all bold cells."""
    return {
        (line["method"], heading)
        for line in cells(markdown(rows, "made"))
        for heading, text in line.items()
        if text.startswith("**")
    }


def made(made_result, criterion, finetuned=0.98, pruned=0.5, **more):
    acc = {"dense": 0.99, "pruned": pruned, "finetuned": finetuned}
    more = {"prune_seconds": 0.25, "run_id": criterion} | more
    return made_result(criterion=criterion, acc=acc, **more)


def test_the_best_of_a_block_is_bold_and_ties_are_by_what_is_shown(made_result):
    rows = build(
        [
            made(made_result, "l1", 0.9801, 0.3, latency_ms={"dense": 2.0, "pruned": 1.4}),
            made(made_result, "l2", 0.9799, 0.2),
            made(made_result, "snip", 0.97, 0.4, prune_seconds=0.1),
        ]
    )
    assert bold(rows) == {
        *(("l1", "fine-tuned acc. %"), ("l2", "fine-tuned acc. %")),  # both 98.0
        *(("snip", "pruned acc. %"), ("snip", "prune s"), ("l1", "pruned ms")),
    }
    assert "\\textbf{98.0} &" in latex(rows, "made")
    assert "*" not in comma_separated(rows)


def test_a_value_alone_is_best_of_nothing(made_result):
    assert bold(build([made(made_result, "l1")])) == set()
    others = [
        made(made_result, "l2", model="vgg_small"),
        made(made_result, "snip", dataset="cifar10"),
        made(made_result, "grasp", framework="jax"),
        made(made_result, "random", asked={"rf": 3.0}),
    ]
    assert bold(build([made(made_result, "l1"), *others])) == set()
    # The second row has no fine-tuned accuracy, but other values.
    rows = build([made(made_result, "l1"), made(made_result, "l2", None)])
    assert {heading for _, heading in bold(rows)} == {"pruned acc. %", "prune s", "pruned ms"}


def test_what_cannot_be_compared_is_not_bold(made_result):
    untrained = [made(made_result, name, time="prune_train") for name in ("l1", "l2")]
    assert {heading for _, heading in bold(build(untrained))} == {
        *("fine-tuned acc. %", "prune s", "pruned ms"),
    }
    other = made(made_result, "l2", hardware={"cpu": "another", "cores": 2, "gpu": None})
    rows = build([made(made_result, "l1"), other])
    assert {heading for _, heading in bold(rows)} == {"pruned acc. %", "fine-tuned acc. %"}


def test_a_rule_goes_between_blocks_alone(made_result):
    two = [made(made_result, name) for name in ("l1", "l2")]
    other = made(made_result, "snip", model="vgg_small")
    body = latex(build([*two, other]), "made").split("\\midrule\n")
    assert [part.count("\\\\") for part in body] == [1, 2, 1]
    # Where every block is one row, a rule between any two would part nothing.
    assert latex(build([two[0], other]), "made").count("\\midrule") == 1


PUBLISHED = Published(
    **{"model": "resnet56", "dataset": "cifar10", "time": "train_prune_finetune"},
    **{"method": "Group-L1", "criterion": "l1", "rf": 2.12, "rp": "", "dense": "93.53"},
    **{"accuracy": "92.90", "std": "", "source": "a readme", "title": "DepGraph"},
)
COLUMN_OF_LITERATURE = "literature: acc. % at RF, source"


def test_published_values_stand_in_a_column_of_their_own(made_result):
    mine = {"model": "resnet56", "dataset": "cifar10", "reached": {"rf": 2.0, "rp": 1.9}}
    others = [
        Published(**{**vars(PUBLISHED), **changes})
        for changes in (
            {"method": "FPGM", "criterion": "", "rf": 1.7, "accuracy": "99.99", "std": "0.1"},
            {"rf": 2.57, "title": "another", "rp": "3"},
            {"model": "vgg19_bn"},
            {"dataset": "cifar100"},
            {"time": "train_prune"},
        )
    ]
    rows = build([made(made_result, "l1", **mine)], literature=[PUBLISHED, *others])
    measured, *published = cells(markdown(rows, "made"))
    assert measured[COLUMN_OF_LITERATURE] == "92.90 (dense 93.53) at RF 2.12 [1]"
    assert measured["fine-tuned acc. %"] == "98.0"  # not bold, though higher than what is published
    assert measured["SPA paper"] == "not available"
    # Not measured here, or at another RF: rows of their own, in which nothing is measured.
    assert [line["method"] for line in published] == ["FPGM", "Group-L1"]
    assert [line[COLUMN_OF_LITERATURE] for line in published] == [
        *("99.99 ± 0.1 (dense 93.53) at RF 1.7 [1]", "92.90 (dense 93.53) at RF 2.57, RP 3 [2]"),
    ]
    for line in published:
        assert [line[column.heading] for column in tables.columns(["classification"])] == [
            "—"
        ] * len(tables.columns(["classification"]))
        assert (line["n"], line["run"], line["SPA paper"]) == ("—", "—", "")
    remarks = tables.notes([made_result()], rows)
    assert "[1] DepGraph. Source: a readme" in remarks
    assert "[2] another. Source: a readme" in remarks
    lines = list(csv.DictReader(io.StringIO(comma_separated(rows))))
    assert [line["literature_source"] for line in lines] == [
        *("DepGraph: a readme", "DepGraph: a readme", "another: a readme"),
    ]
    assert [line["acc_finetuned_mean"] for line in lines] == ["0.98", "", ""]


def test_a_table_without_literature_has_no_such_column(made_result):
    rows = build([made_result()], literature=[PUBLISHED])
    assert len(rows) == 1
    assert COLUMN_OF_LITERATURE not in markdown(rows, "made")
    assert cells(markdown(rows, "made"))[0]["SPA paper"] == "not available"


def test_write_makes_tables_and_figures_that_never_change(tmp_path, made_result):
    arguments = write(tmp_path, *accuracies(made_result, 0.97, 0.98))
    assert tables.main(arguments) == 0
    first = {path.name: path.read_bytes() for path in (tmp_path / "tables").iterdir()}
    figures = ("accuracy_over_rf", "latency_over_macs", "prune_time_over_params", "widths")
    assert set(first) == {
        *(f"made.{kind}" for kind in ("md", "csv", "tex")),
        *(f"made_{name}.{kind}" for name in figures for kind in ("svg", "png")),
    }
    assert tables.main(arguments) == 0
    again = {path.name: path.read_bytes() for path in (tmp_path / "tables").iterdir()}
    assert first == again
    text = first["made.md"].decode()
    assert "97.5 ± 0.7" in text
    assert "0123456789" in text  # the code version
    link = re.search(r"\[aaaaaaaaaa\]\((.*)\)", text).group(1)
    assert (tmp_path / "tables" / link).resolve() == (
        paths.run(tmp_path, "made", "aaaaaaaaaa", 0) / "result.json"
    )


def test_records_outside_of_the_results_are_not_linked(tmp_path, made_result):
    files.write_json(tmp_path / "elsewhere/made/aaaaaaaaaa_seed_0.json", made_result())
    (tmp_path / "results").mkdir()
    text = tables.write(tmp_path / "results", tmp_path / "elsewhere", "made")
    assert cells(text)[0]["run"] == "aaaaaaaaaa"
    assert "elsewhere" not in text


def test_where_says_which_runs_are_meant(tmp_path, made_result, capsys):
    results = [made(made_result, name) for name in ("l1", "l2", "snip")]
    arguments = write(tmp_path, *results)
    assert tables.main([*arguments, "--print", "--where", "criterion=l1,snip"]) == 0
    text = capsys.readouterr().out
    assert [line["method"] for line in cells(text)] == ["l1", "snip"]
    assert "Only runs with criterion l1 or snip." in text
    assert tables.main([*arguments, "--where", "criterion=grasp"]) == 1
    assert "criterion is l1, l2, snip" in capsys.readouterr().err


def test_runs_that_must_not_be_compared_are_refused(tmp_path, made_result, capsys):
    results = [made(made_result, "l1"), made(made_result, "l2", dense_sha256="11")]
    results[1] |= {"code": {"version": "0.1.0", "commit": "ab" * 20, "dirty": False}}
    results[1]["checksum"] = checksum(results[1])
    arguments = write(tmp_path, *results)
    assert tables.main(arguments) == 1
    assert "--where code.commit=0123456789abcdef" in capsys.readouterr().err
    assert not (tmp_path / "tables").exists()
    assert tables.main([*arguments, "--where", "code.commit=abab"]) == 0


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


def test_collapsed_runs_are_counted_and_stay_in_the_means(made_result):
    found = accuracies(made_result, 0.97, 0.10, 0.49)
    found += [made_result(run_id="b", criterion="random", time="train_prune",
                          acc={"dense": 0.99, "pruned": 0.1})]  # fmt: skip
    text = " ".join(tables.notes(found))
    assert "3 of 4 runs collapsed" in text
    assert "(l1 RF 2: 2, random RF 2: 1)" in text
    assert build(found)[0].cells["acc_finetuned"].mean == pytest.approx(0.52)
    assert "collapsed" not in " ".join(tables.notes(found[:1]))


def test_a_table_of_the_held_out_split_is_of_its_own(tmp_path, made_result):
    held = {stage: {"acc": 0.5} for stage in ("dense", "pruned", "finetuned")}
    rest = write(tmp_path, made_result(validation=held))
    assert tables.main(rest) == 0
    assert tables.main([*rest, "--split", "validation"]) == 0
    test, chosen_by = (paths.tables(tmp_path) / f"made{end}.md" for end in ("", "_validation"))
    assert "98.0" in test.read_text()
    assert "98.0" not in chosen_by.read_text()
    assert "on the validation split" in chosen_by.read_text()


def test_what_was_not_measured_is_not_shown(tmp_path, made_result, capsys):
    rest = write(tmp_path, made_result())
    assert tables.main([*rest, "--split", "validation"]) == 1
    assert "measured on the test split alone, not on validation" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        *(("train_prune", "train_prune"), ("90.1 ± 0.2", "90.1 ± 0.2"), ("[1] a_b", "[1] a_b")),
        *(("_x_ *y* `z`", "\\_x\\_ \\*y\\* \\`z\\`"), ("a|b", "a\\|b"), ("a\\|b", "a\\\\\\|b")),
        *(("[x](http://e)", "[x\\](http://e)"), ("<b>&lt;", "\\<b\\>\\&lt;"), ("# h", "\\# h")),
        *(("a\nb", "a b"), ("\x1b[2J", "\\\\x1b[2J"), ("- x", "\\- x")),
    ],
)
def test_names_are_no_markdown(text, said):
    assert escaped(text) == said


def test_a_name_breaks_no_table(tmp_path, made_result):
    model = "a|b\n<script>$x^$ [c](d) % \\end{tabular}"
    path = paths.run(tmp_path, "made", "aaaaaaaaaa", 0) / "result.json"
    files.write_json(path, made_result(model=model))
    text = tables.write(tmp_path, tmp_path / "runs", "made")
    (row,) = (line for line in text.splitlines() if "script" in line)
    assert row.startswith("| a\\|b \\<script\\>$x^$ [c\\](d) % \\\\end{tabular} | ")
    tex = (tmp_path / "tables/made.tex").read_text()
    assert "<script>\\$x\\textasciicircum{}\\$ [c](d) \\% \\textbackslash{}end\\{tabular\\}" in tex
