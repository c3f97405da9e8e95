"""Numbers that no training made: tables of waves, filter banks, places, categories.

Which of their entries is which says something: the bin of a spectrum, a frequency of a time code, a
place, a category. Told from the numbers alone, with what float32 rounds; trained or random weights
are like none of these. What is constant along its lines is none of them either: ones and zeros are
how scales and shifts begin.

Source: own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Lines = npt.NDArray[np.float64]

# Shorter lines may be like these by chance, or mean nothing.
SHORTEST, FEWEST = 6, 2
# Larger arrays are embeddings and kernels that were trained.
MOST_ENTRIES = 2**22
# What a window of cosines (Hann, Hamming, Blackman) makes of a wave: so many bins of its spectrum.
BINS = 10
ROUNDING = 1e-4
# The factor c of a wave is twice the cosine of its step, and 2 of a straight line.
SWING = 1e-3


def fixed_numbers(array: npt.NDArray[Any]) -> str:
    """Says what an array holds that no training made; "" where that is not known.

    Args:
        array: (outputs, ...) or (inputs, outputs), or a list; its lines may lie either way.
    """
    if not 0 < array.size <= MOST_ENTRIES or array.dtype.kind not in "fiu":
        return ""
    shape = [size for size in array.shape if size > 1]
    if not shape or max(shape) < SHORTEST:
        return ""
    flat = array.reshape(shape)
    if len(shape) == 1:
        return "a progression" if _holds(is_recurrent, flat[None]) else ""
    rows = flat.reshape(shape[0], -1)
    return _kind(rows) or _kind(rows.T)


def _kind(lines: npt.NDArray[Any]) -> str:
    if lines.shape[1] < SHORTEST:
        return ""
    return next((name for name, check in _likely(lines) if _holds(check, lines)), "")


def _holds(check: Callable[[Lines], bool], lines: npt.NDArray[Any]) -> bool:
    numbers = lines.astype(np.float64)
    return bool(np.isfinite(numbers).all()) and check(numbers)


# --- a few entries: nearly all weights are like nothing already there --------------------------


def _likely(lines: npt.NDArray[Any]) -> Iterator[tuple[str, Callable[[Lines], bool]]]:
    """What lines may be by one line in the middle, and a few entries of others."""
    count, length = lines.shape
    middle = lines[count // 2]
    if _may_recur(middle[:SHORTEST].tolist()):
        yield "waves", is_recurrent
    if not middle.all():
        yield "a filter bank", is_filter_bank
        yield "one number in every line", is_one_hot
    if length >= 2 * BINS and is_spectrum(middle[None].astype(np.float64)):
        yield "waves under a window", is_spectrum
    if _may_be_paired(lines):
        yield "cosines and sines", is_paired


def _may_recur(x: Sequence[float]) -> bool:
    """Whether x[t-1] + x[t+1] = c x[t] may hold; where x[t] is hardly anything, it says little."""
    size = max(map(abs, x))
    factors = [
        (before + after) / now
        for before, now, after in zip(x, x[1:], x[2:], strict=False)
        if abs(now) > 0.05 * size
    ]
    return not factors or max(factors) - min(factors) <= 100 * ROUNDING * max(map(abs, factors))


def _may_be_paired(lines: npt.NDArray[Any]) -> bool:
    """Whether two pairs of lines have one window at three places."""
    count, length = lines.shape
    half = count // 2
    if count % 2 or half < FEWEST:
        return False
    for pairs in ((0, half, half - 1, count - 1), (0, 1, count - 2, count - 1)):
        for at in (length // 2, length // 3, length - 2):
            a, b, c, d = (float(lines[line, at]) for line in pairs)
            one, two = a * a + b * b, c * c + d * d
            if abs(one - two) > 10 * ROUNDING * max(one, two):
                break
        else:
            return True
    return False


# --- all entries --------------------------------------------------------------------------------


def _varies(lines: Lines) -> npt.NDArray[np.bool_]:
    return np.asarray(np.ptp(lines, axis=1) > ROUNDING * np.abs(lines).max(axis=1))


def is_recurrent(lines: Lines) -> bool:
    """Waves, each of one frequency, or one progression: x[t-1] + x[t+1] = c x[t].

    Lines that are constant say nothing, but most have to vary. Of several lines some have to swing:
    in a matrix, progressions are what people write down for an example.
    """
    middle, outer = lines[:, 1:-1], lines[:, :-2] + lines[:, 2:]
    energy = (middle**2).sum(axis=1, keepdims=True)
    factor = (middle * outer).sum(axis=1, keepdims=True) / np.where(energy > 0, energy, 1)
    rest = np.abs(outer - factor * middle).max(axis=1)
    close = rest <= ROUNDING * np.abs(lines).max(axis=1)
    swings = (np.abs(factor[:, 0]) < 2 - SWING) & _varies(lines)
    enough = len(lines) == 1 or swings.sum() >= FEWEST
    return bool(close.all() and 2 * _varies(lines).sum() >= len(lines) and enough)


def is_spectrum(lines: Lines) -> bool:
    """Waves under a window: nearly nothing outside of a few bins of a line's own spectrum."""
    power = np.abs(np.fft.fft(lines, axis=1)) ** 2
    total = power.sum(axis=1)
    outside = np.sort(power, axis=1)[:, :-BINS].sum(axis=1)
    waves = total > 2 * power[:, 0]  # a mean over a window is no wave
    return bool((outside <= ROUNDING**2 * total).all() and 2 * waves.sum() >= len(lines))


def is_paired(lines: Lines) -> bool:
    """Cosines and sines under one window of any form: their squares add up to its square."""
    half = len(lines) // 2
    for real, imaginary in ((lines[:half], lines[half:]), (lines[::2], lines[1::2])):
        window = real**2 + imaginary**2
        if np.abs(window - window[0]).max() <= ROUNDING * window.max() and window.max() > 0:
            # Equal lines have one window too; what turns is seen in the share of the one.
            share = real**2 / np.where(window > ROUNDING * window.max(), window, 1)
            return bool(2 * (np.ptp(share, axis=1) > 0.1).sum() > half)
    return False


def is_filter_bank(lines: Lines) -> bool:
    """A bank of filters over a spectrum: bands without negative numbers, one behind another."""
    if (lines < 0).any():
        return False
    there = lines > 0
    counts = there.sum(axis=1)
    if not counts.all() or 2 * counts.sum() > lines.size or counts.max() < 2:
        return False
    first = there.argmax(axis=1)
    last = lines.shape[1] - 1 - there[:, ::-1].argmax(axis=1)
    whole = (last - first + 1 == counts).all()
    onwards = (np.diff(first) >= 0).all() and (np.diff(last) >= 0).all()
    return bool(whole and onwards and first[-1] > first[0])


def is_one_hot(lines: Lines) -> bool:
    """Categories, places, a permutation: one number in every line, and the same in all."""
    there = lines != 0
    if (there.sum(axis=1) != 1).any():
        return False
    values = lines[there]
    return bool((values == values[0]).all())
