"""Ways to halve a network's channels: SPA, and its peers without hints.

Each gives back the smaller network as ONNX, and what it says of it. All of them get the same dense
network; the last layer is named to Torch-Pruning, as it would shrink the output otherwise.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import onnx

from experiments.bench.networks import Network
from spa.errors import SettingError

RATIO = 0.5


@dataclass(frozen=True)
class Outcome:
    """What a tool made of a network.

    Attributes:
        proto: the smaller network.
        exact: whether the tool proved that nothing else changed; None where it does not say.
        note: what it says beside.
    """

    proto: onnx.ModelProto
    exact: bool | None = None
    note: str = ""


# Called with the network and its dense ONNX file.
Tool = Callable[[Network, onnx.ModelProto], Outcome]
TOOLS: dict[str, Tool] = {}


def tool(function: Tool) -> Tool:
    """Registers a tool under its own name."""
    TOOLS[function.__name__] = function
    return function


@tool
def spa(network: Network, dense: onnx.ModelProto) -> Outcome:
    """SPA by the l1 norm, every group alike."""
    import spa as library

    result = library.prune(dense, ratio=RATIO, limits=library.Limits(scope="local"))
    assert result.proof is not None
    return Outcome(result.model, result.proof.equal, result.proof.checks[-1])


@tool
def torch_pruning(network: Network, dense: onnx.ModelProto) -> Outcome:
    """Torch-Pruning by the l1 norm."""
    import torch_pruning as library

    from spa.bridge import from_torch

    if network.module is None:
        raise SettingError("Torch-Pruning takes torch modules only")
    module = copy.deepcopy(network.module)
    pruner = library.pruner.BasePruner(
        module,
        network.inputs if len(network.inputs) > 1 else network.inputs[0],
        importance=library.importance.GroupMagnitudeImportance(p=1),
        pruning_ratio=RATIO,
        ignored_layers=[last_layer(module, network.inputs)],
    )
    pruner.step()
    return Outcome(from_torch(module, network.inputs))


@tool
def onnxsim(network: Network, dense: onnx.ModelProto) -> Outcome:
    """Prunes with onnxsim, by the l2 norm, its own default."""
    import onnxsim as library

    return Outcome(library.apply_structured_pruning(dense, sparsity=RATIO))


def last_layer(module: Any, inputs: tuple[Any, ...]) -> Any:
    """The layer that ran last of those that have weights to contract."""
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
