"""AG's news: the titles and first lines of news of four kinds; 108,000 + 12,000 + 7,600.

As split by Zhang, Zhao and LeCun (2015), "Character-level Convolutional Networks for Text
Classification". Read from <root>/ag_news_csv/{train,test}.csv. A tenth of the training texts of
every kind is the validation split.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from experiments.data.base import Dataset, dataset
from experiments.data.words import Texts, Words, of_texts, words_of
from experiments.ground import files
from spa.errors import InputError

KINDS = 4  # world, sports, business, science and technology
FOLDER = "ag_news_csv"


@dataset("ag_news", Words)
def ag_news(options: Words, root: Path, workers: int) -> Dataset:
    """Read the folder ag_news_csv."""
    train, test = (read(root / FOLDER / f"{part}.csv") for part in ("train", "test"))
    return of_texts(
        "ag_news", train, test, KINDS, words=options.words, length=options.length, ood=options.ood
    )


def read(path: Path) -> Texts:
    """Read rows of a kind (from 1), a title and a text.

    Raises:
        InputError: it is not there, or not such a file.
    """
    try:
        rows = list(csv.reader(io.StringIO(files.read_text(path)), strict=True))
    except (OSError, ValueError) as error:
        raise InputError(
            f"AG's news cannot be read: {error}. Unpack ag_news_csv.tar.gz, so that {path.parent} "
            "holds train.csv and test.csv, or set data_root to the folder that holds ag_news_csv"
        ) from error
    except csv.Error as error:
        raise InputError(f"{path} is broken: {error}") from error
    words, labels = [], []
    for number, row in enumerate(rows, 1):
        if len(row) != 3 or row[0] not in map(str, range(1, KINDS + 1)):
            raise InputError(
                f"{path} is broken: row {number} is to be a kind from 1 to {KINDS}, a title and a "
                f"text, but is {','.join(row)[:40]!r}"
            )
        words.append(words_of(" ".join(row[1:])))
        labels.append(int(row[0]) - 1)
    if not words:
        raise InputError(f"{path} is broken: it has no texts")
    return Texts(words, np.array(labels, np.int64))
