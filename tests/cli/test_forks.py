"""Files with networks inside of Ifs, through the commands."""

import numpy as np
import onnx
import pytest

import spa
from tests.cli.conftest import save
from tests.forks import ifs, same_both_ways, weights, zeroed
from tests.pruning.test_forks import nested, plain


@pytest.mark.parametrize("make", [plain, nested])
def test_prune_apply_verify_and_prune_again(make, good, tmp_path):
    proto = make()
    dense, out, plan = save(proto, tmp_path / "m.onnx"), tmp_path / "o.onnx", tmp_path / "p.json"
    document = good(
        "prune", dense, "-o", out, "--rp", 2, "--scope", "local", "--plan", plan, "--json"
    ).document
    assert document["proof"]["equal"]
    smaller = onnx.load(out)
    assert [node.name for node in ifs(smaller)] == [node.name for node in ifs(proto)]
    same_both_ways(zeroed(proto, spa.Plan.load(plan)), smaller)
    good("apply", dense, "--plan", plan, "-o", tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == out.read_bytes()
    checked = good("verify", dense, out, "--plan", plan, "--json").document
    assert checked["equal"]
    assert any("both branches of its If nodes" in check for check in checked["checks"])
    rows = good("profile", dense, out, "--rounds", 1, "--json").document["models"]
    assert [row["params"] for row in rows] == [
        document["params"]["dense"], document["params"]["pruned"],
    ]  # fmt: skip
    good("prune", out, "-o", tmp_path / "least.onnx", "--rp", 2, "--scope", "local")
    least = onnx.load(tmp_path / "least.onnx")
    total = [sum(np.prod(s) for s in weights(p).values()) for p in (proto, smaller, least)]
    assert total[0] > 1.9 * total[1] > 1.9 * 1.9 * total[2]


def test_inspect_shows_what_is_in_the_branches(good, tmp_path):
    path = save(plain(), tmp_path / "m.onnx")
    groups = good("inspect", path, "--json").document["groups"]
    members = [{member["name"] for member in group["members"]} for group in groups]
    assert {"a_w0", "a_b0", "a_w1"} in members
    assert {"b_w0", "b_b0", "b_w1"} in members


def test_a_plan_of_another_file_is_refused(good, refused, tmp_path):
    dense, plan = save(plain(), tmp_path / "m.onnx"), tmp_path / "p.json"
    good("prune", dense, "-o", tmp_path / "o.onnx", "--ratio", 0.5, "--plan", plan)
    other = save(nested(), tmp_path / "n.onnx")
    assert "made for a model" in refused("apply", other, "--plan", plan, "-o", tmp_path / "x.onnx")
