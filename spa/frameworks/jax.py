"""JAX: Flax networks, as ``NAME.npz`` with ``NAME.json`` beside it, which says what builds them."""

from __future__ import annotations

from spa.frameworks.worked import WorkedFramework


class JAX(WorkedFramework):
    """See `spa/frameworks/workers/jax_worker.py` for what happens over there."""

    name = "jax"
    suffix = ".npz"
