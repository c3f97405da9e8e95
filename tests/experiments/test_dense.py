"""Dense baselines are made once, whoever asks, and again after a crash."""

from __future__ import annotations

import json
import threading
import time

import onnx
import pytest

from experiments.config.settings import dense_key
from experiments.data import load
from experiments.ground import files, provenance
from experiments.ground.progress import Progress
from experiments.runs import dense
from experiments.runs.execute import trainer_of
from experiments.runs.lease import Lost
from experiments.training.interrupts import Interrupts
from experiments.training.trainer import Trainer
from spa.errors import OutputError


def trainer(settings) -> Trainer:
    return trainer_of(settings, Progress("test"), Interrupts())


@pytest.fixture
def makes(monkeypatch) -> list[str]:
    made: list[str] = []

    def make(lease, settings, data, trainer):
        folder = lease.folder
        made.append(folder.name)
        time.sleep(0.3)
        for name in ("init.onnx", "dense.onnx", "metrics.jsonl"):
            (folder / name).write_text("")
        hashes = {name: files.sha256(folder / name) for name in ("dense.onnx", "metrics.jsonl")}
        (folder / "done.json").write_text(json.dumps({"epochs": 1, "files": hashes}))

    monkeypatch.setattr(dense, "_make", make)
    return made


def test_two_runs_at_once_train_one_baseline(parsed, tmp_path, makes, capsys):
    settings = parsed(f"results_dir={tmp_path}")
    found = []

    def ask() -> None:
        found.append(dense.baseline(settings, None, trainer(settings)))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(makes) == 1
    assert found[0] == found[1]
    assert "which trains the same dense baseline" in capsys.readouterr().err


def test_a_baseline_that_was_not_finished_is_made_again(parsed, tmp_path, makes):
    settings = parsed(f"results_dir={tmp_path}")
    dense.baseline(settings, None, trainer(settings))
    (tmp_path / "dense" / dense_key(settings) / "done.json").unlink()
    dense.baseline(settings, None, trainer(settings))
    assert len(makes) == 2


def test_a_training_whose_network_cannot_be_written_is_not_lost(
    parsed, tmp_path, monkeypatch, capsys
):
    small = ("trainer=smoke", "trainer.train.epochs=1", "checkpoint_seconds=0")
    settings = parsed(f"results_dir={tmp_path}", *small)
    state = tmp_path / "dense" / dense_key(settings) / "checkpoint.pt"
    write = files.write_bytes

    def full(path, content):
        if path.name == "dense.onnx":
            raise OutputError(f"cannot write {path}: No space left on device")
        write(path, content)

    data = load(settings.dataset)
    with monkeypatch.context() as patch:
        patch.setattr(files, "write_bytes", full)
        with pytest.raises(OutputError, match="No space"):
            dense.baseline(settings, data, trainer(settings))
    assert state.is_file()
    other = {**provenance.code(), "commit": "another"}
    with monkeypatch.context() as patch:  # whose state may be laid out otherwise
        patch.setattr(files, "write_bytes", full)
        patch.setattr(provenance, "code", lambda: other)
        with pytest.raises(OutputError, match="No space"):
            dense.baseline(settings, data, trainer(settings))
    assert "of another network or code: starting over" in capsys.readouterr().err
    dense.baseline(settings, data, trainer(settings))
    assert not state.exists()


@pytest.mark.parametrize("name", ["done.json", "dense.onnx", "metrics.jsonl"])
def test_a_baseline_that_is_torn_is_made_again(parsed, tmp_path, makes, name):
    settings = parsed(f"results_dir={tmp_path}")
    dense.baseline(settings, None, trainer(settings))
    (tmp_path / "dense" / dense_key(settings) / name).write_text("{")
    found = dense.baseline(settings, None, trainer(settings))
    assert len(makes) == 2
    assert found.training == {"epochs": 1}


def test_who_lost_the_lease_leaves_the_other_one_alone(parsed, tmp_path, monkeypatch):
    settings = parsed(f"results_dir={tmp_path}")
    folder = tmp_path / "dense" / dense_key(settings)

    def taken_over(*_):
        (folder / "lease.json").write_text("{}")
        return onnx.ModelProto(), onnx.ModelProto(), []

    monkeypatch.setattr(dense, "_in_torch", taken_over)
    with pytest.raises(Lost, match="taken over"):
        dense.baseline(settings, None, trainer(settings))
    assert not (folder / "dense.onnx").exists()


def test_who_shares_a_baseline(parsed):
    mine = dense_key(parsed())
    for same in ("criterion=l2", "target.rf=3", "time=prune_train", "trainer.finetune.epochs=1"):
        assert dense_key(parsed(same)) == mine
    for other in ("seed=1", "model=resnet20", "dataset.size=16", "trainer.train.epochs=1"):
        assert dense_key(parsed(other)) != mine


def test_a_folder_that_cannot_be_written_is_a_clear_error(parsed, tmp_path):
    (tmp_path / "dense").write_text("a file where a folder should be")
    settings = parsed(f"results_dir={tmp_path}")
    with pytest.raises(OutputError, match="cannot write in"):
        dense.baseline(settings, None, trainer(settings))
