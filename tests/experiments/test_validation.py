"""What is held out of the training data: how it is chosen, asked for, and said in records."""

from __future__ import annotations

import json

import numpy as np
import pytest

from experiments.config.settings import dense_key
from experiments.data.base import ArraySplit, Dataset
from experiments.data.holdout import hold_out
from experiments.loggers import content
from experiments.results import guard
from experiments.results.records import read_result, write_result
from experiments.results.schema import checksum
from experiments.tables.footnote import notes
from spa.errors import SettingError
from tests.experiments.test_end_to_end import command


def split_of(*values: float) -> ArraySplit:
    return ArraySplit({"input": np.array(values)}, np.arange(len(values)))


def test_every_label_gives_its_share_and_no_sample_is_on_both_sides():
    labels = np.array([0] * 50 + [1] * 20 + [2] * 4)
    shuffled = np.random.default_rng(1).permutation(labels)
    for given in (labels, shuffled):
        kept, held = hold_out(given)
        assert np.bincount(given[held], minlength=3).tolist() == [5, 2, 0]
        assert sorted([*kept, *held]) == list(range(74))
        assert np.array_equal(held, hold_out(given)[1])
        assert held.tolist() == sorted(held)
    assert hold_out(labels)[1].tolist() != [0, 1, 2, 3, 4, 50, 51]  # not the first ones


def test_a_data_set_gives_what_is_asked_for_and_hashes_all():
    held = Dataset("d", split_of(1, 2), split_of(3, 4), 2, validation=split_of(5, 6))
    assert held.held("validation") is held.validation
    assert held.held("test") is held.test
    plain = Dataset("d", held.train, held.test, 2)
    other = Dataset("d", held.train, held.test, 2, validation=split_of(5, 7))
    assert len({data.fingerprint() for data in (held, plain, other)}) == 3
    with pytest.raises(SettingError, match="split=validation, but d holds out none"):
        plain.held("validation")


def test_runs_measured_on_another_split_are_other_runs_of_one_baseline(parsed):
    test, validation = parsed(), parsed("split=validation")
    assert "split" not in test.semantic()  # as before there was a choice
    assert validation.semantic()["split"] == "validation"
    assert test.run_id != validation.run_id
    assert dense_key(test) == dense_key(validation)
    with pytest.raises(SettingError, match='unknown split "tets"; did you mean test'):
        parsed("split=tets")


def test_nothing_is_trained_where_there_is_nothing_to_measure_on(tmp_path, capsys):
    assert command(tmp_path, "split=validation") == 1
    assert "digits holds out none of its training data" in capsys.readouterr().err
    assert not (tmp_path / "dense").exists()


def test_records_from_before_the_choice_are_of_the_test_split(tmp_path, made_result):
    old = made_result()
    del old["split"]
    (tmp_path / "old.json").write_text(json.dumps({**old, "checksum": checksum(old)}))
    assert read_result(tmp_path / "old.json")["split"] == "test"
    write_result(tmp_path / "new.json", made_result(split="validation"))
    assert read_result(tmp_path / "new.json")["split"] == "validation"


def test_tables_say_the_split_and_refuse_two_in_one(made_result):
    one, two = made_result(), made_result(split="validation", run_id="b")
    assert "are top-1 on the test split" in " ".join(notes([one]))
    assert "are top-1 on the validation split" in " ".join(notes([two]))
    with pytest.raises(SettingError, match="differ in split: test in .* --where split=test"):
        guard.check([one, two])


def test_a_mirrored_number_says_its_split():
    assert content.numbers({"stage": "test pruned", "accuracy": 0.5}) == (
        "prune", {"test/accuracy": 0.5}
    )  # fmt: skip
    assert content.numbers({"stage": "validation dense", "accuracy": 0.5}) == (
        "dense", {"validation/accuracy": 0.5}
    )  # fmt: skip
    assert content.numbers({"stage": "round 1", "loss": 0.5}) == ("round 1", {"round 1/loss": 0.5})
