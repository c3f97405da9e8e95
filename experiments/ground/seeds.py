"""Every source of randomness in a run, made from the run's one seed.

Each use has its own stream, so that, say, another calibration size does not change the initial
weights. Any integer is a seed, negative ones too.
"""

from __future__ import annotations

import zlib

import numpy as np


def entropy(seed: int, stream: str) -> list[int]:
    """Turn a seed and the name of a use into what NumPy's generators start from."""
    return [seed % 2**64, zlib.crc32(stream.encode())]


def generator(seed: int, stream: str) -> np.random.Generator:
    """Return a fresh generator for one use."""
    return np.random.default_rng(entropy(seed, stream))


def whole(seed: int, stream: str) -> int:
    """Return a non-negative seed below 2**31 for a library that wants a plain number."""
    return int(generator(seed, stream).integers(2**31))


def seed_torch(seed: int, stream: str) -> None:
    """Seed torch's global generator: the only place of the harness that does."""
    import torch

    torch.manual_seed(whole(seed, stream))
