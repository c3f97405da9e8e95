"""A model that runs on one example after another, in one session where its weights can be held."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import onnx

from spa.graph.execute import bounded, each_of, run_each, session
from spa.graph.model import Array
from spa.graph.nodes import set_nodes
from spa.graph.stages import is_long
from spa.graph.weightless import without_weights

Example = Mapping[str, Array]
Tensors = dict[str, Array]


class Opened:
    """Gives a model's outputs, and some of its inner tensors, by name.

    Args:
        proto: the model; it is not changed.
        wanted: inner tensors to give.
        fixed: tensors that are fed, whose nodes are left out; with an array of each one's type.
        weights: large initializers that it lacks.
        optimize: let ONNX Runtime rewrite it.

    Raises:
        ModelError: ONNX Runtime refuses the model.
    """

    def __init__(
        self,
        proto: onnx.ModelProto,
        wanted: Sequence[str] = (),
        fixed: Mapping[str, Array] | None = None,
        *,
        weights: Sequence[onnx.TensorProto] = (),
        optimize: bool = True,
    ) -> None:
        fixed = fixed or {}
        light, large = without_weights(proto)
        self._weights = [*large, *weights]
        if fixed:
            _leave_out(light, fixed)
        names = [value.name for value in light.graph.output]
        self._also = [n for n in dict.fromkeys(wanted) if n not in fixed and n not in names]
        #: What a run gives.
        self.names = [*names, *self._also]
        self._light, self._optimize = light, optimize
        self._is_long = is_long(proto, weights)
        if not self._is_long and self.names:
            self._session = session(
                light, self._weights, also=self._also, optimize=optimize, once=True
            )

    def run(self, feeds: Example) -> Tensors:
        """Runs it once.

        Raises:
            ModelError: as `spa.graph.execute.run`.
        """
        return self.run_all([feeds])[0]

    def run_all(
        self, examples: Sequence[Example], only: Sequence[Collection[str]] = ()
    ) -> list[Tensors]:
        """Runs it on several examples; weights that are not held are read once for all.

        ``only`` says of each example which tensors are given; all where it is empty.
        """
        if not self.names:
            return [{} for _ in examples]
        names = each_of(self.names, only, len(examples))
        if self._is_long:
            found = run_each(
                self._light, examples, also=self._also, weights=self._weights,
                optimize=self._optimize, only=only,
            )  # fmt: skip
        else:
            found = [
                bounded(functools.partial(self._session.run, some, dict(each)))
                for each, some in zip(examples, names, strict=True)
            ]
        return [
            dict(zip(some, map(_own, values), strict=True))
            for some, values in zip(names, found, strict=True)
        ]


def _own(value: Array) -> Array:
    """An output that is a weight belongs to the session, and would be lost with it."""
    is_weight = isinstance(value, np.ndarray) and not value.flags.owndata
    return value.copy() if is_weight else value


def _leave_out(light: onnx.ModelProto, fixed: Mapping[str, Array]) -> None:
    """Makes inputs of tensors that nodes compute."""
    names = set(fixed)
    set_nodes(light.graph, [n for n in light.graph.node if not names & set(n.output)])
    for value in [value for value in light.graph.output if value.name in names]:
        light.graph.output.remove(value)
    del light.graph.value_info[:]
    light.graph.input.extend(
        onnx.helper.make_tensor_value_info(
            name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), [None] * value.ndim
        )
        for name, value in fixed.items()
    )
