"""What networks of texts and of series take, checked in one place."""

from __future__ import annotations

from collections.abc import Mapping

from spa.errors import InputError


def check_tokens(name: str, input_shape: tuple[int, ...]) -> None:
    """Check that samples are rows of tokens.

    Raises:
        InputError: they are not.
    """
    if len(input_shape) != 1:
        raise InputError(f"{name} takes rows of tokens (T,), but theirs are {input_shape}")


def channels_of_series(name: str, input_shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Return how many channels series with their masks have.

    Raises:
        InputError: the samples are no such series.
    """
    shapes = dict(input_shapes) if isinstance(input_shapes, Mapping) else {"input": input_shapes}
    if list(shapes) != ["series", "mask"] or len(shapes["series"]) != 2:
        given = ", ".join(f"{key} {shape}" for key, shape in shapes.items())
        raise InputError(f"{name} takes series (C, T) and their mask (T,), but theirs are {given}")
    return shapes["series"][0]
