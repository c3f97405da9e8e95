"""What holds numbers that no training made is told from what was drawn, or trained."""

from __future__ import annotations

import math

import numpy as np
import pytest

from spa.graph.fixed_numbers import fixed_numbers

N = np.arange(64.0)
K = np.arange(33.0)[:, None]
WAVES = np.concatenate([np.cos(2 * np.pi * K * N / 64), np.sin(2 * np.pi * K * N / 64)])
HANN = 0.5 - 0.5 * np.cos(2 * np.pi * N / 64)
BELL = np.exp(-0.5 * ((N - 32) / 10) ** 2)
RATES = np.exp(-math.log(1e4) * np.arange(16) / 16)
ANGLES = np.arange(50.0)[:, None] * RATES
BANDS = np.linspace(0, 30, 12)
MEL = np.maximum(
    0,
    np.minimum(
        (np.arange(33) - BANDS[:-2, None]) / np.diff(BANDS)[:-1, None],
        (BANDS[2:, None] - np.arange(33)) / np.diff(BANDS)[1:, None],
    ),
)
FIXED = {
    "Fourier": WAVES,
    "Fourier under Hann": WAVES * HANN,
    "Fourier under a bell": WAVES * BELL,
    "Fourier, pairs": np.stack([WAVES[:33] * BELL, WAVES[33:] * BELL], 1).reshape(66, 64),
    "sinusoids": np.concatenate([np.sin(ANGLES), np.cos(ANGLES)], axis=1),
    "sinusoids, pairs": np.stack([np.sin(ANGLES), np.cos(ANGLES)], axis=2).reshape(50, 32),
    "cosine transform": np.cos(np.pi * np.arange(20)[:, None] * (2 * np.arange(40) + 1) / 80),
    "mel": MEL,
    "frequencies": RATES,
    "places": np.arange(16.0),
    "identity": np.eye(10),
    "permutation": np.eye(12)[np.random.default_rng(0).permutation(12)],
}


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_fixed(name: str, dtype: type) -> None:
    array = FIXED[name].astype(dtype)
    assert fixed_numbers(array)
    # As a convolution's weight, and as the right side of a product.
    assert fixed_numbers(array.reshape(*array.shape, 1, 1))
    assert fixed_numbers(np.ascontiguousarray(array.T))


@pytest.mark.parametrize("name", FIXED)
def test_a_hundredth_more_is_no_longer_fixed(name: str) -> None:
    rng = np.random.default_rng(1)
    array = FIXED[name]
    noise = 0.01 * np.abs(array).max() * rng.standard_normal(array.shape)
    assert not fixed_numbers((array + noise).astype(np.float32))


SHAPES = [(64, 3, 7, 7), (64, 64, 1, 1), (128, 64, 3, 3), (100, 52), (16, 16), (8, 8), (6, 6)]
SHAPES += [(10,), (6,), (32, 1, 3, 3), (12, 20)]


@pytest.mark.parametrize("shape", SHAPES)
def test_weights_are_not(shape: tuple[int, ...]) -> None:
    """As drawn, positive, sparse, in few steps, of low rank, and as scales and shifts begin."""
    rng = np.random.default_rng(2)
    for _ in range(100):
        drawn = rng.standard_normal(shape)
        thin = rng.standard_normal((shape[0], 1)) * rng.standard_normal((1, math.prod(shape[1:])))
        for array in (
            drawn,
            rng.random(shape),
            np.where(rng.random(shape) < 0.7, 0, drawn),
            np.round(drawn * 4) / 4,
            thin.reshape(shape),
        ):
            assert not fixed_numbers(array.astype(np.float32)), shape
    for value in (0.0, 1.0, 1e-6):
        assert not fixed_numbers(np.full(shape, value, np.float32))


def test_what_people_write_down_for_an_example_is_not() -> None:
    """Rows of a progression, but for one that stands alone."""
    for array in (
        np.arange(64.0).reshape(8, 8),
        np.arange(96.0).reshape(4, 6, 4),
        np.outer(np.arange(1, 9), np.ones(16)),
        np.outer(2.0 ** np.arange(8), np.arange(1, 9)),
    ):
        assert not fixed_numbers(array.astype(np.float32))


def test_whole_numbers_are_looked_at_too() -> None:
    assert fixed_numbers(np.arange(16))
    quantised = np.random.default_rng(0).integers(-128, 128, (64, 64), dtype=np.int8)
    assert not fixed_numbers(quantised)


def test_what_is_no_number_is_not() -> None:
    assert not fixed_numbers(np.array([False, True] * 8))
    assert not fixed_numbers(np.full((8, 8), np.nan, np.float32))
    assert not fixed_numbers(np.zeros((0, 8), np.float32))
