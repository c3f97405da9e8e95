"""Calibration inputs: what a layer's Hessian is collected on.

1. Arrays: samples of the task, or of anything else.
2. ``noise``: normal(0, 1). 3. ``uniform``: in [0, 1).
4. ``bn``: inputs made so that they show every batch norm the statistics that it has stored (see
   `spa.obspa.synthesis`). A model without batch norms gets noise instead, and the result says so.
5. ``self``: text that a language model writes itself (see `spa.obspa.writing`).

Noise fits stored statistics badly (half the inputs of a layer are dead then), and so do pictures of
another kind; so batch norms normalise with the statistics of these inputs while they are collected
(see `spa.obspa.settings.Settings`).

Integer inputs that index a table of the model get random indices; any other integer or boolean
input repeats the example. Samples are taken in batches that fit into the memory that is given.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np

from spa.errors import InputError, MissingExtra, SettingError
from spa.graph.example import check_given
from spa.graph.model import Array, Model
from spa.observe.data import Data, data_for, drawn, has_free_batch, sample_axes
from spa.observe.memory import batch_size, budget_of, synthesis_size
from spa.observe.steps import check_device
from spa.observe.stream import is_batch_norm
from spa.obspa.settings import Settings
from spa.obspa.writing import write

SOURCES = ("bn", "noise", "uniform", "self")
Source: TypeAlias = str | Array | Mapping[str, Array]


@dataclass(frozen=True)
class Calibration:
    """Inputs, and where they come from.

    Attributes:
        inputs: by name, an array of every batch, or one for all.
        source: ``data``, or the data-free kind that was asked for.
        used: the kind that was used: ``bn`` becomes ``noise`` without batch norms.
        samples: how many there are.
        budget: bytes that may be taken for work with them.
    """

    inputs: dict[str, list[Array] | Array]
    source: str
    used: str
    samples: int
    budget: int
    model: Model = field(repr=False, compare=False)

    def data(self) -> Data:
        """The same for a criterion."""
        whole = {
            name: parts if isinstance(parts, np.ndarray) else np.concatenate(parts)
            for name, parts in self.inputs.items()
        }
        return replace(data_for(self.model, whole), source=self.used)


def nothing(model: Model, settings: Settings) -> Calibration:
    """No inputs at all, where nothing looks at any."""
    return Calibration({}, "none", "none", 0, budget_of(settings.memory), model)


def calibrate(model: Model, source: Source, settings: Settings) -> Calibration:
    """Makes or takes the calibration inputs.

    Raises:
        SettingError: an unknown kind; text of a model that writes none.
        InputError: arrays that do not fit the model's inputs; a model without inputs.
    """
    if not model.declared:
        raise InputError("The model takes no inputs, so there is nothing to calibrate it on.")
    budget = budget_of(settings.memory)
    check_device(settings.device)
    if isinstance(source, str):
        if source not in SOURCES:
            raise SettingError(
                f'calibration must be {", ".join(SOURCES)} or arrays; "{source}" was given.'
            )
        used = source
        if source == "bn" and not any(map(is_batch_norm, model.graph.nodes)):
            used = "noise"
        if used == "self":
            arrays = write(model, settings.samples, settings.seed)
        else:
            arrays = drawn(model, used, settings.samples, settings.seed)
        asked = source
    else:
        arrays, asked, used = _given(model, source, settings.samples), "data", "data"
    batches = _batched(model, arrays, batch_size(model, budget))
    if used == "bn":
        made = _synthesised(model, arrays, settings.seed, settings.device, budget)
        batches = _batched(model, made, batch_size(model, budget))
    samples = sum(
        len(part) for part in next((b for b in batches.values() if isinstance(b, list)), [])
    )
    return Calibration(batches, asked, used, samples, budget, model)


def _synthesised(
    model: Model, start: Mapping[str, Array], seed: int, device: str, budget: int
) -> dict[str, Array]:
    """Moves noise until batch norms see what they have stored, in batches that fit into memory."""
    if importlib.util.find_spec("torch") is None:
        raise MissingExtra("torch", "torch", "calibration bn (other kinds do without)")
    from spa.obspa.synthesis import synthesise

    free = sample_axes(model.declared)
    split = free or frozenset(d.name for d in model.declared if d.dims)
    size = max((len(start[name]) for name in split), default=1)
    together = model.batch_size if not free else synthesis_size(model, budget)
    return synthesise(model, start, split, size, together, seed, device)


def _given(model: Model, source: Array | Mapping[str, Array], limit: int) -> dict[str, Array]:
    """Checks given arrays and takes the first samples."""
    if isinstance(source, Mapping):
        arrays = {name: np.asarray(array) for name, array in source.items()}
    elif len(model.declared) == 1:
        arrays = {model.declared[0].name: np.asarray(source)}
    else:
        raise InputError(
            f"The model has {len(model.declared)} inputs; give the calibration arrays by name."
        )
    missing = [d.name for d in model.declared if d.name not in arrays]
    if missing:
        raise InputError(f'The calibration arrays lack input "{missing[0]}".')
    free = has_free_batch(model)
    taken = {}
    for declared in model.declared:
        array = arrays[declared.name]
        fixed = declared.dims[0] if declared.dims else None
        if not free and fixed is not None and array.ndim:
            array = array[: max(len(array) // fixed, 1) * fixed]
            check_given(model.declared, {declared.name: array[:fixed]})
            array = array[: -(-limit // fixed) * fixed]
        else:
            check_given(model.declared, {declared.name: array})
            array = array if fixed is not None or not array.ndim else array[:limit]
        taken[declared.name] = array.astype(declared.dtype, copy=False)
    if set(arrays) - set(taken):
        check_given(model.declared, arrays)
    return taken


def _batched(
    model: Model, arrays: Mapping[str, Array], most: int
) -> dict[str, list[Array] | Array]:
    """Batches of at most so many samples, or of a fixed batch size.

    Raises:
        InputError: the arrays differ in length.
    """
    free = sample_axes(model.declared)
    sizes = dict.fromkeys(free, most) or {
        declared.name: declared.dims[0] or most for declared in model.declared if declared.dims
    }
    lengths = {len(arrays[name]) for name in sizes if free}
    if len(lengths) > 1:
        raise InputError(f"The calibration arrays differ in length: {sorted(lengths)} samples.")
    batches: dict[str, list[Array] | Array] = {}
    for declared in model.declared:
        array, size = np.array(arrays[declared.name]), sizes.get(declared.name)
        # Of a fixed size that other inputs exceed, one batch serves all.
        if size is None or (not free and len(array) <= size):
            batches[declared.name] = array
        else:
            batches[declared.name] = [
                array[start : start + size] for start in range(0, len(array), size)
            ]
    counts = {name: len(b) for name, b in batches.items() if isinstance(b, list)}
    if len(set(counts.values())) > 1:
        (name, few), (other, many) = sorted(counts.items(), key=lambda item: item[1])[
            :: len(counts) - 1
        ]
        raise InputError(
            f'The calibration arrays differ in length: "{name}" makes {few} batches, "{other}" '
            f"{many}."
        )
    if not counts:  # one batch of a fixed size
        return {
            name: [batch] if name in sizes and isinstance(batch, np.ndarray) else batch
            for name, batch in batches.items()
        }
    return batches
