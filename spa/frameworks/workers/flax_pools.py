"""Flax's pools as jax2onnx takes them.

While it exports, jax2onnx puts functions of its own in the place of Flax's pools. They take
settings by keyword alone, and "SAME" or "VALID" for padding, though Flax takes settings by place
and padding in numbers. Here the first are named, and the second become a padding of their own
before the pool.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

import jax.numpy as jnp
from jax2onnx.plugins.flax.linen import avg_pool, max_pool, min_pool
from jax2onnx.plugins.flax.nnx import avg_pool as nnx_avg_pool
from jax2onnx.plugins.flax.nnx import max_pool as nnx_max_pool

# What makes each function that stands in for a pool.
MAKERS = (
    (max_pool.MaxPoolPlugin, "_make_patch"),
    (min_pool.MinPoolPlugin, "_make_patch"),
    (avg_pool.AvgPoolPlugin, "get_monkey_patch"),
    (nnx_max_pool.MaxPoolPlugin, "_make_patch"),
    (nnx_avg_pool.AvgPoolPlugin, "get_monkey_patch"),
)


def mend() -> None:
    """Lets models call pools in any way that Flax allows."""
    for plugin, name in MAKERS:
        setattr(plugin, name, staticmethod(_any_way(getattr(plugin, name))))


def _any_way(make: Any) -> Any:
    def made(original: Any) -> Any:
        theirs = make(original)

        @functools.wraps(original)
        def pooled(*arguments: Any, **named: Any) -> Any:
            settings = dict(inspect.signature(original).bind(*arguments, **named).arguments)
            x = settings.pop("inputs")
            if isinstance(settings.get("padding", "VALID"), str):
                return theirs(x, **settings)
            window, pads = settings["window_shape"], settings.pop("padding")
            batch = x.ndim - 1 - len(window)  # x: ([N], spatial..., C)
            pads = [*[(0, 0)] * batch, *pads, (0, 0)]
            if original.__name__ != "avg_pool":
                limits = jnp.finfo(x.dtype)
                least = limits.min if original.__name__ == "max_pool" else limits.max
                return theirs(jnp.pad(x, pads, constant_values=least), **settings)
            total = theirs(jnp.pad(x, pads), **settings)
            if settings.get("count_include_pad", True):
                return total
            # What share of each window is no padding.
            inside = jnp.pad(jnp.ones((*[1] * batch, *x.shape[batch:-1], 1)), pads)
            return total / theirs(inside, **settings)

        return pooled

    return made
