"""Pruning in as many rounds as the run's time has: one, or several with trainings between them.

    dense.onnx          -> round_1_pruned.onnx (round_1_plan.json) -> trained: round_1.onnx
    round_1.onnx        -> round_2_pruned.onnx ...
    round_<n - 1>.onnx  -> pruned.onnx (plan.json)

Every round is scored anew, on the same data, and asked for what its part of the target still
lacks: what is measured of the file before counts. Limits hold in each round for the file that it
prunes; of the shares that groups lose by themselves, each round takes its part. Each pruning and
each training is a stage of its own, so that an interrupted run goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from experiments.runs.job import Source
from experiments.runs.prune import prune
from experiments.runs.tune import tune
from spa import Limits, Target
from spa.errors import SettingError


def in_rounds(source: Path, given: Source) -> dict[str, Any]:
    """Prune a file to the run's target; returns the record's part about it."""
    settings, folder = given.settings, given.folder
    target, pace = Target(**settings.asked), settings.pace
    before: list[dict[str, Any]] = []
    trained: list[dict[str, Any]] = []
    file = source
    for step in range(1, pace.steps + 1):
        last = step == pace.steps
        to = "" if last else f"round_{step}_"
        wanted = target.part(step, pace.steps)
        if before:
            wanted = remaining(wanted, before[-1])
        # What a method sees and trains is told apart by rounds.
        own = replace(settings, limits=in_round(settings.limits, step, pace.steps))
        mine = replace(given, rows=[], seen=[], settings=own)
        before.append(
            folder.stage(
                "prune" if last else f"round_{step}_prune",
                file,
                partial(prune, file, mine, dense=source, target=wanted, to=to),
                makes=(f"{to}pruned.onnx", f"{to}plan.json", f"{to}reconstructed.onnx"),
            )
        )
        if not last:
            smaller, file = folder.path / f"{to}pruned.onnx", folder.path / f"round_{step}.onnx"
            budget, stream = replace(settings.finetune, epochs=pace.epochs), f"round {step}"
            trained.append(
                folder.stage(
                    f"round_{step}_train",
                    smaller,
                    partial(tune, smaller, given, budget, stream=stream, to=file.name),
                    makes=(file.name,),
                )
            )
    return _joined(before, trained, len(given.data.train))


def in_round(limits: Limits | None, step: int, steps: int) -> Limits | None:
    """What limits are in one of several rounds: groups' own shares, of what is left of them."""
    if limits is None or not limits.ratios:
        return limits
    whole, before = (limits.part(k, steps).ratios for k in (step, step - 1))
    return replace(limits, ratios={g: 1 - (1 - whole[g]) / (1 - before[g]) for g in whole})


def remaining(goal: Target, measured: Mapping[str, Any]) -> Target:
    """What a goal of the dense network is for one that has been pruned already.

    Args:
        goal: of the dense network.
        measured: what `prune` says of the pruned one.

    Raises:
        SettingError: its quantity cannot be measured from files.
    """
    ((keyword, asked),) = goal.as_dict().items()
    reached = measured["reached"] | {"ratio": _removed_share(measured["widths"])}
    if keyword not in reached:
        raise SettingError(
            f"time=iterative needs a target that is measured of files ({', '.join(reached)}), but "
            f"{keyword} is asked for; use another time"
        )
    have = reached[keyword]
    if goal.of.kind == "share":
        return Target(**{keyword: max(0.0, 1 - (1 - asked) / (1 - have))})
    return Target(**{keyword: max(1.0, asked / have)})


def _removed_share(widths: list[dict[str, Any]]) -> float:
    dense = sum(width["dense"] for width in widths)
    return 1 - sum(width["pruned"] for width in widths) / dense if dense else 0.0


def _joined(
    rounds: list[dict[str, Any]], trained: list[dict[str, Any]], samples: int
) -> dict[str, Any]:
    """The last round's part of the record, with what the rounds before it took and saw."""
    *earlier, last = rounds
    if not earlier:
        return last
    training = {"kind": "training", "source": "train", "samples": samples}
    seen = [each for one in earlier for each in (*one["seen"], training)]
    kept = ("reached", "plan_input", "proof")
    details = {"rounds": [{key: one[key] for key in kept} for one in earlier]}
    sums = {
        "prune_seconds": sum(one["prune_seconds"] for one in rounds),
        "epochs": sum(one["epochs"] for one in (*rounds, *trained)),
        "trained_seconds": sum(
            (*(one["trained_seconds"] for one in rounds), *(one["seconds"] for one in trained))
        ),
        "seconds": sum(one["seconds"] for one in (*rounds, *trained)),
    }
    return last | sums | {"seen": seen + last["seen"], "details": last["details"] | details}
