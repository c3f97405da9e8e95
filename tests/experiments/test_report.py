"""The page of an experiment: its figures, its texts, its command."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from experiments import tables
from experiments.ground import files, paths
from experiments.report.__main__ import main
from experiments.report.content import facts, gather, natural
from experiments.report.embedded import Embedded
from experiments.report.figures import inline
from experiments.report.page import HERE, anchor, render, table
from experiments.results import records
from tests.experiments.report_files import (
    EXPERIMENT,
    NASTY,
    results_folder,
)


@pytest.fixture
def results(tmp_path, made_result):
    return results_folder(tmp_path, made_result)


class Elements(HTMLParser):
    """The names of all elements, the attributes' names, and the texts of scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names, self.attributes, self.scripts, self.inside = [], [], [], False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.attributes += [name for name, _ in attrs]
        self.inside = tag == "script"
        self.scripts += [""] * self.inside

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.scripts[-1] += data


# Figures


def test_ids_of_two_figures_do_not_clash():
    svg = (
        '<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" '
        'xmlns:xlink="http://www.w3.org/1999/xlink" width="30pt" height="40pt" '
        'viewBox="0 0 30 40"><metadata>made</metadata><defs><style>*{stroke: red}</style>'
        '<path id="m1" d="M0 0"/><clipPath id="c1"/></defs>'
        '<use xlink:href="#m1" clip-path="url(#c1)" style="fill: url(#c1)"/></svg>'
    )
    one, other = (inline(svg, name, "What <it> shows") for name in ("one", "other"))
    ids = [set(re.findall(r' id="([^"]+)"', text)) for text in (one, other)]
    assert ids[0] == {"one-m1", "one-c1", "one-title"}
    assert not ids[0] & ids[1]
    for wanted in ('href="#one-m1"', 'clip-path="url(#one-c1)"', "fill: url(#one-c1)"):
        assert wanted in one
    assert "<style" not in one
    assert "metadata" not in one
    assert 'viewBox="0 0 30 40"' in one
    assert "What &lt;it&gt; shows</title>" in one


# Texts


def test_names_of_places_are_safe_and_differ():
    assert anchor("run", "1dc71ff6f3", 0) == "run-1dc71ff6f3-0"
    assert anchor("run", "a", -1) != anchor("run", "a-", 1)
    assert re.fullmatch(r"[\w-]+", anchor("run", NASTY, 0))


def test_numbers_in_texts_are_numbers():
    asked = ["RF 10", "RF 1.5", "RF 2", "RF 1.25"]
    assert sorted(asked, key=natural) == ["RF 1.25", "RF 1.5", "RF 2", "RF 10"]


def test_cells_have_what_they_are_sorted_by(results):
    headings, rows = table(gather(results / "runs", EXPERIMENT).rows)
    names = [heading.text for heading in headings]
    cells = {run_id: dict(zip(names, cells, strict=True)) for run_id, cells in rows}
    rf = next(column.heading for column in tables.columns(["classification"]) if column.key == "rf")
    assert cells["1111111111"][rf] == ("2.00 ± 0.00", 2.0)
    assert cells["99aa"][rf] == ("—", None)
    assert cells["5555555555"]["asked"].sort > cells["1111111111"]["asked"].sort  # 10 and 2
    choices = {heading.text: heading.choices for heading in headings}
    assert choices["method"] == ("l1", "random")
    assert choices["time"] == ()  # there is nothing to choose


def test_the_heading_says_what_was_run(results):
    said = dict(facts(gather(results / "runs", EXPERIMENT)))
    assert said["runs"] == "16 done, 1 failed, 0 unfinished"
    assert said["asked"].startswith("RF 1.5, RF 2, RF 3")
    assert (said["seeds"], said["code"]) == ("0, 1", "0123456789")
    assert (said["finished"], said["hardware"]) == ("2026-01-02", "a processor, 2 cores")


def test_names_and_structures_are_embedded_once(results):
    every = gather(results / "runs", EXPERIMENT).every()
    data = Embedded().of(every)
    assert len(data["structures"]) == 1
    assert len(set(data["texts"])) == len(data["texts"])
    place = [(run.run_id, run.seed) for run in every].index(("2222222222", 1))
    run = data["runs"][place]
    assert [gone for gone, _ in run["groups"]] == [4, 7, 2]
    name, axis, size, gone, which, _ = run["parameters"][0]
    assert (data["texts"][name], axis, size, gone) == ("stem", 0, 16, 4)
    assert data["texts"][which] == "0-3"
    assert data["runs"][[r.run_id for r in every].index("99aa")]["structure"] is None


def test_what_others_wrote_stays_text(results):
    page = render(gather(results / "runs", EXPERIMENT))
    found = Elements(page)
    assert NASTY not in page
    assert "img" not in found.names
    assert not [name for name in found.attributes if name.startswith("on")]
    data, script = found.scripts
    assert NASTY in json.loads(data)["texts"]  # the configuration
    assert script == (HERE / "page.js").read_text()


def test_a_page_needs_nothing_else(results):
    page = render(gather(results / "runs", EXPERIMENT))
    assert re.findall(r'\b(?:src|href)="(?!#|data:,")', page) == []
    assert "@import" not in page
    assert re.findall(r"url\((?!#)", page) == []


def test_the_same_files_give_the_same_page(results):
    assert main(["--results", str(results)]) == 0
    page = paths.reports(results) / f"{EXPERIMENT}.html"
    first = page.read_bytes()
    assert main(["--results", str(results), "--experiment", EXPERIMENT]) == 0
    assert page.read_bytes() == first


def test_records_hold_no_plans_and_the_page_says_so(results):
    records.collect(results, EXPERIMENT)
    assert main(["--results", str(results), "--source", str(results / "records")]) == 0
    page = (paths.reports(results) / f"{EXPERIMENT}.html").read_text()
    assert "committed records hold no plan" in page
    assert "conv1.weight" in page  # of the widths
    assert "runs/made/1111111111/seed_0/plan.json" in page
    assert "No configuration was recorded" in page
    assert 'class="group"' not in page


def test_a_page_of_failures_alone(results):
    for folder in (results / "runs" / EXPERIMENT).iterdir():
        if folder.name != "99aa":
            shutil.rmtree(folder)
    page = render(gather(results / "runs", EXPERIMENT))
    assert "0 done, 1 failed, 0 unfinished" in page
    assert "<figure" not in page


def test_a_run_that_is_under_way_has_its_place(results):
    path = paths.run(results, EXPERIMENT, "99aa", 0) / "status.json"
    failed = json.loads(path.read_text())
    going = {k: v for k, v in failed.items() if k not in ("error", "traceback")}
    files.write_json(path, {**going, "state": "running", "updated": "2030-01-01T00:00:00+00:00"})
    page = render(gather(results / "runs", EXPERIMENT))
    assert "0 failed, 1 unfinished" in page
    assert "its last word is of 2030-01-01T00:00:00+00:00" in page


# The command


def test_no_runs_are_an_error_in_one_line(tmp_path, capsys):
    assert main(["--results", str(tmp_path)]) == 1
    assert main(["--results", str(tmp_path), "--experiment", "none"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("error: there are no experiments in")
    assert lines[1].startswith("error: there are no runs in")


def test_no_run_being_meant_is_an_error_in_one_line(results, capsys):
    for folder in (results / "runs" / EXPERIMENT).iterdir():
        if folder.name != "99aa":
            shutil.rmtree(folder)
    for command in (main, tables.main):
        assert command(["--results", str(results), "--where", "seed=9"]) == 1
        assert "error: no run is left by --where seed=9" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["plan.json", "config.yaml"])
def test_what_is_damaged_of_a_run_is_named_and_stops_nothing(results, capsys, name):
    torn = paths.run(results, EXPERIMENT, "77aa", 0) / name
    torn.unlink()
    torn.mkdir()
    assert main(["--results", str(results)]) == 0
    told = capsys.readouterr().err
    assert told.startswith("warning: passed over: ")
    assert told.count(str(torn)) == 1
    torn.rmdir()
    torn.write_bytes(b"\xff{")
    assert main(["--results", str(results)]) == 0
    assert str(torn) in capsys.readouterr().err


def test_folders_without_runs_are_passed_over(results, capsys):
    (results / "runs" / "hunts").mkdir()
    assert main(["--results", str(results)]) == 0
    assert len(capsys.readouterr().err.splitlines()) == 1
