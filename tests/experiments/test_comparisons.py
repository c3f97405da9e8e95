"""The experiments that compare SPA with others: every size composes, with the controls in each."""

from __future__ import annotations

import pytest

from experiments.config.parsing import parse
from experiments.config.settings import dense_key
from experiments.results.guard import budget
from tests.experiments.test_configuration import sweep_of

NAMES = ("architectures", "prune_train", "train_prune", "train_prune_finetune")


# At cpu all runs are composed in test_configuration.py.
@pytest.mark.parametrize("size", ["smoke", "paper"])
@pytest.mark.parametrize("name", NAMES)
def test_every_size_has_random_channels_and_uniform_widths(composed, name, size):
    runs = sweep_of(composed, name, f"trainer={size}", "seed=0")
    said = [" ".join(run) for run in runs]
    assert any("criterion=random" in text for text in said)
    assert any("method=uniform" in text for text in said)
    settings = [parse(composed(f"experiment={name}", *run)) for run in runs[:: len(runs) // 3 + 1]]
    assert {s.trainer for s in settings} == {size}
    assert len({s.run_id for s in settings}) == len(settings)


def test_all_baselines_start_from_one_dense_network_and_are_tuned_as_long(composed):
    """By the guard's count, in which epochs that a method trains are fine-tuning."""
    runs = sweep_of(composed, "train_prune_finetune", "trainer=smoke")
    settings = [parse(composed("experiment=train_prune_finetune", *run)) for run in runs]
    methods = {"dfpc", "folding", "obspa", "onnxpruner", "spa", "torch_pruning", "uniform"}
    assert {s.method for s in settings} == methods
    assert len({dense_key(s) for s in settings}) == 1
    totals = set()
    for each in settings:
        part = {"train": each.train.plain(), "finetune": each.finetune.plain()}
        training = {"budget": part, "prune": {"epochs": getattr(each.how, "learns", 0)}}
        totals.add(budget({"training": training, "config": {}})["finetune"]["epochs"])
    assert totals == {2}
