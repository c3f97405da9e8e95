"""From a model to its table: widths are drawn, the model is cut to them, and its layers are timed.

Tables are kept, in ``$SPA_LATENCY`` or ``spa/latency`` in the user's cache folder, one file for
every model, machine and set of channels that may go.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx

from spa.coupling.couple import Cut
from spa.coupling.groups import Groups
from spa.errors import OutputError, SettingError
from spa.graph.example import free_sizes, is_batch, redrawn
from spa.graph.execute import Array
from spa.graph.forks import close_forks
from spa.graph.model import Model
from spa.graph.write import write_json
from spa.latency.machine import Machine
from spa.latency.table import Sample, Table
from spa.latency.timing import layer_times, layers_of
from spa.progress import Progress
from spa.pruning.surgery import cut_model
from spa.selection.costs import CostModel, Mask
from spa.selection.order import Order

FOLDER = "SPA_LATENCY"
# Version of the file, so that an older one is measured anew.
VERSION = 1
# Plans that are drawn beside the dense model, and timed runs of each.
SAMPLES = 24
RUNS = 9
# What drawn widths are multiples of, where a group has so many: those that vector units like and
# those that they do not.
GRIDS = (16, 8, 1)


def feeds_of(model: Model, machine: Machine) -> dict[str, Array]:
    """The example inputs, at the machine's batch.

    Raises:
        SettingError: the model's batch is fixed at another size.
    """
    feeds = dict(model.example)
    if machine.batch is None or machine.batch == model.batch_size:
        return feeds
    shapes = {name: list(value.shape) for name, value in feeds.items()}
    batches = [axes for axes in free_sizes(model.declared) if is_batch(axes)]
    if not batches:
        raise SettingError(
            f"Latency at batch {machine.batch} cannot be measured: the model's inputs have no free "
            f"batch axis; it runs at {model.batch_size} alone."
        )
    for axes in batches:
        for name, axis in axes:
            shapes[name][axis] = machine.batch
    return redrawn(feeds, shapes)


def cut_to(model: Model, groups: Groups, removed: Mask) -> onnx.ModelProto:
    """The model without some components."""
    gone = np.asarray(removed[groups.coupling.components.of])
    return close_forks(cut_model(model, Cut(groups.coupling, gone)), model.forks)


def table_of(
    model: Model,
    groups: Groups,
    order: Order,
    costs: CostModel,
    machine: Machine,
    *,
    seed: int = 0,
) -> Table:
    """The table of a model on this machine; one that was measured before is read."""
    path = _path(model, groups, order, machine)
    known = _read(path, costs)
    if known is not None:
        return Table(costs, known)
    feeds, layers = feeds_of(model, machine), layers_of(model)
    rng = np.random.default_rng(seed)
    plans = [[0] * len(order.widths), *_drawn(order, rng)]
    samples: list[Sample] = []
    with Progress("Timing layers over widths", total=len(plans)) as progress:
        for counts in plans:
            removed = order.remove(counts)
            times = layer_times(cut_to(model, groups, removed), feeds, layers, machine, runs=RUNS)
            samples.append(Sample(costs.node_sizes(removed), times))
            progress.advance()
    _write(path, samples)
    return Table(costs, samples)


def _drawn(order: Order, rng: np.random.Generator) -> list[list[int]]:
    """Plans in which every group has every part of its range once (a Latin hypercube)."""
    plans = [[0] * len(order.widths) for _ in range(SAMPLES)]
    for number, width in enumerate(order.widths):
        feasible = order.feasible(number)
        strata = (rng.permutation(SAMPLES) + rng.random(SAMPLES)) / SAMPLES
        for k, share in enumerate(strata):
            grid = GRIDS[k % len(GRIDS)]
            liked = [n for n in feasible if (width - n) % grid == 0] or feasible
            wanted = share * feasible[-1]
            plans[k][number] = min(liked, key=lambda n: abs(n - wanted))
    return plans


def _path(model: Model, groups: Groups, order: Order, machine: Machine) -> Path:
    chosen = os.environ.get(FOLDER)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "spa" / "latency"
    folder = (Path(chosen) if chosen else cache).expanduser()
    facts = [
        VERSION, model.sha256, machine.key(), groups.coupling.components.kept.size,
        [order.feasible(i)[-1] for i in range(len(order.widths))],
        {name: list(value.shape) for name, value in model.example.items()},
    ]  # fmt: skip
    name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
    return folder / f"{name}.json"


def _read(path: Path, costs: CostModel) -> list[Sample] | None:
    """Samples of a file; none where there is no such file, or it is damaged."""
    shape = (len(costs.nodes), -1)
    try:
        document = json.loads(path.read_text())
        return [
            Sample(
                np.array(each["sizes"], dtype=float).reshape(shape),
                {int(layer): float(ms) for layer, ms in each["times"].items()},
            )
            for each in document["samples"]
        ] or None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _write(path: Path, samples: Sequence[Sample]) -> None:
    """Keeps samples; where that cannot be, they are measured again another time."""
    document: Mapping[str, object] = {
        "version": VERSION,
        "samples": [
            {
                "sizes": sample.sizes.ravel().tolist(),
                "times": {str(layer): ms for layer, ms in sample.times.items()},
            }
            for sample in samples
        ],
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, document)
    except (OSError, OutputError):
        return
