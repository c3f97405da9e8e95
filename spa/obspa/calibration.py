"""Calibration inputs: what a layer's Hessian is collected on.

1. Arrays: samples of the task, or of anything else.
2. ``noise``: normal(0, 1). 3. ``uniform``: in [0, 1).
4. ``bn``: inputs made so that they show every batch norm the statistics that it has stored (see
   `spa.obspa.synthesis`). A model without batch norms gets noise instead, and the result says so.

Noise fits stored statistics badly (half the inputs of a layer are dead then), and so do pictures of
another kind; so batch norms normalise with the statistics of these inputs while they are collected
(see `spa.obspa.settings.Settings`).

Integer inputs that index a table of the model get random indices; any other integer or boolean
input repeats the example.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
import torch

from spa.bridge.onnx_module import OnnxModule
from spa.errors import InputError, SettingError
from spa.graph.example import check_given
from spa.graph.model import Array, Model
from spa.observe.data import Data, data_for, drawn, has_free_batch
from spa.observe.stream import Batches, is_batch_norm
from spa.obspa.settings import Settings
from spa.obspa.synthesis import synthesise

SOURCES = ("bn", "noise", "uniform")
Source: TypeAlias = str | Array | Mapping[str, Array]


@dataclass(frozen=True)
class Calibration:
    """Inputs, and where they come from.

    Attributes:
        inputs: batches of every input, by name.
        source: ``data``, or the data-free kind that was asked for.
        used: the kind that was used: ``bn`` becomes ``noise`` without batch norms.
        samples: how many there are.
    """

    inputs: dict[str, Batches]
    source: str
    used: str
    samples: int
    model: Model = field(repr=False, compare=False)

    def data(self) -> Data:
        """The same for a criterion."""
        whole = {name: np.concatenate([x.cpu().numpy() for x in batches])
                 for name, batches in self.inputs.items()}  # fmt: skip
        return replace(data_for(self.model, whole), source=self.used)


def calibrate(model: Model, net: OnnxModule, source: Source, settings: Settings) -> Calibration:
    """Makes or takes the calibration inputs.

    Raises:
        SettingError: an unknown kind.
        InputError: arrays that do not fit the model's inputs; a model without inputs.
    """
    if not model.declared:
        raise InputError("The model takes no inputs, so there is nothing to calibrate it on.")
    if isinstance(source, str):
        if source not in SOURCES:
            raise SettingError(
                f'calibration must be {", ".join(SOURCES)} or arrays; "{source}" was given.'
            )
        used = source
        if source == "bn" and not any(is_batch_norm(step) for step in net.steps):
            used = "noise"
        arrays = drawn(model, used, settings.samples, settings.seed)
        asked = source
    else:
        arrays, asked, used = _given(model, source, settings.samples), "data", "data"
    batches = _batched(model, arrays, settings.device)
    if used == "bn":
        batches = synthesise(net, batches, settings.seed)
    return Calibration(
        inputs=batches,
        source=asked,
        used=used,
        samples=sum(len(batch) for batch in next(iter(batches.values()))),
        model=model,
    )


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


def _batched(model: Model, arrays: Mapping[str, Array], device: str) -> dict[str, Batches]:
    """One batch of all samples, or as many as a fixed batch size makes."""
    free = has_free_batch(model)
    batches: dict[str, Batches] = {}
    for declared in model.declared:
        tensor = torch.from_numpy(np.array(arrays[declared.name])).to(device)
        fixed = declared.dims[0] if declared.dims else None
        whole = free or fixed is None
        batches[declared.name] = [tensor] if whole else list(torch.split(tensor, fixed or 1))
    count = max(len(parts) for parts in batches.values())
    for name, parts in batches.items():
        if len(parts) not in (1, count):
            raise InputError(
                f'The calibration arrays differ in length: "{name}" makes {len(parts)} batches, '
                f"another input {count}."
            )
        batches[name] = parts * (count // len(parts))
    sizes = {len(b[0]) for d, b in zip(model.declared, batches.values(), strict=True)
             if d.dims and d.dims[0] is None}  # fmt: skip
    if len(sizes) > 1:
        raise InputError(f"The calibration arrays differ in length: {sorted(sizes)} samples.")
    return batches
