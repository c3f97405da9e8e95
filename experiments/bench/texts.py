"""English sentences with a mean human rating, which vaderSentiment's source archive carries.

Hutto & Gilbert (2014), "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social
Media Text". Movie sentences are single; those of editorials follow one another in their articles.
"""

from __future__ import annotations

import io
import itertools
import tarfile
from dataclasses import dataclass

from experiments.ground.packages import Package, folder

VADER = Package(
    "vaderSentiment",
    "0.5",
    "5d97c37f3ef6e24eef331122e055dbedafeb6a56abfce0608b326701116ea49a",
    source=True,
)
MOVIES, EDITORIALS = "movieReviewSnippets", "nytEditorialSnippets"


@dataclass(frozen=True)
class Sentence:
    """A sentence.

    Attributes:
        source: the text that it is of, as its file numbers them.
        rating: mean human rating, -4 to 4.
        text: the sentence.
    """

    source: str
    rating: float
    text: str


def sentences(kind: str) -> list[Sentence]:
    """All sentences of a kind (``MOVIES`` or ``EDITORIALS``), in the order of their file."""
    (archive,) = folder(VADER).glob("*/additional_resources/hutto_ICWSM_2014.tar.gz")
    with tarfile.open(archive) as files:
        member = files.extractfile(f"hutto_ICWSM_2014/{kind}_GroundTruth.txt")
        assert member is not None
        return parse(member.read())


def parse(content: bytes) -> list[Sentence]:
    """Reads lines of an id, a rating and a text; ``12_3`` is sentence 3 of text 12."""
    found = []
    for line in io.TextIOWrapper(io.BytesIO(content), "latin-1"):
        name, rating, text = line.rstrip("\r\n").split("\t", 2)
        found.append(Sentence(name.partition("_")[0], float(rating), text.strip()))
    return found


def articles(found: list[Sentence]) -> list[str]:
    """Sentences that follow one another in one source, as one text."""
    groups = itertools.groupby(found, key=lambda sentence: sentence.source)
    return [" ".join(sentence.text for sentence in group) for _, group in groups]
