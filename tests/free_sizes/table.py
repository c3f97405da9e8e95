"""The table of networks: how each is made, what it takes, and at which sizes it is looked at."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from torch import nn

from experiments.bench.networks.waking import wake
from tests.feeds import Input, Sizes


@dataclass(frozen=True)
class Network:
    """One network.

    Attributes:
        make: gives the module.
        inputs: what it takes.
        traced: the free sizes with which the exporters see it.
        tried: sizes at which the pruned file is compared with the dense one, more than are needed.
        exporters: those of torch's that can export it with all these sizes free.
        rp: least ratio of parameters that half of the channels must give.
    """

    make: Callable[[], nn.Module]
    inputs: tuple[Input, ...]
    traced: Sizes
    tried: Sequence[Sizes]
    exporters: tuple[str, ...] = ("torchscript", "dynamo")
    rp: float = 1.5

    def feeds(self, sizes: Sizes, seed: int = 0) -> dict[str, np.ndarray]:
        """Inputs of these sizes."""
        rng = np.random.default_rng(seed)
        return {each.name: each.values(rng, sizes) for each in self.inputs}

    def exported(self, exporter: str) -> onnx.ModelProto:
        """The file that an exporter writes, with random weights in every vector too."""
        torch.manual_seed(0)
        module = self.make().eval()
        wake(module)
        example = tuple(map(torch.from_numpy, self.feeds(self.traced).values()))
        names = [each.name for each in self.inputs]
        free = {
            each.name: {k: d for k, d in enumerate(each.dims) if isinstance(d, str)}
            for each in self.inputs
        }
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        torch.backends.mha.set_fastpath_enabled(False)  # no exporter knows the fused operator
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            if exporter == "torchscript":
                file = io.BytesIO()
                torch.onnx.export(
                    module,
                    example,
                    file,
                    dynamo=False,
                    opset_version=17,
                    input_names=names,
                    dynamic_axes=free,
                )
                return onnx.load_from_string(file.getvalue())
            shapes = tuple({k: torch.export.Dim.DYNAMIC for k in axes} for axes in free.values())
            program = torch.onnx.export(
                module,
                example,
                dynamo=True,
                dynamic_shapes=shapes,
                input_names=names,
                verbose=False,
            )
            return program.model_proto


NETWORKS: dict[str, Network] = {}


def grid(**sizes: Sequence[int]) -> list[dict[str, int]]:
    """Sizes side by side: ``grid(N=(1, 2), T=(7, 9))`` is N 1 with T 7, and N 2 with T 9."""
    return [dict(zip(sizes, values, strict=True)) for values in zip(*sizes.values(), strict=True)]


def network(
    *inputs: Input, traced: Sizes, tried: Sequence[Sizes], **more: object
) -> Callable[[type[nn.Module]], type[nn.Module]]:
    """Registers a module's class under its name in lower case."""

    def register(kind: type[nn.Module]) -> type[nn.Module]:
        NETWORKS[kind.__name__.lower()] = Network(kind, inputs, traced, tried, **more)
        return kind

    return register
