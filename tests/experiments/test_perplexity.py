"""Perplexity against its definition, and a language model from training to a row of a table."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from experiments import tables
from experiments.data import load
from experiments.data.base import ArraySplit
from experiments.tasks import TASKS, Interface
from spa.errors import InputError
from spa.training.objective import IGNORED
from tests.experiments.test_end_to_end import command

TASK = TASKS.get("perplexity")()


def by_hand(scores: np.ndarray, targets: np.ndarray) -> float:
    """exp of the mean of -log p, one token after another."""
    losses = []
    for row, wanted in zip(scores.reshape(-1, scores.shape[-1]), targets.ravel(), strict=True):
        if wanted != IGNORED:
            weights = [math.exp(score - max(row)) for score in row]
            losses.append(-math.log(weights[wanted] / sum(weights)))
    return math.exp(sum(losses) / len(losses))


@pytest.fixture
def answered():
    """Scores (70, 5, 7), more than a batch of samples, and targets of which some do not count."""
    rng = np.random.default_rng(0)
    scores = 3 * rng.standard_normal((70, 5, 7)).astype(np.float32)
    targets = rng.integers(0, 7, (70, 5))
    targets[:, 3:][rng.random((70, 2)) < 0.5] = IGNORED
    return scores, ArraySplit({"input": np.arange(70)[:, None]}, targets)


def test_perplexity_is_its_definition(answered):
    scores, split = answered
    found = TASK.measure(lambda inputs: [scores[inputs["input"][:, 0]]], split)
    assert found["ppl"] == pytest.approx(by_hand(scores, split.targets), rel=1e-6)
    alike = np.zeros_like(scores)
    found = TASK.measure(lambda inputs: [alike[inputs["input"][:, 0]]], split)
    assert found["ppl"] == pytest.approx(7)


def test_a_network_that_is_sure_and_wrong_still_has_a_perplexity():
    """In single precision the probability of exp(-200) is zero, and its logarithm infinite."""
    scores, targets = np.zeros((1, 1, 2), np.float32), np.array([[0]])
    scores[..., 1] = 200
    split = ArraySplit({"input": np.zeros((1, 1))}, targets)
    assert TASK.measure(lambda inputs: [scores], split)["ppl"] == pytest.approx(np.exp(200.0))


def test_the_loss_is_the_logarithm_of_each_samples_perplexity(answered):
    scores, split = answered
    loss = float(TASK.loss((torch.from_numpy(scores).double(),), torch.from_numpy(split.targets)))
    each = [by_hand(one[None], wanted[None])
            for one, wanted in zip(scores, split.targets, strict=True)]  # fmt: skip
    assert loss == pytest.approx(sum(math.log(value) for value in each), rel=1e-9)


def test_what_is_no_language_model_is_refused():
    data = load({"name": "descriptions"})
    with pytest.raises(InputError, match=r"its output 'y' is \[10\] after the batch .* \[64, "):
        TASK.fits(Interface("model=m", {}, {"y": (10,)}), data)
    with pytest.raises(InputError, match="needs a row of tokens a sample, but the targets of dig"):
        TASK.fits(Interface("model=m", {}, {"y": (10,)}), load({"name": "digits"}))


def by_counts() -> float:
    """Perplexity of who knows how often every character occurs, and nothing else."""
    data = load({"name": "descriptions"})
    counts = 1 + np.bincount(data.train.targets.ravel(), minlength=data.classes)
    shares = counts / counts.sum()
    return float(np.exp(-np.log(shares[data.test.targets]).mean()))


@pytest.mark.slow
def test_a_language_model_is_trained_pruned_tuned_and_tabulated(tmp_path, capsys):
    small = (
        *("dataset=descriptions", "model=gpt_small", "target.rf=1.5", "calibration_samples=32"),
        *("trainer.train.optimizer=adamw", "trainer.finetune.optimizer=adamw"),
        *("trainer.train.batch=16", "trainer.finetune.batch=16", "trainer.train.epochs=15"),
        *("trainer.train.lr=0.003", "trainer.finetune.lr=0.002", "gradient_samples=64"),
    )
    assert command(tmp_path, "-m", *small, "criterion=l1,taylor") == 0
    obspa = ("method=obspa", "calibration=id", "time=train_prune")
    assert command(tmp_path, *small, *obspa) == 0
    assert command(tmp_path, *small, "criterion=snip", "criterion_data=noise") == 0
    results = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/*/*/result.json")]
    assert len(results) == 4
    for result in results:
        assert result["task"] == "perplexity"
        found = {stage: values["ppl"] for stage, values in result["metrics"].items()}
        assert found["dense"] < 0.8 * by_counts()
        assert found["dense"] < found["pruned"]
        assert result["reached"]["rf"] >= 1.5
        if result["method"] == "spa":
            assert found["finetuned"] < found["pruned"]
    arguments = ["--experiment", "adhoc", "--results", str(tmp_path), "--print"]
    assert tables.main(arguments) == 0
    text = capsys.readouterr().out
    assert text.count("| gpt_small |") == 4
    assert "fine-tuned ppl." in text
    assert "Perplexities are of the next token on the test split" in text
