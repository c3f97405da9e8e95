"""Untrained networks in which every weight does something.

Fresh biases are often zero, fresh scales one, and a fresh LayerScale hides its whole branch: a
wrongly pruned network would compute the same. And equal entries, of tables of zeros too, do not
tell which of them are left.
"""

from __future__ import annotations

from typing import Any


def wake(module: Any) -> None:
    """Gives all vectors of a module, and what is filled, entries that differ from one another.

    This is done in place. Variances, and what is filled with a number but zero, lie around one, all
    others around zero.
    """
    import torch

    with torch.no_grad():
        for name, weight in (*module.named_parameters(), *module.named_buffers()):
            statistic = name.endswith(("running_mean", "running_var"))
            if not (statistic or isinstance(weight, torch.nn.Parameter)):
                continue
            if weight.numel() < 2:
                continue
            first = float(weight.flatten()[0])
            filled = bool((weight == first).all())
            if weight.numel() != max(weight.shape) and not filled:
                continue
            scale = name.endswith("running_var") or (first != 0 and filled)
            # Distinct by construction; a draw would repeat now and then.
            spread = torch.randperm(weight.numel()).to(weight.dtype) / weight.numel() - 0.5
            weight.copy_((0.4 * spread + scale).reshape(weight.shape))
