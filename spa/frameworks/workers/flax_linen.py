"""Networks of Flax's older kind (linen): modules without weights, and the weights beside them."""

from __future__ import annotations

from typing import Any

from common import Refusal
from flax import linen, nnx
from flax.nnx.bridge.variables import linen_vars_to_nnx_attrs


def as_nnx(made: Any, source: str) -> Any:
    """What a function made, as a module of Flax's newer kind (nnx) where it is one of the older.

    Args:
        made: anything; of the older kind, a module and its variables. The module must be one that
            is not trained: ``use_running_average=True``, ``deterministic=True``.
        source: what made it.

    Raises:
        Refusal: a module of the older kind without its variables.
    """
    if isinstance(made, linen.Module):
        raise Refusal(
            f"{source} made a {type(made).__name__} of flax.linen, which holds no weights; give "
            "them beside it: return module, variables"
        )
    if not (isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], linen.Module)):
        return made
    module, variables = made
    model = nnx.bridge.ToNNX(module)
    for name, attribute in linen_vars_to_nnx_attrs(variables).items():
        setattr(model, name, attribute)
    return model
