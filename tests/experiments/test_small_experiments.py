"""Experiments of other tasks than pictures', at their smallest: from data to a row of a table."""

from __future__ import annotations

import json

import pytest

from experiments import tables
from experiments.ground import packages
from tests.experiments.test_configuration import SIZED
from tests.experiments.test_end_to_end import command

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", SIZED)
def test_an_experiment_trains_prunes_distils_and_measures(name, tmp_path, capsys):
    """A criterion that sees data, and uniform widths; packages of 2 to 8 MB are fetched."""
    given = ("criterion=taylor", "trainer.finetune.distill=0.5", f"data_root={packages.cache()}")
    assert command(tmp_path, f"experiment={name}", *given) == 0
    results = [json.loads(path.read_text()) for path in tmp_path.glob(f"runs/{name}/*/*/*.json")
               if path.name == "result.json"]  # fmt: skip
    assert {result["method"] for result in results} == {"spa", "uniform"}
    for result in results:
        assert result["reached"]["rf"] >= 2
        assert result["proof"]
        key = "miou" if result["task"] == "segmentation" else "acc"
        for stage in ("dense", "pruned", "finetuned"):
            assert 0 < result["metrics"][stage][key] <= 1
            assert 0 < result["validation"][stage][key] <= 1
        epochs = result["training"]["finetune"]["epochs"]
        assert epochs == result["training"]["budget"]["finetune"]["epochs"] > 0
    (seen,) = (use for result in results if result["method"] == "spa" for use in result["seen"])
    assert (seen["kind"], seen["source"]) == ("labelled", "train")
    assert tables.main(["--experiment", name, "--results", str(tmp_path), "--print"]) == 0
    assert capsys.readouterr().out.count("| RF 2 |") == 2
