"""spa report: one page, whole in itself, of what a plan takes away."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import onnx
import pytest

import spa
from spa.report.page import page
from tests.cli.conftest import save
from tests.graphs import Builder, classifier

NASTY = '</title><img src=x onerror=alert(1)>"\x1b[2J\n'


class Elements(HTMLParser):
    """Names of all elements, names of attributes, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names, self.attributes, self.texts = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_data(self, data):
        self.texts.append(data)


def test_a_page_shows_widths_groups_and_reasons(pruned, good, tmp_path):
    model, _, plan = pruned
    out = tmp_path / "page.html"
    document = good("report", model, plan, "-o", out, "--json").document
    assert document["groups"] == 4
    text = out.read_text()
    said = " ".join(Elements(text).texts)
    found = json.loads(plan.read_text())
    for group in found["groups"]:
        left = group["channels"] - len(group["removed"])
        # In the picture of widths, in the graph, and in the table.
        assert text.count(f">{group['channels']} → {left}<") >= 3
        assert f"{group['members'][0][0]} axis" in said
    assert text.count('<g class="group') == 4
    assert "asked rf 2".replace(" ", "") in said.replace(" ", "")
    cost = spa.measure_cost(spa.load(str(model)))
    less = spa.measure_cost(spa.load(str(tmp_path / "pruned.onnx")))
    assert f"{cost.params:,} → {less.params:,}" in said
    assert f"{cost.macs:,} → {less.macs:,}" in said
    assert "it is an output of the model" in said
    assert found["model"] in said


def test_it_needs_and_runs_nothing_else(pruned, good, tmp_path):
    model, _, plan = pruned
    good("report", model, plan, "-o", tmp_path / "a.html")
    good("report", model, plan, "-o", tmp_path / "b.html")
    text = (tmp_path / "a.html").read_text()
    assert text == (tmp_path / "b.html").read_text()
    assert re.findall(r'\b(?:src|href)="(?!#|data:,")', text) == []
    assert re.findall(r"url\(|@import", text) == []
    found = Elements(text)
    assert "script" not in found.names
    assert not [name for name in found.attributes if name.startswith("on")]
    assert "default-src 'none'" in text


def test_names_of_others_stay_text():
    proto = classifier()
    names = [t.name for t in proto.graph.initializer]
    proto.graph.initializer[0].name = NASTY
    for node in proto.graph.node:
        node.input[:] = [NASTY if name == names[0] else name for name in node.input]
    result = spa.prune(proto, rf=1.5, verify=False)
    plan = spa.Plan.from_json({**result.plan.to_json(), "notes": [f"{NASTY}\ud800"],
                               "criterion": NASTY})  # fmt: skip
    text = page(spa.load(proto), plan, NASTY)
    assert "img" not in Elements(text).names
    assert "\x1b" not in text
    assert "alert(1)" in text
    text.encode()  # whatever a plan's JSON escapes, the page is UTF-8


def test_where_nothing_may_shrink_the_page_says_why(good, tmp_path):
    g = Builder()
    model = save(g.model(g.conv(g.input(3, 8, 8), 3, 4)), tmp_path / "m.onnx")
    plan, out = tmp_path / "p.json", tmp_path / "page.html"
    good("prune", model, "-o", tmp_path / "o.onnx", "--rf", 2, "--best-effort", "--plan", plan)
    good("report", model, plan, "-o", out)
    text = out.read_text()
    assert "No group of this model may shrink" in text
    assert "rf 2 is out of reach" in text
    assert "it is an output of the model" in text


def test_obspa_and_shares_of_some_groups_are_named(good, model, tmp_path):
    plan, out = tmp_path / "p.json", tmp_path / "page.html"
    how = ("--method", "obspa", "--calibration", "noise", "--samples", 16)
    target = ("--ratio", 0.25, "--ratio-of", "out:w1=0.5")
    good("prune", model, "-o", tmp_path / "o.onnx", *target, *how, "--plan", plan)
    good("report", model, plan, "-o", out)
    said = " ".join(Elements(out.read_text()).texts)
    assert '{"out:w1": 0.5}' in said
    assert "obspa" in said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p | {"model": "0" * 64}, "was made for a model with sha256 000000000000"),
        (lambda p: {"schema": 1}, "This is no plan"),
        (lambda p: p | {"parameters": p["parameters"][:1]}, "tears coupled channels apart"),
    ],
)
def test_a_plan_of_something_else_is_refused(pruned, refused, tmp_path, change, message):
    model, _, plan = pruned
    plan.write_text(json.dumps(change(json.loads(plan.read_text()))))
    assert message in refused("report", model, plan, "-o", tmp_path / "page.html")


def test_nothing_that_is_read_is_written_over(pruned, refused, tmp_path):
    model, _, plan = pruned
    assert "are the same file" in refused("report", model, plan, "-o", plan)
    assert "OUT.html" in refused("report", model, plan, "-o", tmp_path / "page.pdf")
    assert "no folder" in refused("report", model, plan, "-o", tmp_path / "no" / "page.html")


def test_weights_beside_the_model_are_not_written_over(pruned, refused, tmp_path):
    model, _, plan = pruned
    proto = onnx.load(str(model))
    outside = tmp_path / "outside.onnx"
    beside = {"save_as_external_data": True, "location": "w.html", "size_threshold": 0}
    onnx.save(proto, str(outside), **beside)
    assert "the same file" in refused("report", outside, plan, "-o", tmp_path / "w.html")
