"""Tasks: what they measure, and how it goes through records, tables and figures."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import spa
from experiments import figures, tables
from experiments.data import DATASETS, load
from experiments.data.base import ONE, ArraySplit, Dataset, Scale, Split, only
from experiments.data.masked import MaskedSplit
from experiments.data.pictures import PictureSplit
from experiments.ground import files
from experiments.models import MODELS
from experiments.models.network import export, fresh
from experiments.results.columns import STAGES, columns
from experiments.results.records import read_result, write_result
from experiments.results.schema import REQUIRED, SCHEMA_VERSION, checksum
from experiments.runs.evaluate import predictor
from experiments.tasks import TASKS, Interface, Metric, Predict, loss_of_arrays
from experiments.training.budget import Budget
from experiments.training.loop import fit
from spa.bridge import to_onnx, to_torch
from spa.errors import InputError, SettingError
from spa.training.objective import everything

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Guessing:
    """A task with two metrics, of which less is better in the first."""

    said: str = "Doubts are mean entropies"
    metrics: tuple[Metric, ...] = (
        Metric("doubt", "doubt", "doubt", "less", digits=3),
        Metric("hits", "hits", "hits", "more"),
    )

    def measure(self, predict: Predict, split: Split) -> dict[str, float]:
        return {"doubt": float(np.mean(predict(split.take(np.arange(2))[0])[0])), "hits": 1.0}


@pytest.fixture
def guessing(monkeypatch):
    TASKS.names()
    monkeypatch.setattr(TASKS, "_entries", {**TASKS._entries, "guessing": Guessing})


def labelled(scores: np.ndarray, labels: list[int]) -> tuple[Predict, Split]:
    """A network that gives these scores, and a split that has these labels."""
    plain = Scale(np.zeros(1, np.float32), np.ones(1, np.float32))
    pictures = np.arange(len(labels), dtype=np.float32).reshape(-1, 1, 1, 1)
    split = PictureSplit(pictures, np.array(labels), plain)
    return lambda inputs: [scores[inputs[ONE][:, 0, 0, 0].astype(int)]], split


def test_accuracy_is_the_share_of_right_labels():
    scores = np.eye(4, dtype=np.float32)
    predict, split = labelled(scores, [0, 1, 2, 0])
    assert TASKS.get("classification")().measure(predict, split) == {"acc": 0.75}


def without_files(tmp_path) -> list[Dataset]:
    """All data sets that need no file, a task's or another's."""
    found = []
    for name in DATASETS.names():
        # The files are not there, or nobody said which (npz).
        with contextlib.suppress(InputError, SettingError):
            found.append(load({"name": name} | OFFLINE.get(name, {}), tmp_path))
    return found


def bright_pixels() -> Dataset:
    """Which pixels of noise are above its mean."""
    x = np.random.default_rng(0).integers(0, 256, (64, 1, 16, 16), dtype=np.uint8)
    scale = Scale(np.array([0.5], np.float32), np.array([0.3], np.float32))
    split = MaskedSplit(x, (x[:, 0] > 127).astype(np.int64), scale)
    return Dataset("bright", split, split, 2, task="segmentation", scale=scale)


MADE = {"segmentation": bright_pixels}
MODEL = {"segmentation": "unet_small", "perplexity": "gpt_small"}
# What keeps readers from fetching their files.
OFFLINE = {
    name: {"download": False}
    for name in DATASETS.names()
    if "download" in {field.name for field in fields(DATASETS.get(name).options)}
}


@pytest.mark.parametrize("name", TASKS.names())
def test_every_task_trains_and_measures_what_it_says(name, tmp_path):
    """On a data set that needs no file, or a made one, with a small network that takes it."""
    found = (data for data in without_files(tmp_path) if data.task == name)
    data = next(found, None) or MADE[name]()
    task = TASKS.get(name)()
    model = MODEL.get(name, "resnet8")
    net, init = fresh(model, data, 0)
    onnx.save(init, tmp_path / "init.onnx")
    few = replace(data, test=Few(data.test))
    found = task.measure(predictor(tmp_path / "init.onnx"), few.test)
    assert set(found) == {metric.key for metric in task.metrics}
    assert np.isfinite(list(found.values())).all()
    assert task.said
    assert len({metric.key for metric in task.metrics}) == len(task.metrics) > 0
    # The loss is a sum over samples, and training makes it small.
    inputs, targets = data.train.take(np.arange(8))
    with torch.no_grad():
        outputs = everything(net(*(torch.from_numpy(x) for x in inputs.values())))
    wanted, loss = torch.from_numpy(targets), loss_of_arrays(data)
    alone = [task.loss(tuple(y[i : i + 1] for y in outputs), wanted[i : i + 1]) for i in range(8)]
    assert float(loss(outputs, targets)) == pytest.approx(float(sum(alone)), rel=1e-5)
    if task.guess is not None:
        assert task.guess(outputs).shape == wanted.shape
        assert np.isfinite(float(loss(outputs, None)))
    rows, budget = [], Budget(epochs=2, batch=8, lr=0.02)
    short = replace(data, train=Few(data.train))
    fit(net, short, budget, seed=0, stream="t", device=torch.device("cpu"), report=rows.append)
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert ("accuracy" in rows[0]) == (task.guess is not None)


@dataclass(frozen=True)
class Few:
    """The first samples of a split."""

    of: Split

    def __len__(self) -> int:
        return 64

    def take(self, index, rng=None):
        return self.of.take(index, rng)

    def fingerprint(self) -> str:
        return self.of.fingerprint()


def test_every_data_set_names_a_task():
    for name in DATASETS.names():
        assert DATASETS.get(name)
    assert load({"name": "digits"}).task in TASKS.names()


def test_a_file_of_a_fixed_batch_is_fed_whole_batches(tmp_path):
    data = load({"name": "digits"})
    free = fresh("resnet8", data, 0)[1]
    onnx.save(free, tmp_path / "free.onnx")
    for value in (*free.graph.input, *free.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(free, tmp_path / "fixed.onnx")
    x = data.test.take(np.arange(10))[0]
    session = onnxruntime.InferenceSession(str(tmp_path / "free.onnx"))
    (expected,) = session.run(None, {session.get_inputs()[0].name: x[ONE]})
    for name in ("free", "fixed"):
        (found,) = predictor(tmp_path / f"{name}.onnx")(x)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_file_of_two_inputs_is_fed_by_name(tmp_path):
    from onnx import TensorProto, helper

    def value(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3])

    node = helper.make_node("Sub", ["a", "b"], ["y"])
    graph = helper.make_graph([node], "g", [value("a"), value("b")], [value("y")])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "two.onnx")
    a, b = np.ones((5, 3), np.float32), np.full((5, 3), 0.25, np.float32)
    (y,) = predictor(tmp_path / "two.onnx")({"b": b, "a": a})
    assert y.tolist() == (a - b).tolist()
    with pytest.raises(SettingError, match="one input is needed, but the data have a, b"):
        only({"a": a, "b": b})


def test_the_columns_of_a_table_are_its_tasks(guessing):
    keys = [column.key for column in columns(["classification", "guessing"])]
    metrics = [f"{key}_{stage}" for key in ("acc", "doubt", "hits") for stage in STAGES]
    assert keys[: len(metrics)] == metrics
    assert keys[len(metrics) :] == [column.key for column in columns([])]


def test_another_task_goes_through_tables_and_figures(guessing, made_result, tmp_path):
    results = []
    for run_id, doubt in (("a", 2.0), ("b", 3.0)):
        values = {"doubt": doubt, "hits": 0.5}
        metrics = dict.fromkeys(STAGES, values)
        results.append(made_result(run_id=run_id, task="guessing", metrics=metrics))
    rows = tables.build(results)
    text = tables.markdown(rows, "made", tables.notes(results, rows))
    assert "| fine-tuned doubt |" in text
    assert "**2.000**" in text  # less is better
    assert "Doubts are mean entropies on the test split" in text
    assert "acc." not in text
    assert set(figures.draw(results, tmp_path / "made")) >= {"accuracy_over_rf", "widths"}


def old(made_result, **changes) -> dict[str, object]:
    """A result as schema version 2 had it."""
    result = made_result(**changes)
    metrics = result.pop("metrics")
    for key in ("task", "options", "seen", "checksum"):
        result.pop(key, None)
    acc = {stage: metrics.get(stage, {}).get("acc") for stage in STAGES}
    result |= {"schema_version": 2, "acc": acc}
    return {**result, "checksum": checksum(result)}


def test_a_result_of_version_2_is_read_as_one_of_today(made_result, tmp_path):
    before = old(made_result, time="train_prune", acc={"dense": 0.9, "pruned": 0.8})
    files.write_json(tmp_path / "result.json", before)
    now = read_result(tmp_path / "result.json")
    assert now["schema_version"] == SCHEMA_VERSION == 3
    assert now["metrics"] == {"dense": {"acc": 0.9}, "pruned": {"acc": 0.8}}
    assert (now["task"], now["seen"]) == ("classification", None)
    assert set(REQUIRED) <= set(now)
    assert {key: now[key] for key in before if key not in ("acc", "schema_version")} == {
        key: before[key] for key in before if key not in ("acc", "schema_version")
    }
    write_result(tmp_path / "again.json", now)
    assert read_result(tmp_path / "again.json")["metrics"] == now["metrics"]


def test_an_edited_result_of_version_2_is_refused(made_result, tmp_path):
    files.write_json(tmp_path / "result.json", {**old(made_result), "prune_seconds": 9})
    with pytest.raises(InputError, match="was edited"):
        read_result(tmp_path / "result.json")


@pytest.mark.parametrize("path", sorted(ROOT.glob("results/records/*/*.json"))[::7])
def test_committed_records_are_read(path):
    result, stored = read_result(path), json.loads(path.read_text())
    acc = {stage: found["acc"] for stage, found in result["metrics"].items()}
    if stored["schema_version"] == 2:
        assert acc == {k: v for k, v in stored["acc"].items() if v is not None}


class Gated(torch.nn.Module):
    """Words and which of them count, to a row of two class scores."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(vocabulary, 8)
        self.hidden, self.head = torch.nn.Linear(8, 16), torch.nn.Linear(16, 2)

    def forward(self, words, counts):
        """words: (N, T) int64, counts: (N, T)."""
        mean = (self.table(words) * counts[..., None]).sum(1) / counts.sum(1, keepdim=True)
        return self.head(torch.relu(self.hidden(mean)))


@pytest.fixture
def of_words(monkeypatch):
    """A data set of two inputs: whether word 3 is among those that count."""
    rng = np.random.default_rng(0)
    words, counts = rng.integers(0, 5, (400, 6)), rng.integers(0, 2, (400, 6)).astype(np.float32)
    counts[:, 0] = 1
    labels = ((words == 3) & (counts > 0)).any(1).astype(np.int64)
    train, test = (
        ArraySplit({"words": words[rows], "counts": counts[rows]}, labels[rows])
        for rows in (slice(0, 300), slice(300, None))
    )
    data = Dataset("words", train, test, classes=2, vocabulary=5)
    models = {**MODELS._entries, "gated": lambda shapes, classes, vocabulary: Gated(vocabulary)}
    monkeypatch.setattr(MODELS, "_entries", models)
    return data


def test_a_network_of_two_inputs_is_trained_pruned_and_measured(of_words, tmp_path):
    net, init = fresh("gated", of_words, 0)
    assert [value.name for value in init.graph.input] == ["words", "counts"]
    budget = Budget(epochs=10, batch=20, lr=0.2)
    fit(net, of_words, budget, seed=0, stream="dense", device=torch.device("cpu"))
    onnx.save(export(net, init, of_words), tmp_path / "dense.onnx")
    task = TASKS.get("classification")()
    assert task.measure(predictor(tmp_path / "dense.onnx"), of_words.test)["acc"] > 0.95
    made = spa.prune(
        tmp_path / "dense.onnx",
        criterion="snip",
        data=of_words.train.take(np.arange(64)),
        loss=loss_of_arrays(of_words),
        rp=1.3,
    )
    smaller = to_torch(made.model)
    fit(smaller, of_words, budget, seed=0, stream="finetune", device=torch.device("cpu"))
    onnx.save(to_onnx(smaller, made.model), tmp_path / "pruned.onnx")
    assert task.measure(predictor(tmp_path / "pruned.onnx"), of_words.test)["acc"] > 0.95


def test_what_does_not_fit_is_refused_before_it_is_trained(of_words):
    with pytest.raises(InputError, match="model=resnet8 takes no tokens, but the data set words"):
        fresh("resnet8", of_words, 0)
    series = replace(of_words, name="series", vocabulary=None)
    with pytest.raises(InputError, match="resnet8 takes one input, but .* has words and counts"):
        fresh("resnet8", series, 0)
    with pytest.raises(InputError, match="model=gated takes tokens, but the data set digits has"):
        fresh("gated", load({"name": "digits"}), 0)
    with pytest.raises(InputError, match=r"output 'output' is \[2\] .* words needs \[3\]"):
        fresh("gated", replace(of_words, classes=3), 0)
    floats = ArraySplit(of_words.test.inputs, np.zeros((100, 4), np.float32))
    with pytest.raises(InputError, match=r"the targets of words are float32 of shape \(4,\)"):
        fresh("gated", replace(of_words, test=floats), 0)
    renamed = ArraySplit({"words": floats.inputs["words"]}, of_words.test.targets)
    file = Interface("model=gated", {"words": (6,), "counts": (6,)}, {"y": (2,)})
    with pytest.raises(InputError, match="takes the inputs words, counts, .* words has words"):
        file.takes(replace(of_words, test=renamed))


def test_without_targets_a_network_s_own_answers_are_taken(of_words):
    scores = torch.tensor([[2.0, 0.0], [0.0, 1.0]], requires_grad=True)
    loss = loss_of_arrays(of_words)
    assert loss.__name__ == "classification"
    assert torch.equal(loss((scores,), None), loss((scores,), np.array([0, 1])))
