"""SST-2: sentences of film reviews, liked or not; 60,614 + 6,735 + 872, as GLUE has them.

Socher et al. (2013), "Recursive Deep Models for Semantic Compositionality Over a Sentiment
Treebank"; Wang et al. (2019), "GLUE". Read from <root>/SST-2/{train,dev}.tsv. GLUE's dev is tested
on, as its test labels are not public; a tenth of the training sentences is the validation split.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from experiments.data.base import Dataset, dataset
from experiments.data.words import Texts, Words, of_texts, words_of
from experiments.ground import files
from spa.errors import InputError

HEAD = "sentence\tlabel"
FOLDER = "SST-2"


@dataset("sst2", Words)
def sst2(options: Words, root: Path, workers: int) -> Dataset:
    """Read the folder SST-2 of GLUE."""
    train, test = (read(root / FOLDER / f"{part}.tsv") for part in ("train", "dev"))
    return of_texts(
        "sst2", train, test, 2, words=options.words, length=options.length, ood=options.ood
    )


def read(path: Path) -> Texts:
    """Read a file of GLUE: a head, then a sentence and its label (0 or 1) a line.

    Raises:
        InputError: it is not there, or not such a file.
    """
    try:
        lines = files.read_text(path).split("\n")
    except (OSError, ValueError) as error:
        raise InputError(
            f"SST-2 cannot be read: {error}. Unpack GLUE's SST-2.zip, so that {path.parent} holds "
            "train.tsv and dev.tsv, or set data_root to the folder that holds SST-2"
        ) from error
    if lines[0] != HEAD:
        raise InputError(f"{path} is broken: its first line is to be {HEAD!r}")
    words, labels = [], []
    for number, line in enumerate(lines[1:], 2):
        if not line:
            continue
        sentence, tab, label = line.rpartition("\t")
        if not tab or label not in ("0", "1"):
            raise InputError(
                f"{path} is broken: line {number} is to be a sentence, a tab and 0 or 1, but is "
                f"{line[:40]!r}"
            )
        words.append(words_of(sentence))
        labels.append(int(label))
    if not words:
        raise InputError(f"{path} is broken: it has no sentences")
    return Texts(words, np.array(labels, np.int64))
