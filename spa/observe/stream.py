"""Running a model node by node on calibration inputs, with every activation at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from spa.bridge.onnx_module import OnnxModule, Step
from spa.bridge.ops.normalization import BatchNorm
from spa.observe.data import Data

# One tensor per batch of calibration inputs.
Batches = list[Tensor]


class Stream:
    """Activations of one model by name; a walk over the steps fills and empties it.

    Args:
        net: the model; it is not changed.
        inputs: batches of every input.
    """

    def __init__(self, net: OnnxModule, inputs: Mapping[str, Batches]) -> None:
        self.values: dict[str, Batches] = dict(inputs)
        self._constants = net.constants()
        self._count = len(next(iter(inputs.values())))

    @staticmethod
    def of_data(net: OnnxModule, data: Data, device: str = "cpu") -> Stream:
        """A stream of all samples: in one batch, or in as many as the file's batch size makes."""
        batches = list(data.batches(data.samples))
        inputs = {
            name: [torch.from_numpy(np.array(batch.inputs[name])).to(device) for batch in batches]
            for name in data.inputs
        }
        return Stream(net, inputs)

    def get(self, name: str) -> Batches:
        """A tensor in every batch."""
        if name not in self.values:
            self.values[name] = [self._constants[name]] * self._count
        return self.values[name]

    def all(self, name: str) -> Tensor:
        """An activation in all batches together."""
        batches = self.get(name)
        return batches[0] if len(batches) == 1 else torch.cat(batches)

    def set(self, name: str, value: Tensor) -> None:
        """Gives a weight, or what is computed from weights, another value."""
        self.values[name] = [value] * self._count

    def set_statistics(self, step: Step, mean: Tensor, var: Tensor) -> None:
        """Gives a batch norm other statistics, each (C,)."""
        self.set(step.inputs[3], mean)
        self.set(step.inputs[4], var)

    def run(self, step: Step) -> None:
        """Computes the outputs of a step."""
        inputs = [self.get(name) if name else [None] * self._count for name in step.inputs]
        results = [step.run(*tensors) for tensors in zip(*inputs, strict=True)] or [
            step.run() for _ in range(self._count)
        ]
        for i, name in enumerate(step.outputs):
            if name and i < len(results[0]):
                self.values[name] = [result[i] for result in results]

    def follow(self, other: Stream, step: Step) -> bool:
        """Takes over another stream's outputs where the inputs are the same tensors."""
        for name in step.inputs:
            if name and not all(
                a is b for a, b in zip(self.get(name), other.get(name), strict=True)
            ):
                return False
        for name in step.outputs:
            if name in other.values:
                self.values[name] = other.values[name]
        return True

    def drop(self, names: Sequence[str]) -> None:
        """Forgets activations."""
        for name in names:
            self.values.pop(name, None)


def is_batch_norm(step: Step) -> bool:
    """Whether a step is a batch norm that uses stored statistics."""
    return isinstance(step.run, BatchNorm) and not step.run.always


def moments(batches: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and variance of every channel over all batches; x: (N, C, ...) -> (C,), (C,)."""
    together = torch.cat([x.transpose(0, 1).flatten(1) for x in batches], dim=1)
    wide = together.float() if together.element_size() < 4 else together
    var, mean = torch.var_mean(wide, dim=1, correction=0)
    return mean.to(together.dtype), var.to(together.dtype)


def last_reads(steps: Sequence[Step]) -> list[list[str]]:
    """For every step, the tensors that no later one reads."""
    seen: set[str] = set()
    spent: list[list[str]] = []
    for step in reversed(steps):
        names = {name for name in (*step.inputs, *step.outputs) if name} - seen
        seen |= names
        spent.append(sorted(names))
    return spent[::-1]
