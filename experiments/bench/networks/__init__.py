"""Networks that nobody here wrote, by name, each with an example: ``timm/resnet18``.

Every file answers for one family of names and lists those that the benchmarks take.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import onnx

from experiments.ground.registry import Registry
from spa.errors import BridgeError


@dataclass(frozen=True)
class Network:
    """A network to prune.

    Attributes:
        family: what its kind is called in tables.
        module: the torch module, in eval mode; None for a network that came as a file.
        inputs: example inputs of the module.
        batched: whether its inputs begin with a batch; a detector takes one image.
        proto: the file, for a network that came as one.
        given: shapes or arrays by input name that `spa.load` needs, where it cannot guess them.
        instead: makes the part that is taken where the exporter gives up on the whole.
    """

    family: str
    module: Any = None
    inputs: tuple[Any, ...] = ()
    batched: bool = True
    proto: onnx.ModelProto | None = None
    given: Mapping[str, Any] = field(default_factory=dict)
    instead: Callable[[], Network] | None = None


# Called with the rest of the name.
NETWORKS: Registry[Callable[[str], Network]] = Registry("network", "experiments.bench.networks")
# By family of names, the names that the benchmarks take.
LISTS: dict[str, Callable[[], tuple[str, ...]]] = {}
# The same of other collections, which are pruned as modules (`experiments.bench.collections`).
COLLECTIONS: dict[str, Callable[[], tuple[str, ...]]] = {}


def listed(*families: str) -> tuple[str, ...]:
    """Names of all networks that the benchmarks take, of some families or of all."""
    NETWORKS.names()  # loads the files
    return tuple(
        f"{family}/{name}" for family in (families or sorted(LISTS)) for name in LISTS[family]()
    )


def as_file(network: Network) -> tuple[Network, onnx.ModelProto, BridgeError | None]:
    """A network as an ONNX model; or the part that stands for it, and why the whole is none.

    Raises:
        BridgeError: the exporter gives up on both, or there is no such part.
    """
    from spa.bridge import from_torch

    if network.proto is not None:
        return network, network.proto, None
    try:
        return network, from_torch(network.module, network.inputs, network.batched), None
    except BridgeError as error:
        if network.instead is None:
            raise
        part = network.instead()
        return part, from_torch(part.module, part.inputs, part.batched), error
