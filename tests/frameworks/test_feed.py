"""Batches as files: the same in every framework, a few at a time, with the end in sight."""

from __future__ import annotations

import importlib.util
import os

import numpy as np
import pytest

from spa.frameworks.process import WORKERS
from spa.training import feed as feeding
from spa.training.feed import Feed, fed


@pytest.fixture(scope="module")
def common():
    spec = importlib.util.spec_from_file_location("worker_common", WORKERS / "common.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_worker_sees_every_batch_once_and_its_rate(tmp_path, common, monkeypatch):
    monkeypatch.setattr(feeding, "PART_BATCHES", 2)
    rows = np.arange(11 * 3, dtype=np.float32).reshape(11, 3)

    def epoch(number):
        return [(rows[i : i + 4] + number, np.arange(i, min(i + 4, 11))) for i in range(0, 11, 4)]

    feed = Feed(epoch, lambda epoch, step: epoch + step / 10, 2, 3, 4)
    with fed(feed, tmp_path):
        seen = [(list(batches), rates) for batches, rates in common.epochs(tmp_path)]
        assert common.all_rates(tmp_path) == [0, 0.1, 0.2, 1, 1.1, 1.2]
    for number, (batches, rates) in enumerate(seen):
        assert rates == [number, number + 0.1, number + 0.2]
        assert [len(y) for _, y in batches] == [4, 4, 3]
        np.testing.assert_array_equal(np.concatenate([x for x, _ in batches]), rows + number)
        np.testing.assert_array_equal(np.concatenate([y for _, y in batches]), np.arange(11))
    assert not list(tmp_path.glob("*.npz"))


def test_no_more_parts_lie_there_than_are_allowed(tmp_path, common, monkeypatch):
    monkeypatch.setattr(feeding, "PART_BATCHES", 1)
    most = 0
    batch = (np.zeros((2, 1), np.float32), np.zeros(2, np.int64))
    with fed(Feed(lambda e: [batch] * 20, lambda e, s: 0.1, 1, 20, 2), tmp_path):
        ((batches, _),) = common.epochs(tmp_path)
        for _ in batches:
            most = max(most, len(list(tmp_path.glob("*.npz"))))
    assert 0 < most <= feeding.AHEAD


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_feed_that_breaks_ends_the_worker(tmp_path, common, monkeypatch):
    def epoch(number):
        raise OSError("no such picture")

    appeared, replace = [], os.replace

    def seen(source, target):
        appeared.append((target.exists(), source.read_text()))
        replace(source, target)

    monkeypatch.setattr(feeding.os, "replace", seen)
    with fed(Feed(epoch, lambda e, s: 0.1, 1, 1, 2), tmp_path):
        ((batches, _),) = common.epochs(tmp_path)
        with pytest.raises(common.Refusal, match="OSError: no such picture"):
            next(batches)
    # The worker looks all the time, so what it finds must be whole.
    assert appeared == [(False, "OSError: no such picture")]
