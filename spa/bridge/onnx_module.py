"""An ONNX graph as a trainable torch module: steps over named tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from spa.bridge.registry import Operator
from spa.errors import BridgeError


@dataclass(frozen=True)
class Step:
    """One node, ready to run.

    Attributes:
        name: the node's name.
        op: the ONNX operator type.
        inputs: tensor names; ``""`` stands for an optional input that is left out (None at run).
        outputs: tensor names; ``""`` for an output that nobody names.
        attrs: the node's attributes as Python values.
        run: takes the input tensors, returns a tuple of output tensors. For BatchNormalization
            and Dropout its ``training`` flag decides how it behaves.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any]
    run: Operator

    def __call__(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run on named tensors and return the named outputs."""
        tensors = [values[name] if name else None for name in self.inputs]
        try:
            results = self.run(*tensors)
        except RuntimeError as error:
            error.add_note(f'in {self.op} node "{self.name}" (output "{self.outputs[0]}")')
            raise
        return {name: t for name, t in zip(self.outputs, results, strict=False) if name}


class OnnxModule(nn.Module):
    """The steps of an ONNX graph, with its weights as parameters.

    Parameters and statistics are stored under keys that torch allows (names without dots); the
    mappings below go by the ONNX names, in the ONNX layout. Small integer constants (shapes,
    axes) stay in host memory wherever the module is, as they are read as Python numbers.

    Attributes:
        steps: the nodes in order.
        input_names: names of the graph's inputs, in the order of ``forward``'s arguments.
        output_names: names of its outputs.
    """

    def __init__(
        self,
        steps: Iterable[Step],
        input_names: Iterable[str],
        output_names: Iterable[str],
        weights: Mapping[str, Tensor],
        statistics: Mapping[str, Tensor],
        constants: Mapping[str, Tensor],
        host: Mapping[str, Tensor],
    ) -> None:
        super().__init__()
        self.steps = tuple(steps)
        self.input_names = tuple(input_names)
        self.output_names = tuple(output_names)
        self.runs = nn.ModuleList(step.run for step in self.steps)
        self._keys: dict[str, str] = {}
        for name, tensor in weights.items():
            self.register_parameter(self._key("weight", name), nn.Parameter(tensor))
        for name, tensor in statistics.items():
            self.register_buffer(self._key("statistic", name), tensor)
        for name, tensor in constants.items():
            self.register_buffer(self._key("constant", name), tensor, persistent=False)
        self._weight_names = tuple(weights)
        self._statistic_names = tuple(statistics)
        self._host = dict(host)
        self._spent = self._last_uses()

    def _key(self, kind: str, name: str) -> str:
        key = f"{kind}_{re.sub(r'[^0-9A-Za-z_]', '_', name)}"
        taken = set(self._keys.values())
        while key in taken:  # two names may differ in a dot only
            key += "_"
        self._keys[name] = key
        return key

    def _last_uses(self) -> tuple[tuple[str, ...], ...]:
        """For each step, the activations that nobody reads after it."""
        kept = {*self.output_names, *self._keys, *self._host}
        seen: set[str] = set()
        spent: list[tuple[str, ...]] = []
        for step in reversed(self.steps):
            names = {n for n in (*step.inputs, *step.outputs) if n} - kept - seen
            seen |= names
            spent.append(tuple(sorted(names)))
        return tuple(reversed(spent))

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        """Parameters by ONNX name."""
        return {name: self.get_parameter(self._keys[name]) for name in self._weight_names}

    @property
    def statistics(self) -> dict[str, Tensor]:
        """Running means and variances of the batch norms, by ONNX name."""
        return {name: self.get_buffer(self._keys[name]) for name in self._statistic_names}

    def constants(self) -> dict[str, Tensor]:
        """Return all that is known before the first step: weights, statistics, constants."""
        named = {name: getattr(self, key) for name, key in self._keys.items()}
        return {**self._host, **named}

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Run all steps.

        Args:
            inputs: one tensor per graph input, in the graph's order.

        Returns:
            The output, or a tuple of them where the graph has several.

        Raises:
            BridgeError: wrong number of inputs.
        """
        if len(inputs) != len(self.input_names):
            raise BridgeError(
                f"the graph takes {len(self.input_names)} inputs {list(self.input_names)}, "
                f"but {len(inputs)} were given."
            )
        values = self.constants()
        values.update(zip(self.input_names, inputs, strict=True))
        for step, spent in zip(self.steps, self._spent, strict=True):
            values.update(step(values))
            for name in spent:
                values.pop(name, None)
        outputs = tuple(values[name] for name in self.output_names)
        return outputs[0] if len(outputs) == 1 else outputs
