"""Torch-Pruning by the l1 norm, every group alike, the last layer named to it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from experiments.methods import Job, Need, NoSettings, Outcome, method
from experiments.methods.baselines.reach import REACHED, reach

if TYPE_CHECKING:
    import onnx


@method(
    needs=Need.MODULE,
    source="Fang et al. 2023, arXiv 2301.12900; torch-pruning 1.6.1",
    targets=REACHED,
)
def torch_pruning(job: Job, how: NoSettings) -> Outcome:
    """Prune the torch module, and export it."""
    from spa.bridge import from_torch

    network = job.module()

    def pruned(share: float) -> onnx.ModelProto:
        # As its users do: a batch of one. Where that fails, the example that SPA gets may do.
        one = tuple(array[:1] for array in network.inputs) if network.batched else network.inputs
        try:
            module = _pruned(network.net, one, share)
        except Exception:  # whatever it is
            module = _pruned(network.net, network.inputs, share)
        return from_torch(module, network.inputs, network.batched)

    return Outcome(reach(job, pruned))


def _pruned(net: Any, inputs: tuple[Any, ...], share: float) -> Any:
    import torch
    import torch_pruning as library

    module = copy.deepcopy(net)
    pruner = library.pruner.BasePruner(
        module,
        inputs if len(inputs) > 1 else inputs[0],
        importance=library.importance.GroupMagnitudeImportance(p=1),
        pruning_ratio=share,
        ignored_layers=[last_layer(module, inputs)],
    )
    pruner.step()
    with torch.no_grad():
        module(*inputs)
    return module


def last_layer(module: Any, inputs: tuple[Any, ...]) -> Any:
    """Return the layer that ran last of those that have weights to contract."""
    import torch
    from torch import nn

    ran: list[nn.Module] = []
    hooks = [
        part.register_forward_hook(lambda part, *_: ran.append(part))
        for part in module.modules()
        if isinstance(part, (nn.Linear, nn.modules.conv._ConvNd))
    ]
    with torch.no_grad():
        module(*inputs)
    for hook in hooks:
        hook.remove()
    return ran[-1]
