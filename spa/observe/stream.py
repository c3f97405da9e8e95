"""Running a model node by node on calibration inputs, with every activation at hand.

Samples come in batches; what is the same for all of them (weights, and what is computed from
weights alone) is held once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from spa.graph.model import Array, Model
from spa.graph.nodes import Node
from spa.observe.data import Data
from spa.observe.moments import Moments
from spa.observe.steps import Runner
from spa.observe.store import Held, Store

# A tensor: one value for all batches, or one of every batch.
Value: TypeAlias = "Array | list[Held]"
Batches: TypeAlias = "Mapping[str, Array | Sequence[Array]]"


class Stream:
    """Activations of one model by name; a walk over the nodes fills and empties it.

    Args:
        model: the model; it is not changed.
        inputs: by name, one array for all batches, or one of every batch.
        runner: what runs nodes.
        store: what keeps activations.
    """

    def __init__(self, model: Model, inputs: Batches, runner: Runner, store: Store) -> None:
        self._model, self._runner, self._store = model, runner, store
        self._values: dict[str, Value] = {
            name: [store.put(part) for part in value]
            if not isinstance(value, np.ndarray)
            else value
            for name, value in inputs.items()
        }
        self._fixed: set[str] = set()
        self.count = max(
            (len(value) for value in self._values.values() if isinstance(value, list)), default=1
        )

    @staticmethod
    def of_data(model: Model, data: Data, runner: Runner, store: Store, most: int) -> Stream:
        """A stream of all samples, in batches of at most so many."""
        batches = list(data.batches(most))
        inputs: dict[str, Array | list[Array]] = {
            name: [batch.inputs[name] for batch in batches] if name in data.split else x
            for name, x in data.inputs.items()
        }
        return Stream(model, inputs, runner, store)

    def value(self, name: str) -> Value:
        """A tensor as it is held."""
        if name not in self._values:
            # Weights are not kept here: the model reads large ones anew.
            return self._model.array(self._model.root(name))
        return self._values[name]

    def has(self, name: str) -> bool:
        """Whether an activation has been computed, and not been dropped yet."""
        return name in self._values

    def at(self, name: str, i: int) -> Array:
        """A tensor in batch ``i``."""
        value = self.value(name)
        return value[i].get() if isinstance(value, list) else value

    def whole(self, name: str) -> Array:
        """A tensor that is the same in all batches."""
        value = self.value(name)
        return value[0].get() if isinstance(value, list) else value

    def batches(self, name: str) -> Iterator[Array]:
        """A tensor in one batch after another; once where it is the same in all."""
        value = self.value(name)
        if isinstance(value, list):
            yield from (held.get() for held in value)
        else:
            yield value

    def shapes(self, name: str) -> list[tuple[int, ...]]:
        """Its shape in every batch."""
        value = self.value(name)
        return [held.shape for held in value] if isinstance(value, list) else [value.shape]

    def set(self, name: str, value: Array) -> None:
        """Gives a weight, or what is computed from weights, another value, from now on."""
        self._values[name] = value
        self._fixed.add(name)

    def set_statistics(self, node: Node, mean: Array, var: Array) -> None:
        """Gives a batch norm other statistics, each (C,)."""
        self.set(node.inputs[3], mean)
        self.set(node.inputs[4], var)

    def run(self, node: Node) -> None:
        """Computes the outputs of a node."""
        values = [self.value(name) if name else None for name in (*node.inputs, *node.captured)]
        parted = any(isinstance(value, list) and _is_held(value) for value in values)
        found: list[list[Held]] = [[] for _ in node.outputs]
        for i in range(self.count if parted else 1):
            arrays = [
                value[i].get() if isinstance(value, list) and _is_held(value) else value
                for value in values
            ]
            outputs = self._runner.run(node, arrays)  # type: ignore[arg-type]
            for k, output in enumerate(outputs):
                if output is None:
                    continue
                if parted:
                    found[k].append(self._store.put(output))
                elif node.outputs[k] not in self._fixed:
                    self._values[node.outputs[k]] = output
        if parted:
            for name, parts in zip(node.outputs, found, strict=True):
                if name and parts:
                    self._values[name] = parts

    def follow(self, other: Stream, node: Node) -> bool:
        """Takes over another stream's outputs where the inputs are the same tensors."""
        for name in (*node.inputs, *node.captured):
            if name and self._own(name) is not other._own(name):
                return False
        for name in node.outputs:
            if name in other._values and name not in self._fixed:
                self._values[name] = other._values[name]
        return True

    def _own(self, name: str) -> Value | None:
        return self._values.get(name)

    def leave(self, node: Node, spent: Sequence[str]) -> None:
        """Forgets activations that nothing reads after a node, and what was held to run it."""
        self._runner.forget(node)
        for name in spent:
            self._values.pop(name, None)


def _is_held(value: Sequence[object]) -> bool:
    return bool(value) and isinstance(value[0], Held)


def is_batch_norm(node: Node) -> bool:
    """Whether a node is a batch norm that uses stored statistics."""
    return node.op == "BatchNormalization" and not node.attr("training_mode", 0)


def moments(batches: Iterator[Array] | Sequence[Array]) -> tuple[Array, Array]:
    """Mean and variance of every channel over all batches; x: (N, C, ...) -> (C,), (C,)."""
    found: Moments | None = None
    dtype = np.dtype(np.float32)
    for x in batches:
        found = found or Moments(x.shape[1])
        found.add(x, 1)
        dtype = x.dtype
    assert found is not None
    return found.mean.astype(dtype), found.variance.astype(dtype)


def last_reads(nodes: Sequence[Node]) -> list[list[str]]:
    """For every node, the tensors that no later one reads."""
    seen: set[str] = set()
    spent: list[list[str]] = []
    for node in reversed(nodes):
        names = {name for name in (*node.inputs, *node.captured, *node.outputs) if name} - seen
        seen |= names
        spent.append(sorted(names))
    return spent[::-1]
