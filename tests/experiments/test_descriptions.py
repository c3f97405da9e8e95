"""Texts that scikit-learn carries, as rows of characters."""

from __future__ import annotations

import numpy as np

from experiments.data import load
from experiments.data.descriptions import OFTEN, RARE, encode, vocabulary


def test_the_texts_are_cut_so_that_targets_come_next():
    data = load({"name": "descriptions", "window": 16})
    (tokens,), wanted = data.train.take(np.arange(50))[0].values(), data.train.targets[:50]
    assert tokens.shape == wanted.shape == (50, 16)
    assert np.array_equal(tokens[:, 1:], wanted[:, :-1])
    assert 30 < data.vocabulary == data.classes < 60
    assert 0 <= min(tokens.min(), wanted.min()) <= wanted.max() < data.classes
    assert len(data.train) > 3 * len(data.test) > 300
    data = load({"name": "descriptions"})  # shorter windows may say the same, as headings do
    seen = {row.tobytes() for row in data.train.inputs["input"]}
    assert not any(row.tobytes() in seen for row in data.test.inputs["input"])


def test_the_vocabulary_is_what_training_texts_have_often():
    known = vocabulary(["ab" * OFTEN, "b" + "c" * (OFTEN - 1)])
    assert known == {"a": 1, "b": 2}
    assert encode("abcd", known).tolist() == [1, 2, RARE, RARE]
