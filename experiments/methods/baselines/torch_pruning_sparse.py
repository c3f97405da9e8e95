"""Torch-Pruning's own sparse learning (DepGraph, 3.4): its `regularize` between backward and step.

The pruner of a training is made anew where the training begins or goes on, of the module that is
trained: what it adds to gradients follows from the weights alone, so that nothing is to be kept.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from experiments.methods.protocol import Job, TorchNetwork
from experiments.training.budget import Budget
from experiments.training.rendezvous import meeting
from spa.errors import SettingError
from spa.training.hooks import Hook, HookSpec, Moment, hook

if TYPE_CHECKING:
    import onnx

HOOK = "torch_pruning/group_norm"


@hook(HOOK)
class Regularized(Hook):
    """Adds the gradients of GroupNormPruner.

    Args:
        reg: its strength.
        shapes: of a batch of one, one for every input.
        dtypes: of these, as torch names them.
    """

    def __init__(self, reg: float, shapes: list[list[int]], dtypes: list[str]) -> None:
        self.reg, self.shapes, self.dtypes = reg, shapes, dtypes
        self._pruner: Any = None

    def begin(self, at: Moment) -> None:
        """See `Hook`."""
        import torch
        import torch_pruning as library

        device = next(at.net.parameters()).device
        inputs = tuple(
            torch.zeros(shape, dtype=getattr(torch, dtype), device=device)
            for shape, dtype in zip(self.shapes, self.dtypes, strict=True)
        )
        importance = library.importance.GroupMagnitudeImportance(p=2, normalizer="max")
        kind = library.pruner.GroupNormPruner
        self._pruner = pruner_of(at.net, inputs, kind, importance, reg=self.reg)

    def gradients(self, at: Moment) -> None:
        """See `Hook`."""
        self._pruner.regularize(at.net)


def sparse(
    job: Job, net: Any, network: TorchNetwork, *, epochs: int, reg: float, lr: float, batch: int
) -> onnx.ModelProto:
    """Train a module in place, as the authors' script does; returns it as a file.

    No other decay, and rates that fall to a tenth after 60 and 80 % of the epochs.

    Raises:
        SettingError: several processes train together, which all would need the module.
    """
    import onnx

    from spa.bridge import from_torch

    if meeting() is not None:
        raise SettingError(
            "the sparse learning of method=torch_pruning trains the torch module in one process; "
            "launch it alone, or use method=group_sparsity"
        )
    milestones = tuple(sorted({epochs * 6 // 10, epochs * 8 // 10} - {0}))
    budget = Budget(
        epochs=epochs, batch=batch, lr=lr, weight_decay=0.0, milestones=milestones,
        schedule="multistep" if milestones else "constant",
    )  # fmt: skip
    settings = {
        "reg": reg,
        "shapes": [[1, *array.shape[1:]] for array in network.inputs],
        "dtypes": [str(array.dtype).removeprefix("torch.") for array in network.inputs],
    }
    model = onnx.load(job.dense)
    job.train(net, model, budget, stream="group_norm", hooks=(HookSpec(HOOK, settings),))
    return from_torch(net, network.inputs, network.batched)


def pruner_of(net: Any, inputs: tuple[Any, ...], kind: Any, importance: Any, **how: Any) -> Any:
    """Return a pruner of the package's, told of the final classifier and of heads.

    Args:
        net: what is pruned; in eval mode afterwards.
        inputs: an example.
        kind: the pruner's class.
        importance: the package's.
        **how: what else it takes.
    """
    from torch import nn

    heads = {
        part.qkv: part.num_heads
        for part in net.modules()
        if isinstance(getattr(part, "qkv", None), nn.Linear)
        and isinstance(getattr(part, "num_heads", None), int)
    }
    attentions = [part for part in net.modules() if isinstance(part, nn.MultiheadAttention)]
    together = math.lcm(*(part.num_heads for part in attentions)) if attentions else None
    return kind(
        net,
        inputs if len(inputs) > 1 else inputs[0],
        importance=importance,
        ignored_layers=[last_layer(net, inputs)],
        # Of its own: the package's defaults are shared by all pruners, and written to.
        num_heads=heads,
        in_channel_groups={},
        out_channel_groups={},
        channel_groups={},
        round_to=together,
        **how,
    )


def last_layer(module: Any, inputs: tuple[Any, ...]) -> Any:
    """Return the layer that ran last of those that have weights to contract."""
    import torch
    from torch import nn

    ran: list[nn.Module] = []
    handles = [
        part.register_forward_hook(lambda part, *_: ran.append(part))
        for part in module.modules()
        if isinstance(part, (nn.Linear, nn.modules.conv._ConvNd))
    ]
    training = module.training
    with torch.no_grad():
        module.eval()
        module(*inputs)
        module.train(training)
    for handle in handles:
        handle.remove()
    return ran[-1]
