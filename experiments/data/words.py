"""Texts as rows of tokens: the words that training texts have often, and one token for all others.

A text is its first words, with `PAD` behind it where it has fewer; a network that is not to see
those masks the tokens that are `PAD`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from experiments.data.base import ONE, ArraySplit, Dataset, Options
from experiments.data.holdout import hold_out

# The tokens behind a text, and in place of words that are not in the vocabulary.
PAD, RARE = 0, 1
FIRST = 2  # the token of the first word
_WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")


@dataclass(frozen=True)
class Words(Options):
    """The options of data sets of texts.

    Attributes:
        words: in the vocabulary.
        length: words of a text that are read.
    """

    words: Annotated[int, Field(ge=1)] = 2000
    length: Annotated[int, Field(ge=1)] = 64


@dataclass(frozen=True)
class Texts:
    """Texts and their labels.

    Attributes:
        words: of N texts.
        labels: int64 (N,).
    """

    words: Sequence[list[str]]
    labels: np.ndarray

    def taken(self, index: np.ndarray) -> Texts:
        """Some of them."""
        return Texts([self.words[i] for i in index], self.labels[index])


def of_texts(
    name: str, train: Texts, test: Texts, classes: int, *, words: int, length: int, ood: str
) -> Dataset:
    """Make a data set; a tenth of the training texts of every label is the validation split.

    The vocabulary is that of the texts that are trained on.
    """
    kept, held = hold_out(train.labels)
    known = vocabulary(train.taken(kept).words, words)

    def split(texts: Texts) -> ArraySplit:
        return ArraySplit({ONE: encode(texts.words, known, length)}, texts.labels)

    return Dataset(
        name,
        split(train.taken(kept)),
        split(test),
        classes,
        vocabulary=FIRST + words,
        ood=ood,
        validation=split(train.taken(held)) if len(held) else None,
    )


def words_of(text: str) -> list[str]:
    """A text's words in lower case, without punctuation."""
    return _WORD.findall(text.lower())


def vocabulary(texts: Sequence[list[str]], size: int) -> dict[str, int]:
    """Return the tokens of the words that the most texts have; of equal ones by the alphabet."""
    counts = Counter(word for text in texts for word in set(text))
    often = sorted(counts, key=lambda word: (-counts[word], word))[:size]
    return {word: token for token, word in enumerate(often, FIRST)}


def encode(texts: Sequence[list[str]], known: dict[str, int], length: int) -> np.ndarray:
    """Return the tokens of texts, int64 (N, length)."""
    out = np.full((len(texts), length), PAD, np.int64)
    for row, text in zip(out, texts, strict=True):
        tokens = [known.get(word, RARE) for word in text[:length]]
        row[: len(tokens)] = tokens
    return out
