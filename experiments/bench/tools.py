"""Ways to halve a network's channels: SPA, and its peers without hints.

Each gives back the smaller network as ONNX, and what it says of it. All of them get the same dense
network, as a module or as a file; the last layer is named to Torch-Pruning, as it would shrink the
output otherwise.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
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
        proven: whether it proved that nothing else changed; None where it says nothing.
        note: what it says beside.
    """

    proto: onnx.ModelProto
    proven: bool | None = None
    note: str = ""


# Called with the network and the path of its dense ONNX file.
Tool = Callable[[Network, Path], Outcome]
TOOLS: dict[str, Tool] = {}
# Tools that prune the torch module, not the file.
TAKES_MODULE = frozenset({"torch_pruning"})


def tool(function: Tool) -> Tool:
    """Registers a tool under its own name."""
    TOOLS[function.__name__] = function
    return function


@tool
def spa(network: Network, dense: Path) -> Outcome:
    """SPA by the l1 norm, every group alike."""
    import spa as library
    from spa.coupling.kept import main_causes

    model = library.load(dense, network.given)
    result = library.prune(model, ratio=RATIO, limits=library.Limits(scope="local"))
    assert result.proof is not None
    note = result.proof.checks[-1]
    if not result.plan.parameters:
        note = f"unchanged; kept dense: {main_causes(library.find_groups(model).kept)}"
    return Outcome(result.model, result.proof.equal, note)


@tool
def torch_pruning(network: Network, dense: Path) -> Outcome:
    """Torch-Pruning by the l1 norm."""
    import torch
    import torch_pruning as library

    from spa.bridge import from_torch

    if network.module is None:
        raise SettingError("Torch-Pruning takes torch modules only")

    def pruned(inputs: tuple[Any, ...]) -> Any:
        module = copy.deepcopy(network.module)
        pruner = library.pruner.BasePruner(
            module,
            inputs if len(inputs) > 1 else inputs[0],
            importance=library.importance.GroupMagnitudeImportance(p=1),
            pruning_ratio=RATIO,
            ignored_layers=[last_layer(module, inputs)],
        )
        pruner.step()
        with torch.no_grad():
            module(*inputs)
        return module

    try:
        # As its users do: a batch of one.
        one = tuple(array[:1] for array in network.inputs) if network.batched else network.inputs
        module = pruned(one)
    except Exception:  # whatever it is, the example that SPA gets may do
        module = pruned(network.inputs)
    return Outcome(from_torch(module, network.inputs, network.batched))


@tool
def onnxsim(network: Network, dense: Path) -> Outcome:
    """Prunes with onnxsim, by the l2 norm, its own default."""
    import onnxsim as library

    return Outcome(library.apply_structured_pruning(str(dense), sparsity=RATIO))


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
