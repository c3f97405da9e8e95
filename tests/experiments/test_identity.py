"""What a run is: its id holds what the chosen things declare and use, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from experiments.config.settings import VERSION, dense_key
from experiments.ground import files
from experiments.methods import criteria
from spa.errors import SettingError

OBSPA = ("method=obspa", "time=train_prune")


@dataclass(frozen=True)
class Warm:
    """The settings of a criterion."""

    temperature: float = 1.0


@pytest.mark.parametrize(
    ("base", "unused"),
    [
        ((), "gradient_samples=8"),  # l1 sees no data
        ((), "calibration_samples=8"),
        (("criterion=random",), "gradient_samples=8"),
        ((), "criterion_data=noise"),
        (OBSPA, "aggregate=max"),
        (OBSPA, "normalize=max"),
        (OBSPA, "criterion=snip"),
        (OBSPA, "gradient_samples=8"),
        (OBSPA, "dataset.ood=fashion_mnist"),  # of calibration=ood alone
        (OBSPA, "trainer.finetune.epochs=1"),
        (("time=train_prune",), "trainer.finetune.lr=1"),
        (("time=prune_train",), "trainer.finetune.lr=1"),
        (("method=torch_pruning",), "round_to=8"),
        (("method=torch_pruning",), "criterion=l2"),
        ((), "trainer.name=mine"),
        ((), "trainer.finetune.distill_temperature=2"),  # of a distillation that there is none of
        ((), "trainer.finetune.distill=0"),
        ((), "trainer.finetune.ema=0"),
        (("time=train_prune",), "trainer.finetune.distill=0.5"),
    ],
)
def test_what_a_run_does_not_use_is_not_in_its_id(parsed, base, unused):
    assert parsed(*base, unused).run_id == parsed(*base).run_id


@pytest.mark.parametrize(
    ("base", "used"),
    [
        (("criterion=snip",), "gradient_samples=8"),
        (("criterion=snip",), "criterion_data=noise"),
        (("criterion=grasp",), "aggregate=max"),
        (OBSPA, "calibration_samples=8"),
        (OBSPA, "method.damping=0.1"),
        (OBSPA, "round_to=8"),
        ((), "trainer.finetune.lr=1"),
        ((), "trainer.finetune.distill=0.5"),
        (("trainer.finetune.distill=0.5",), "trainer.finetune.distill_temperature=2"),
        ((), "trainer.finetune.ema=0.9"),
        ((), "trainer.train.ema=0.9"),
        ((), "trainer.finetune.warmup=1"),
        ((), "trainer.finetune.label_smoothing=0.1"),
        ((), "method.steps=4"),
        (("method=torch_pruning",), "target.rf=3"),
    ],
)
def test_what_a_run_uses_is_in_its_id(parsed, base, used):
    assert parsed(*base, used).run_id != parsed(*base).run_id


def test_a_criterions_own_settings_are_checked_and_enter_the_id(parsed, monkeypatch):
    monkeypatch.setattr(criteria, "settings_of", lambda name: Warm)
    plain, warm = parsed(), parsed("+criterion.temperature=5")
    assert warm.scoring.options == Warm(5)
    assert warm.run_id != plain.run_id == parsed("+criterion.temperature=1").run_id
    with pytest.raises(SettingError, match=r"criterion l1.temperature is a finite number, but is"):
        parsed("+criterion.temperature=hot")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("+criterion.temperature=5", "criterion l1 has no setting temperature; it has none"),
        ("+method.step=4", "method spa has no setting step; it has steps, attention"),
        ("+dataset.sise=8", "dataset has no setting sise; it has ood, size"),
        ("+latency.runs=8", "latency has no setting runs; it has batch, threads, warmup, repeats"),
        (
            "+trainer.train.distill=0.5",
            "trainer.train.distill is 0.5, but the dense network itself has none to learn from; use"
            " trainer.finetune.distill",
        ),
    ],
)
def test_a_setting_of_nobody_is_refused(parsed, override, said):
    with pytest.raises(SettingError) as caught:
        parsed(override)
    assert str(caught.value) == said


def test_a_schedule_without_meaning_is_refused_before_anything_is_trained(parsed):
    with pytest.raises(SettingError, match=r"trainer.finetune: A multistep schedule needs miles"):
        parsed("trainer.finetune.schedule=multistep")


def test_the_id_says_by_which_rule_it_was_made(parsed):
    assert parsed().semantic()["version"] == VERSION == 2


def test_earlier_runs_keep_their_ids(parsed):
    """What came to a budget later is in it only where it is used."""
    budgets = parsed().semantic()["trainer"]
    later = {"distill", "distill_temperature", "ema"}
    assert not any(later & budget.keys() for budget in budgets.values())
    assert parsed("trainer=smoke").run_id == "6ddab352c8"


def test_a_framework_that_averages_no_weights_is_not_asked_to(parsed):
    with pytest.raises(SettingError, match="framework=jax trains the dense .* averages no weights"):
        parsed("framework=jax", "trainer.train.ema=0.9")
    assert parsed("framework=jax", "trainer.finetune.ema=0.9").finetune.ema == 0.9


def test_a_file_is_read_once_however_often_the_run_is_named(parsed, tmp_path, monkeypatch):
    (tmp_path / "m.onnx").write_bytes(b"a network")
    read: list[object] = []
    sha256 = files.sha256
    monkeypatch.setattr(files, "sha256", lambda path: read.append(path) or sha256(path))
    settings = parsed(f"model=onnx/{tmp_path}/m.onnx")
    for _ in range(3):
        assert settings.run_id
        assert settings.semantic()
        assert dense_key(settings)
    assert read == [tmp_path / "m.onnx"]


def test_a_file_that_is_dense_as_it_is_has_no_training_in_its_id(parsed, tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"a network")
    model = f"model=onnx/{tmp_path}/m.onnx"
    assert parsed(model, "trainer.train.lr=1").run_id == parsed(model).run_id
    fresh = (model, "time=prune_train")
    assert parsed(*fresh, "trainer.train.lr=1").run_id != parsed(*fresh).run_id
