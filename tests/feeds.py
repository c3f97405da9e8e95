"""Inputs of test networks: what values they may hold, and which of their sizes are free."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

Sizes = Mapping[str, int]
Draw = Callable[[np.random.Generator, tuple[int, ...], Sizes], np.ndarray]


def normal(rng: np.random.Generator, shape: tuple[int, ...], sizes: Sizes) -> np.ndarray:
    """Pictures, waves and features."""
    return rng.standard_normal(shape).astype(np.float32)


def positive(rng: np.random.Generator, shape: tuple[int, ...], sizes: Sizes) -> np.ndarray:
    """What has a root and a logarithm."""
    return rng.uniform(0.1, 2.0, shape).astype(np.float32)


def mask(rng: np.random.Generator, shape: tuple[int, ...], sizes: Sizes) -> np.ndarray:
    """(N, S): true is padding, at the end; the first is never."""
    ends = rng.integers(1, shape[-1] + 1, shape[:-1])
    return np.arange(shape[-1]) >= ends[..., None]


def lengths(rng: np.random.Generator, shape: tuple[int, ...], sizes: Sizes) -> np.ndarray:
    """(N,): how many of T are no padding."""
    return rng.integers(1, sizes["T"] + 1, shape).astype(np.int64)


def words(count: int) -> Draw:
    """Indices into a vocabulary."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...], sizes: Sizes) -> np.ndarray:
        return rng.integers(0, count, shape).astype(np.int64)

    return draw


@dataclass(frozen=True)
class Input:
    """One input.

    Attributes:
        name: of the input.
        dims: its sizes; a free one by name.
        draw: makes values of a shape.
    """

    name: str
    dims: tuple[int | str, ...]
    draw: Draw = normal

    def shape(self, sizes: Sizes) -> tuple[int, ...]:
        return tuple(d if isinstance(d, int) else sizes[d] for d in self.dims)

    def values(self, rng: np.random.Generator, sizes: Sizes) -> np.ndarray:
        return self.draw(rng, self.shape(sizes), sizes)
