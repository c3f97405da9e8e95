"""Data sets of texts, on tiny files of the real formats."""

from __future__ import annotations

import io
import tarfile

import numpy as np
import pytest

from experiments.data import ag_news, load, rotten_tomatoes, sst2, words
from spa.errors import InputError, SettingError


def read_back(split, known: list[str]) -> list[str]:
    """Texts as words, `?` for those that are not in the vocabulary, nothing behind the last."""
    of = {token: word for token, word in enumerate(known, words.FIRST)} | {words.RARE: "?"}
    return [" ".join(of[t] for t in row if t != words.PAD) for row in split.inputs["input"]]


def test_words_are_lower_case_and_without_punctuation():
    text = "It's GOOD -- isn't it? 'Top 10', caf\u00e9!"
    assert words.words_of(text) == ["it's", "good", "isn't", "it", "top", "10", "caf"]


def films(lines: list[str]) -> bytes:
    content = "".join(f"{line}\n" for line in lines).encode("latin-1")
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        entry = tarfile.TarInfo(rotten_tomatoes.INSIDE)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def test_rotten_tomatoes_are_the_clear_ones_and_parted(carry):
    good = [f"{i}\t{0.5 + i / 10}\tFine film {i}" for i in range(20)]
    bad = [f"{i}\t-{0.5 + i / 10}\tDull film {i}" for i in range(20)]
    neither = [f"{i}\t{rating}\tHm" for i, rating in enumerate((0.49, -0.49, 0))]
    root = carry(rotten_tomatoes, {rotten_tomatoes.ARCHIVE: films([*good, *neither, *bad])})
    data = load({"name": "rotten_tomatoes", "words": 3}, root)
    assert (len(data.train), len(data.validation), len(data.test)) == (28, 4, 8)
    assert (data.shape, data.vocabulary, data.classes) == ((32,), 5, 2)
    for split in (data.train, data.validation, data.test):
        said = read_back(split, ["film", "dull", "fine"])
        wanted = ["fine film ?" if label else "dull film ?" for label in split.targets]
        assert said == wanted
        assert split.targets.mean() == 0.5
    assert load({"name": "rotten_tomatoes", "length": 2}, root).shape == (2,)
    with pytest.raises(SettingError, match="length"):
        load({"name": "rotten_tomatoes", "length": 0}, root)


@pytest.mark.parametrize(
    "line", ["1\t2.0", "1\tgood\tFine", "1\t4.1\tFine", "1\tnan\tFine", "Fine film", "1\t0.1\tHm"]
)
def test_broken_ratings_are_refused_by_name(line):
    with pytest.raises(InputError, match="here is broken: "):
        rotten_tomatoes.read(f"{line}\n".encode(), "here")


def test_an_archive_without_ratings_is_refused(carry):
    for content in (b"", b"no archive"):
        root = carry(rotten_tomatoes, {rotten_tomatoes.ARCHIVE: content})
        with pytest.raises(InputError, match=f"cannot read {rotten_tomatoes.INSIDE} in .*zip"):
            load({"name": "rotten_tomatoes"}, root)


def test_sst2_is_glues_folder(tmp_path):
    folder = tmp_path / "SST-2"
    folder.mkdir()
    rows = [f"a dull film {i} \t0\nfine {i} \t1\n" for i in range(10)]
    (folder / "train.tsv").write_text(sst2.HEAD + "\n" + "".join(rows))
    (folder / "dev.tsv").write_text(sst2.HEAD + '\nfine \\" film " \u2028 \t1\nunseen \t0\n')
    data = load({"name": "sst2", "words": 4, "length": 6}, tmp_path)
    assert (len(data.train), len(data.validation), len(data.test)) == (18, 2, 2)
    assert read_back(data.test, ["a", "dull", "film", "fine"]) == ["fine film", "?"]
    assert data.test.targets.tolist() == [1, 0]
    assert sorted(data.validation.targets) == [0, 1]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("text\tlabel\nfine\t1\n", "its first line is to be"),
        (sst2.HEAD + "\nfine\t2\n", "line 2 is to be a sentence"),
        (sst2.HEAD + "\nfine\t1\nfine\n", "line 3 is to be a sentence"),
        (sst2.HEAD + "\n", "it has no sentences"),
        ("", "its first line is to be"),
    ],
)
def test_a_broken_sst2_is_refused_by_line(tmp_path, content, why):
    (tmp_path / "train.tsv").write_text(content)
    with pytest.raises(InputError, match=f"train.tsv is broken: {why}"):
        sst2.read(tmp_path / "train.tsv")


def test_ag_news_are_titles_and_texts(tmp_path):
    folder = tmp_path / "ag_news_csv"
    folder.mkdir()
    rows = [f'"{1 + i % 4}","Title, ""{"abcd"[i % 4]}""","text\\{i}"\n' for i in range(40)]
    (folder / "train.csv").write_text("".join(rows))
    (folder / "test.csv").write_text('"4","d","text"\n"1","nothing","known, here"\n')
    data = load({"name": "ag_news", "words": 4, "length": 5}, tmp_path)
    assert (len(data.train), len(data.validation), len(data.test)) == (36, 4, 2)
    assert data.classes == 4
    said = read_back(data.train, ["text", "title", "a", "b"])
    wanted = [f"title {('a', 'b', '?', '?')[label]} text ?" for label in data.train.targets]
    assert said == wanted
    assert read_back(data.test, ["text", "title", "a", "b"]) == ["? text", "? ? ?"]
    assert data.test.targets.tolist() == [3, 0]
    assert np.bincount(data.validation.targets).tolist() == [1] * 4


@pytest.mark.parametrize("content", ['"5","a","b"\n', '"1","a"\n', '"1","a","b\n', "", "\xff"])
def test_broken_ag_news_are_refused_by_name(tmp_path, content):
    (tmp_path / "train.csv").write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=r"(train.csv is broken|AG's news cannot be read)"):
        ag_news.read(tmp_path / "train.csv")


@pytest.mark.parametrize(
    ("name", "where"), [("sst2", r"SST-2.zip, so that .*/SST-2 holds"), ("ag_news", "ag_news_csv")]
)
def test_where_missing_texts_belong_is_said(tmp_path, name, where):
    with pytest.raises(InputError, match=rf"cannot be read: .*train.*Unpack .*{where}.*data_root"):
        load({"name": name}, tmp_path)
