"""Japanese Vowels: who of nine men says /ae/, from 12 coefficients over time; 270 + 370 utterances.

Kudo, Toyama and Shimbo (1999), "Multidimensional Curve Classification Using Passing-Through
Regions"; from the UCI archive with its official split. Read as text out of the wheel of sktime
(BSD-3). Of each man's 30 training utterances six are the validation split.

Utterances are 7 to 29 frames long. Two inputs: ``series`` float32 (N, 12, 29), normalised for each
coefficient over the frames that are trained on, with zeros behind the last frame; ``mask`` bool
(N, 29), true where there is a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.data.base import ArraySplit, Dataset, Fetched, dataset
from experiments.data.holdout import hold_out
from experiments.ground.packages import Package, fetch, member
from spa.errors import InputError

PACKAGE = Package(
    "sktime", "1.2.0", "dbffc6731d2d683b668dceb5e2bbc5804bebc8446b4c580803a281684d90e4ae"
)
CHANNELS, FRAMES, SPEAKERS = 12, 29, 9
# Small, so a tenth would be three utterances a man.
HELD = 1 / 5
_LARGEST = 4 << 20  # bytes of a file; the larger one has 0.65 million


@dataset("japanese_vowels", Fetched)
def japanese_vowels(options: Fetched, root: Path, workers: int) -> Dataset:
    """Read the wheel, which is fetched the first time (8.2 MB)."""
    wheel = fetch(PACKAGE, root, options.download)
    (series, labels), (tests, wanted) = (
        read(
            member(
                wheel, f"sktime/datasets/data/JapaneseVowels/JapaneseVowels_{part}.ts", _LARGEST
            ),
            f"{wheel}, {part}",
        )
        for part in ("TRAIN", "TEST")
    )
    kept, held = hold_out(labels, HELD)
    frames = np.concatenate([series[i] for i in kept], axis=1)  # (12, all frames)
    mean, std = frames.mean(1, keepdims=True), frames.std(1, keepdims=True)

    def split(found: Sequence[np.ndarray], labels: np.ndarray) -> ArraySplit:
        return ArraySplit(padded([(x - mean) / std for x in found]), labels)

    return Dataset(
        "japanese_vowels",
        split([series[i] for i in kept], labels[kept]),
        split(tests, wanted),
        SPEAKERS,
        ood=options.ood,
        validation=split([series[i] for i in held], labels[held]),
    )


def read(content: bytes, name: str) -> tuple[list[np.ndarray], np.ndarray]:
    """Read a file in the ts format.

    After a head that ends with ``@data`` a line is an utterance: coefficients, and then who spoke
    (from 1), with colons between them; a coefficient is its values over time, with commas.

    Args:
        content: of the file.
        name: of the file, for messages.

    Returns:
        N arrays (12, frames) and int64 (N,), who spoke, from 0.

    Raises:
        InputError: it is not such a file.
    """
    lines = content.decode("ascii", "replace").splitlines()
    if "@data" not in lines:
        raise InputError(f"{name} is broken: it has no line @data")
    series, labels = [], []
    for number, line in enumerate(lines[lines.index("@data") + 1 :], lines.index("@data") + 2):
        *parts, speaker = line.split(":")
        try:
            x = np.array([[float(value) for value in part.split(",")] for part in parts])
            label = int(speaker) - 1
        except ValueError as error:  # also where coefficients have other numbers of frames
            raise InputError(f"{name} is broken in line {number}: {error}") from error
        if (
            x.ndim != 2
            or len(x) != CHANNELS
            or x.shape[1] > FRAMES
            or not np.isfinite(x).all()
            or not 0 <= label < SPEAKERS
        ):
            raise InputError(
                f"{name} is broken in line {number}: it is to be {CHANNELS} coefficients of at "
                f"most {FRAMES} finite values, and a speaker from 1 to {SPEAKERS}"
            )
        series.append(x)
        labels.append(label)
    if not series:
        raise InputError(f"{name} is broken: it has no utterances")
    return series, np.array(labels, np.int64)


def padded(series: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Return series (12, frames) as the two inputs."""
    x = np.zeros((len(series), CHANNELS, FRAMES), np.float32)
    mask = np.zeros((len(series), FRAMES), bool)
    for i, one in enumerate(series):
        frames = one.shape[1]
        x[i, :, :frames], mask[i, :frames] = one, True
    return {"series": x, "mask": mask}
