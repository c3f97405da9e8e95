"""English prose that scikit-learn carries, its data sets' descriptions, character by character.

About 43,000 characters in 14 texts, which ask for no download. Of each text the first four fifths
are to train and the rest to test, cut into windows that do not overlap; a window's targets are its
characters moved by one. The vocabulary is the training texts' own: their characters, in lower
case, that occur often enough to be learned; all others are one token.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from experiments.data.base import ONE, ArraySplit, Dataset, Options, dataset
from spa.errors import MissingExtra

# The token of characters that are not in the vocabulary.
RARE = 0
# How often a character occurs in the training texts to be in it.
OFTEN = 20


@dataclass(frozen=True)
class Descriptions(Options):
    """The options of descriptions.

    Attributes:
        window: characters of a sample.
    """

    window: Annotated[int, Field(ge=2)] = 64


@dataset("descriptions", Descriptions)
def descriptions(options: Descriptions, root: Path, workers: int) -> Dataset:
    """Read the texts; needs no file."""
    found = texts()
    cuts = [len(text) * 4 // 5 for text in found]
    known = vocabulary([text[:cut] for text, cut in zip(found, cuts, strict=True)])
    train, test = (
        _windows([encode(text[part], known) for text, part in zip(found, parts, strict=True)],
                 options.window)
        for parts in ([slice(cut) for cut in cuts], [slice(cut, None) for cut in cuts])
    )  # fmt: skip
    tokens = len(known) + 1
    return Dataset(
        "descriptions", train, test, tokens, task="perplexity", vocabulary=tokens, ood=options.ood
    )


def texts() -> list[str]:
    """Return the texts, in the order of their names, in lower case and with single spaces.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    try:
        folder = resources.files("sklearn.datasets.descr")
    except ImportError as error:
        raise MissingExtra("scikit-learn", "experiments", "the descriptions data set") from error
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".rst")),
                   key=lambda file: file.name)  # fmt: skip
    return [" ".join(file.read_text("utf-8").lower().split()) for file in files]


def vocabulary(found: Sequence[str]) -> dict[str, int]:
    """Return the token of every character that texts have often, from 1."""
    counts = Counter("".join(found))
    return {c: i for i, c in enumerate(sorted(c for c, n in counts.items() if n >= OFTEN), 1)}


def encode(text: str, known: dict[str, int]) -> np.ndarray:
    """Return a text's tokens, int64 (characters,)."""
    return np.array([known.get(c, RARE) for c in text], np.int64)


def _windows(found: Sequence[np.ndarray], size: int) -> ArraySplit:
    """Cut every text into windows, and what comes after each of their tokens; both (N, size)."""
    inputs, targets = [], []
    for tokens in found:
        for start in range(0, len(tokens) - size, size):
            inputs.append(tokens[start : start + size])
            targets.append(tokens[start + 1 : start + size + 1])
    return ArraySplit({ONE: np.stack(inputs)}, np.stack(targets))
