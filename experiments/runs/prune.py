"""The pruning of a run: the method is called, and what it made is measured from the files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

import spa
from experiments.ground import files
from experiments.methods import METHODS
from experiments.results.schema import Width
from experiments.runs.job import Source, job
from spa.errors import SettingError


def prune(
    source: Path,
    given: Source,
    *,
    dense: Path | None = None,
    target: spa.Target | None = None,
    to: str = "",
) -> dict[str, Any]:
    """Prune a file by the run's method; returns the record's part about it.

    Args:
        source: the file.
        given: what the method may see.
        dense: what the result is measured against; None: the file itself.
        target: what to reach from the file on; None: what the run is asked for.
        to: what the names of written files begin with.

    Raises:
        SettingError: what the method made is no smaller network of the same inputs and outputs.
    """
    settings, folder, progress = given.settings, given.folder, given.trainer.progress
    progress.step(f"pruning by {settings.criterion or settings.method}")
    started = time.monotonic()
    outcome = METHODS.get(settings.method)(job(source, given, target), settings.how)
    trained = sum(row["seconds"] for row in given.rows)
    took = time.monotonic() - started - trained if outcome.seconds is None else outcome.seconds
    plan_input = {"file": source.name, "sha256": files.sha256(source)}
    if outcome.reconstructed is not None:
        plan_input["weights"] = f"{to}reconstructed.onnx"
        folder.write_model(plan_input["weights"], outcome.reconstructed)
    folder.write_model(f"{to}pruned.onnx", outcome.model)
    if outcome.plan is not None:
        folder.write_json(f"{to}plan.json", outcome.plan.to_json())
    coupled = {} if outcome.plan is None else outcome.plan.coupled
    measured = measure(dense or source, folder.path / f"{to}pruned.onnx", **coupled)
    reached = measured["reached"]
    progress.step(f"reached RF {reached['rf']:.2f}, RP {reached['rp']:.2f}")
    return {
        **measured,
        "prune_seconds": max(took, 0.0),
        "plan_input": plan_input,
        "proof": [str(check) for check in outcome.proof.checks] if outcome.proof else [],
        "details": dict(outcome.details),
        "notes": list(outcome.notes),
        "epochs": len(given.rows),
        "trained_seconds": trained,
        "rows": given.rows,
        "seen": given.seen,
        "seconds": time.monotonic() - started,
    }


def measure(dense: Path, pruned: Path, **coupled: Any) -> dict[str, Any]:
    """Measure what a pruning reached, and what each network costs, from their files alone.

    Args:
        dense: the file that was pruned.
        pruned: the smaller one.
        **coupled: how the dense one was coupled, as `spa.find_groups` takes it.

    Raises:
        SettingError: the two are not networks of the same inputs and outputs.
    """
    before, after = spa.load(dense), spa.load(pruned)
    if _interface(before) != _interface(after):
        raise SettingError(
            f"{pruned.name} is no smaller {dense.name}: its inputs and outputs are "
            f"{_interface(after)}, not {_interface(before)}"
        )
    old, new = spa.measure_cost(before), spa.measure_cost(after)
    return {
        "reached": {"rf": old.macs / new.macs, "rp": old.params / new.params},
        "params": {"dense": int(old.params), "pruned": int(new.params)},
        "macs": {"dense": int(old.macs), "pruned": int(new.macs)},
        "widths": widths(before, after, **coupled),
    }


def widths(dense: spa.Model, pruned: spa.Model, **coupled: Any) -> list[Width]:
    """Return how many channels every group of coupled channels had and has.

    That is read off a parameter with an axis that is the group's alone. A group none of whose
    parameters the pruned file has, as a method renamed them, is left out.
    """
    found: list[Width] = []
    for group in spa.find_groups(dense, **coupled):
        widest = (_width(member, dense, pruned) for member in group.members)
        left = next((width for width in widest if width is not None), None)
        if left is not None:
            name = group.members[0].name
            found.append({"name": name, "dense": group.channels, "pruned": left})
    return found


def _width(member: spa.Member, dense: spa.Model, pruned: spa.Model) -> int | None:
    """Channels that are left along an axis; None where it holds other channels too."""
    axis, each = member.axis.axis, member.indices.shape[1]
    old, new = dense.shapes[member.name], pruned.shapes.get(member.name, ())
    alone = len(np.unique(member.indices)) == old[axis]
    return new[axis] // each if alone and len(old) == len(new) else None


def _interface(model: spa.Model) -> list[str]:
    return [*model.graph.inputs, *model.graph.outputs]
