"""Samples for whatever looks at data: arrays by input name, and what the loss wants of them.

1. Arrays of the task, or of anything else, with or without targets.
2. ``noise``: normal(0, 1). 3. ``uniform``: in [0, 1). Integer inputs that index a table of the
   model get random indices; any other integer or boolean input repeats the example. Noise is only
   taken where it is asked for by name, and every plan that rests on it says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from spa.errors import SettingError
from spa.graph.example import Declared
from spa.graph.model import Array, Model

NOISE = ("noise", "uniform")
# Samples that are drawn where none are given.
DRAWN = 64
SEEDS = 2**64

Inputs: TypeAlias = Mapping[str, Array]
# What users give: one of `NOISE`, inputs, or inputs and targets.
Given: TypeAlias = "str | Array | Inputs | tuple[Array | Inputs, Any] | Data"


@dataclass(frozen=True)
class Batch:
    """Some samples.

    Attributes:
        inputs: arrays by input name.
        targets: what the loss takes; None where the model's own outputs serve.
        samples: how many there are.
    """

    inputs: Inputs
    targets: Any
    samples: int

    def target(self, i: int) -> Any:
        """What the loss takes of one sample, still with an axis of samples."""
        return _rows(self.targets, slice(i, i + 1))


@dataclass(frozen=True)
class Data:
    """Samples, and where they come from.

    Attributes:
        inputs: all samples of every input, by name; an input without a sample axis is whole.
        targets: an array or a mapping of arrays with one entry per sample; None for none.
        source: ``data``, or the kind of noise.
        split: inputs whose first axis counts samples.
        samples: how many there are.
        fixed: the batch size that the file fixes; None where it is free.
    """

    inputs: Inputs
    targets: Any
    source: str
    split: frozenset[str]
    samples: int
    fixed: int | None

    def batches(self, most: int) -> Iterator[Batch]:
        """Samples in order, in batches of at most so many; of what the file fixes, where it does.

        The last one may be smaller all the same: a module may take it.
        """
        size = max(1, most) if self.fixed is None else self.fixed
        for start in range(0, self.samples, size):
            rows = slice(start, min(start + size, self.samples))
            inputs = {n: x[rows] if n in self.split else x for n, x in self.inputs.items()}
            yield Batch(inputs, _rows(self.targets, rows), rows.stop - rows.start)

    def fixed_batches(self, most: int) -> Iterator[Batch]:
        """The same for what runs the file itself, which takes whole batches alone.

        Raises:
            SettingError: there are too few samples for one.
        """
        if self.fixed is not None and self.samples < self.fixed:
            raise SettingError(
                f"The model takes batches of {self.fixed} samples, and {self.samples} were given."
            )
        for batch in self.batches(most):
            if self.fixed in (None, batch.samples):
                yield batch

    def describe(self) -> dict[str, Any]:
        """What a plan says of it."""
        return {"data": self.source, "samples": self.samples, "targets": self.targets is not None}


def _rows(targets: Any, rows: slice) -> Any:
    if isinstance(targets, Mapping):
        return {name: value[rows] for name, value in targets.items()}
    return None if targets is None else targets[rows]


def data_for(model: Model, given: Given, *, samples: int = DRAWN, seed: int = 0) -> Data:
    """Takes or draws a model's samples.

    Args:
        model: the model.
        given: see the module's text; inputs by name, or one array where the model has one input.
        samples: how many are drawn where noise is asked for.
        seed: of what is drawn.

    Raises:
        SettingError: an unknown kind of noise, or arrays that do not fit.
    """
    if isinstance(given, Data):
        return given
    if isinstance(given, str):
        if given not in NOISE:
            raise SettingError(
                f'data must be {" or ".join(NOISE)}, or arrays; "{given}" was given.'
            )
        return _data(model, drawn(model, given, samples, seed), None, given)
    inputs, targets = given if isinstance(given, tuple) else (given, None)
    return _data(model, _named(model, inputs), targets, "data")


def _named(model: Model, inputs: Array | Inputs) -> dict[str, Array]:
    names = [declared.name for declared in model.declared]
    if not isinstance(inputs, Mapping):
        if len(names) != 1:
            raise SettingError(
                f"The model has {len(names)} inputs ({', '.join(names)}); give the arrays by name."
            )
        return {names[0]: np.asarray(inputs)}
    strange = [*(set(inputs) - set(names)), *(set(names) - set(inputs))]
    if strange:
        raise SettingError(
            f"Data must name the model's inputs, {', '.join(names)}; "
            f"{', '.join(map(str, inputs))} were given."
        )
    return {name: np.asarray(inputs[name]) for name in names}


def _data(model: Model, inputs: dict[str, Array], targets: Any, source: str) -> Data:
    by_name = {declared.name: declared for declared in model.declared}
    free = sample_axes(model.declared)
    first = next(iter(by_name.values()), None)
    fixed = first.dims[0] if first is not None and first.dims and not free else None
    split = free or frozenset(n for n, d in by_name.items() if d.dims and d.dims[0] == fixed)
    for name, x in inputs.items():
        declared = by_name[name]
        # A batch size that the file fixes is cut from the samples.
        lead = declared.dims[:1] if fixed is not None and name in split else x.shape[:1]
        if not declared.takes((*lead, *x.shape[1:])) or not x.size:
            raise SettingError(
                f"Data of shape {x.shape} does not fit input {declared.describe()} (the first axis "
                "is the batch, ? is free)."
            )
    counts = {name: len(inputs[name]) for name in inputs if name in split}
    counts |= {f"targets {k}".strip(): n for k, n in _lengths(targets).items()}
    if len(set(counts.values())) != 1:
        raise SettingError(
            "Data does not fit: one sample for each entry of the first axis is needed, but there "
            f"are {', '.join(f'{n} of {name}' for name, n in counts.items()) or 'none'}."
        )
    taken = {n: np.asarray(x, dtype=by_name[n].dtype) for n, x in inputs.items()}
    return Data(taken, targets, source, split, next(iter(counts.values())), fixed)


def _lengths(targets: Any) -> dict[str, int]:
    if isinstance(targets, Mapping):
        return {str(name): len(value) for name, value in targets.items()}
    return {} if targets is None else {"": len(targets)}


def sample_axes(declared: tuple[Declared, ...] | list[Declared]) -> frozenset[str]:
    """Names of inputs whose free first axis is that of the first input that has one."""
    leading = [d for d in declared if d.dims and d.dims[0] is None]
    if not leading:
        return frozenset()
    name = leading[0].symbols[0] if leading[0].symbols else ""
    return frozenset(
        d.name for d in leading if not (name and d.symbols and d.symbols[0]) or d.symbols[0] == name
    )


def drawn(model: Model, kind: str, samples: int, seed: int) -> dict[str, Array]:
    """Noise for every input; a batch size that the file fixes is filled as often as it takes.

    Args:
        model: the model.
        kind: one of `NOISE`.
        samples: how many samples.
        seed: of the noise.
    """
    rng = np.random.default_rng(seed % SEEDS)
    free = has_free_batch(model)
    arrays = {}
    for declared in model.declared:
        example = model.example[declared.name]
        fixed = declared.dims[0] if declared.dims else None
        if not example.ndim or (free and fixed is not None):
            size = len(example) if example.ndim else 0
        else:
            size = samples if fixed is None else -(-samples // fixed) * fixed
        shape = (size, *example.shape[1:]) if example.ndim else ()
        rows = table_rows(model, declared.name)
        if example.dtype.kind == "f":
            values = rng.random(shape) if kind == "uniform" else rng.standard_normal(shape)
            arrays[declared.name] = np.asarray(values, example.dtype)
        elif rows is not None:
            arrays[declared.name] = np.asarray(rng.integers(0, rows, shape), example.dtype)
        else:
            arrays[declared.name] = np.resize(example, shape)
    return arrays


def has_free_batch(model: Model) -> bool:
    """Whether some input's first axis is open."""
    return any(d.dims and d.dims[0] is None for d in model.declared)


def table_rows(model: Model, name: str) -> int | None:
    """Rows of the smallest table that an integer input indexes; None where it indexes none."""
    names, rows = {name}, []
    for node in model.graph.nodes:
        if node.op in ("Cast", "Identity", "Reshape", "Unsqueeze") and node.inputs[0] in names:
            names.update(node.outputs)
        elif node.op == "Gather" and node.inputs[1] in names:
            table = model.shapes.get(node.inputs[0], ())
            if node.inputs[0] in model.constants and table:
                rows.append(table[int(node.attr("axis", 0))])
    return min(rows, default=None)
