"""Untrained networks in which every vector does something.

Fresh biases are often zero, fresh scales one, and a fresh LayerScale hides its whole branch: a
wrongly pruned network would compute the same. And equal entries do not tell which of them are left.
"""

from __future__ import annotations

from typing import Any


def wake(module: Any) -> None:
    """Gives all vectors of a module, in place, entries that differ from one another.

    Variances, and vectors of equal entries that are not zero, lie around one, all others around
    zero.
    """
    import torch

    with torch.no_grad():
        for name, vector in (*module.named_parameters(), *module.named_buffers()):
            statistic = name.endswith(("running_mean", "running_var"))
            if not (statistic or isinstance(vector, torch.nn.Parameter)):
                continue
            if vector.numel() < 2 or vector.numel() != max(vector.shape):
                continue
            first = float(vector.flatten()[0])
            scale = name.endswith("running_var") or (first != 0 and bool((vector == first).all()))
            # Distinct by construction; a draw would repeat now and then.
            spread = torch.randperm(vector.numel()).to(vector.dtype) / vector.numel() - 0.5
            vector.copy_((0.4 * spread + scale).reshape(vector.shape))
