"""Connected components in NumPy, for many small questions: SciPy's take long to be asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]

# Consecutive numbers from 0 on, enough for usual networks: to fill fresh memory with them takes as
# long as all that is done with them.
RULER: Numbers = np.arange(2**18)
RULER.setflags(write=False)


def lowest(count: int, a: Numbers, b: Numbers) -> Numbers:
    """The lowest number that every number is connected with.

    Every root takes the lowest root beside it for its own, and then all numbers the root of their
    root, until nothing is left to join. Two rounds at least halve what is left.

    Args:
        count: the numbers are 0 to count - 1.
        a: numbers.
        b: those that they are connected with, one by one.

    Returns:
        Lowest numbers, shape (count,).
    """
    root = np.arange(count)
    while True:
        a, b = root[a], root[b]
        differ = a != b
        if not differ.any():
            return root
        a, b = a[differ], b[differ]
        np.minimum.at(root, np.maximum(a, b), np.minimum(a, b))
        while True:
            further = root[root]
            if np.array_equal(further, root):
                break
            root = further


def numbered(root: Numbers) -> Numbers:
    """Components counted by their lowest numbers, given these (see `lowest`)."""
    is_root = root == np.arange(root.size)
    return np.asarray((is_root.cumsum() - 1)[root])


def distinct(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Different values in order; `numpy.unique` takes many times as long for a few hundred."""
    values = values.flatten()
    values.sort()
    return values[changes(values)]


def changes(values: npt.NDArray[Any]) -> Numbers:
    """Where values differ from those before them; the first does."""
    new = np.ones(values.size, dtype=bool)
    np.not_equal(values[1:], values[:-1], out=new[1:])
    return new.nonzero()[0]


def breaks(values: Numbers) -> Numbers:
    """Where values do not follow those before them, as consecutive numbers do; the first never."""
    new = np.ones(values.size, dtype=bool)
    np.not_equal(values[1:] - values[:-1], 1, out=new[1:])
    return new.nonzero()[0]


def gaps(starts: Numbers, end: int) -> Numbers:
    """How far it is from every start to the next, and from the last to the end."""
    result = np.empty_like(starts)
    np.subtract(starts[1:], starts[:-1], out=result[:-1])
    result[-1:] = end - starts[-1:]
    return result


def consecutive(start: int, count: int) -> Numbers:
    """Numbers that follow one another, which nobody may write to."""
    end = start + count
    return RULER[start:end] if end <= RULER.size else np.arange(start, end)


def ranges(starts: Numbers, sizes: Numbers) -> Numbers:
    """Consecutive numbers from every start on, one range after another."""
    if sizes.size == 1:
        return consecutive(int(starts[0]), int(sizes[0]))
    result: Numbers = (starts - sizes.cumsum() + sizes).repeat(sizes)
    result += np.arange(result.size)
    return result
