"""Association trees: as drawn by hand on a chain, a residual and a concat net."""

from __future__ import annotations

import textwrap

import numpy as np
import onnx
import pytest

import spa
from experiments.methods import METHODS, Job
from experiments.methods.baselines.onnxpruner import l1_tree, l2_tree
from spa.cli.main import main
from spa.graph.association import association_trees, drawn
from spa.importance.view import View

CHAIN = """
<ir_version: 8, opset_import: ["" : 17]>
chain (float[N, 3, 8, 8] x) => (float[N, 2, 8, 8] y)
<float[4, 3, 1, 1] wa = {A}, float[4] s = {S}, float[4] h = {S}, float[4] m = {S}, float[4] v = {S},
 float[4, 1, 1, 1] wd = {S}, float[2, 4, 1, 1] wb = {B}>
{
  [a] a = Conv(x, wa)
  [n] n = BatchNormalization(a, s, h, m, v)
  [r] r = Relu(n)
  [d] d = Conv<group = 4>(r, wd)
  [b] y = Conv(d, wb)
}
"""
RESIDUAL = """
<ir_version: 8, opset_import: ["" : 17]>
residual (float[N, 3, 8, 8] x) => (float[N, 2, 8, 8] y)
<float[4, 3, 1, 1] wa = {A}, float[4, 4, 1, 1] wb = {C}, float[4, 4, 1, 1] wc = {C},
 float[2, 4, 1, 1] we = {B}>
{
  [a] a = Conv(x, wa)
  [b] b = Conv(a, wb)
  [r] r = Relu(b)
  [c] c = Conv(r, wc)
  [sum] t = Add(a, c)
  [e] y = Conv(t, we)
}
"""
CONCAT = """
<ir_version: 8, opset_import: ["" : 17]>
concat (float[N, 3, 8, 8] x) => (float[N, 2, 8, 8] y)
<float[4, 3, 1, 1] wa = {A}, float[4, 3, 1, 1] wb = {A}, float[2, 8, 1, 1] wc = {D}>
{
  [a] a = Conv(x, wa)
  [b] b = Conv(x, wb)
  [join] t = Concat<axis = 1>(a, b)
  [c] y = Conv(t, wc)
}
"""
DRAWN = {
    CHAIN: """
        Conv "a": one-to-one
          BatchNormalization "n": carrier
            Relu "r": relay
              Conv "d": carrier
                Conv "b": reader
        Conv "b": one-to-one, open
    """,
    RESIDUAL: """
        Conv "a": many-to-many
          Conv "b": reader
          Add "sum": relay
            Conv "e": reader
        Conv "b": one-to-one
          Relu "r": relay
            Conv "c": reader
        Conv "c": many-to-many
          Add "sum": relay
            Conv "e": reader
        Conv "e": one-to-one, open
    """,
    CONCAT: """
        Conv "a": many-to-one
          Concat "join": relay
            Conv "c": reader
        Conv "b": many-to-one
          Concat "join": relay
            Conv "c": reader
        Conv "c": one-to-one, open
    """,
}


def made(text: str) -> onnx.ModelProto:
    sizes = {"A": 12, "B": 8, "C": 16, "D": 16, "S": 4}
    rng = np.random.default_rng(0)
    for letter, size in sizes.items():
        while f"{{{letter}}}" in text:
            values = ", ".join(f"{v:.3f}" for v in rng.uniform(0.1, 1, size))
            text = text.replace(f"{{{letter}}}", f"{{{values}}}", 1)
    return onnx.parser.parse_model(text)


@pytest.mark.parametrize("text", DRAWN, ids=["chain", "residual", "concat"])
def test_trees_are_those_drawn_by_hand(text):
    trees = association_trees(spa.load(made(text)))
    assert "\n".join(map(drawn, trees)) == textwrap.dedent(DRAWN[text]).strip()


def test_the_command_shows_them(tmp_path, capsys):
    onnx.save(made(RESIDUAL), tmp_path / "m.onnx")
    assert main(["inspect", str(tmp_path / "m.onnx"), "--as", "onnxpruner"]) == 0
    said = capsys.readouterr().out
    assert said.endswith(textwrap.dedent(DRAWN[RESIDUAL]).strip() + "\n")
    assert main(["inspect", str(tmp_path / "m.onnx")]) == 0
    assert "association" not in capsys.readouterr().out


def weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}


def norm(value: np.ndarray, axis: int, score) -> np.ndarray:
    rows = np.moveaxis(value, axis, 0).reshape(value.shape[axis], -1)
    return np.abs(rows).sum(1) if score is l1_tree else np.sqrt(np.square(rows).sum(1))


@pytest.mark.parametrize("score", [l1_tree, l2_tree])
def test_norms_are_added_over_the_trees(score):
    """Behind the sum, what e reads counts for a and for c; statistics of norms do not."""
    w = weights(made(RESIDUAL))
    by_hand = norm(w["wa"], 0, score) + norm(w["wb"], 1, score) + norm(w["wc"], 0, score)
    by_hand += 2 * norm(w["we"], 1, score)
    np.testing.assert_allclose(scores(RESIDUAL, score)["wa"], by_hand, rtol=1e-5)
    w = weights(made(CHAIN))
    by_hand = sum(norm(w[name], 0, score) for name in ("wa", "s", "h", "wd"))
    by_hand = by_hand + norm(w["wb"], 1, score)
    np.testing.assert_allclose(scores(CHAIN, score)["wa"], by_hand, rtol=1e-5)


def scores(text: str, score) -> dict[str, np.ndarray]:
    model = spa.load(made(text))
    groups = spa.find_groups(model)
    found = score(View(model, groups)).of
    return {group.members[0].name: found[group.components] for group in groups.groups}


def test_every_layer_loses_the_same_share(tmp_path):
    onnx.save(made(RESIDUAL), tmp_path / "m.onnx")
    pruned = METHODS.get("onnxpruner")(Job(tmp_path / "m.onnx", spa.Target(ratio=0.5)))
    assert pruned.proof.equal
    assert [len(group.removed) for group in pruned.plan.groups] == [2, 2]
    gone = np.argsort(scores(RESIDUAL, l1_tree)["wa"])[:2]
    assert list(pruned.plan.groups[0].removed) == sorted(gone)
