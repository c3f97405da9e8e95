"""A run gives a number, and a search goes by it."""

from __future__ import annotations

import math
import re

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra_plugins.spa_harness.optuna_sweeper import space
from optuna import distributions

from experiments.results.objective import check, objective
from experiments.runs import execute as stages
from experiments.sweeps.survey import survey
from spa.errors import SettingError
from tests.experiments.test_launch import command  # noqa: F401  (a fixture)


@pytest.fixture
def curve(monkeypatch, made_result):
    """Replaces the stages: accuracy is best at max_ratio 0.8; above 0.9 runs fail."""
    seen: list[float] = []

    def execute(settings, folder, progress, interrupts, team):
        ratio = settings.limits.max_ratio
        seen.append(ratio)
        if ratio > 0.9:
            raise RuntimeError("nothing is left")
        acc = {"dense": 0.9, "pruned": 0.1, "finetuned": 1 - (ratio - 0.8) ** 2}
        return made_result(run_id=settings.run_id, seed=settings.seed, acc=acc)

    monkeypatch.setattr(stages, "execute", execute)
    return seen


SEARCH = ("-m", "sweeper=optuna", "max_ratio=interval(0.3,0.9)", "criterion=l1")


def test_a_search_finds_what_is_best_and_goes_on_where_it_was(curve, command, tmp_path):  # noqa: F811
    code, said = command(*SEARCH, "hydra.sweeper.n_trials=12")
    assert code == 0, said
    assert len(curve) == 12
    best = re.search(r"12 of 12 trials; best ([\d.]+) with max_ratio=([\d.]+)", said)
    assert best is not None, said
    assert float(best[1]) == pytest.approx(1 - (float(best[2]) - 0.8) ** 2, abs=1e-5)
    assert float(best[2]) == min(curve, key=lambda ratio: abs(ratio - 0.8))
    first = list(curve)
    code, said = command(*SEARCH, "hydra.sweeper.n_trials=14")
    assert code == 0
    assert curve[:12] == first  # none of them again
    assert len(curve) == 14
    assert len(survey(tmp_path / "results", "adhoc")) == 14


def test_a_failed_trial_does_not_stop_a_search(curve, command):  # noqa: F811
    code, said = command(*SEARCH[:2], "max_ratio=0.5,0.95", "hydra.sweeper.n_trials=8")
    assert set(curve) == {0.5, 0.95}
    assert code == 1
    assert "runs failed" in said
    assert "best 0.91 with max_ratio=0.5" in said


def test_what_cannot_be_searched_is_one_line(curve, command):  # noqa: F811
    for arguments, words in (
        (["-m", "sweeper=optuna", "criterion=l1"], "has nothing to search"),
        ([*SEARCH, "hydra.sweeper.direction=up"], "maximize or minimize, but is up"),
        ([*SEARCH, "optimized_metric=acc", "hydra.sweeper.n_trials=1"], "unknown optimized_metric"),
    ):
        code, said = command(*arguments)
        assert code == 1
        assert words in said
        assert "Traceback" not in said
    assert curve == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=interval(0.5,0.9)", distributions.FloatDistribution(0.5, 0.9)),
        ("a=tag(log,interval(0.001,1))", distributions.FloatDistribution(0.001, 1, log=True)),
        ("a=int(interval(1,9))", distributions.IntDistribution(1, 9)),
        ("a=range(1,9,4)", distributions.IntDistribution(1, 5, step=4)),
        ("a=1,2", distributions.CategoricalDistribution(["1", "2"])),
        ("a=choice(x,y)", distributions.CategoricalDistribution(["x", "y"])),
    ],
)
def test_what_is_drawn_from(text, expected):
    fixed, searched = space({"a": "3,4", "b": "5"}, [text, "c=6"], OverridesParser.create())
    assert searched == {"a": expected}
    assert fixed == ["b=5", "c=6"]


def test_the_number_of_a_run(made_result):
    result = made_result(acc={"dense": 0.9, "pruned": 0.2, "finetuned": None})
    assert objective(result) == 0.2  # the last stage that there is
    assert objective(made_result()) == 0.98
    assert objective(result, "latency_ms.pruned") == 1.5
    assert objective(result, "metrics.dense.acc") == 0.9
    with pytest.raises(SettingError, match="the run has no such number; it has latency_ms.dense"):
        objective(result, "metrics.finetuned.acc")
    with pytest.raises(SettingError, match="unknown optimized_metric"):
        check("acc")


def test_a_run_returns_its_number_also_when_it_was_done(curve, composed, tmp_path):
    from omegaconf import open_dict

    from experiments.runs.launch import launch

    def outcome(*overrides: str) -> tuple[str, float]:
        cfg = composed(f"results_dir={tmp_path}", *overrides)
        with open_dict(cfg):
            return tuple(launch(cfg, [], "[run]"))

    assert outcome("max_ratio=0.8") == ("done", 1.0)
    assert outcome("max_ratio=0.8") == ("skipped", 1.0)
    assert outcome("max_ratio=0.8", "optimized_metric=reached.rf") == ("skipped", 2.01)
    state, value = outcome("max_ratio=0.95")
    assert (state, math.isnan(value)) == ("failed", True)
    state, value = outcome("max_ratio=0.8", "optimized_metric=reached.rq")
    assert (state, math.isnan(value)) == ("skipped", True)
