"""The smallest image that a network takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

SIZES = (32, 64, 96, 128, 160, 192, 224, 256, 299)


def smallest_image(module: Any, channels: int, sizes: Sequence[int], *, batch: int = 2) -> Any:
    """A batch of the smallest size that a module takes.

    Raises:
        RuntimeError: it takes none; the last refusal is the cause.
    """
    import torch

    refusal: Exception | None = None
    for size in sizes:
        images = torch.randn(batch, channels, size, size)
        try:
            with torch.no_grad():
                module(images)
        except Exception as error:  # a network refuses a size in any way it likes
            refusal = error
        else:
            return images
    raise RuntimeError(f"it takes no image of {', '.join(map(str, sizes))} pixels") from refusal
