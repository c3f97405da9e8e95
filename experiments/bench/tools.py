"""Which methods the benchmarks compare, and how a network of theirs is given to one.

Each halves a network's channels, as far as it can without hints. All of them get the same dense
network, as a module or as a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from experiments.bench.networks import Network
from experiments.methods import METHODS, Job, Need, Outcome, Scoring, TorchNetwork
from experiments.methods.baselines.torch_pruning import TorchPruning
from spa import Limits, Target
from spa.errors import SettingError

RATIO = 0.5
TOOLS = ("spa", "torch_pruning", "onnxsim")
# Where a tool's own defaults are no plain halving of every layer.
HALVING = {"torch_pruning": TorchPruning(global_pruning=False, iterative_steps=1)}


@dataclass(frozen=True)
class Halved(Job):
    """A network of the benchmarks, half of whose channels are to go, by the l1 norm."""

    network: Network | None = None

    def module(self) -> TorchNetwork:
        """See `Job.module`."""
        if self.network is None or self.network.module is None:
            raise SettingError("this network is a file, and the tool takes torch modules only")
        return TorchNetwork(self.network.module, self.network.inputs, self.network.batched)


def halved(name: str, network: Network, dense: Path) -> Outcome:
    """Prune a network by a tool.

    Args:
        name: of the tool.
        network: what is pruned.
        dense: its ONNX file.
    """
    job = Halved(
        dense,
        Target(ratio=RATIO),
        limits=Limits(scope="local"),
        scoring=Scoring("l1"),
        given=network.given,
        network=network,
    )
    return METHODS.get(name)(job, HALVING.get(name))


def takes_module(name: str) -> bool:
    """Whether a tool prunes the torch module, not the file."""
    return Need.MODULE in METHODS.get(name).needs
