"""What earlier runs took on this hardware, part by part, so that the next ones can be foretold.

Every finished run says how long its dense network trained, how long it pruned, fine-tuned and
measured, and what is left of its whole time. A run that is to come is taken to need what the runs
most like it needed (the median of them):

    a dense epoch       of the same model, framework, data set and batch
    pruning             and of the same method with its settings, criterion and time; else of the
                        same method and criterion; where the method trains, of the same alone
    a fine-tuned epoch  and of the same time and target; else of the same time
    measuring, the rest of the same model and data set
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.config.settings import Settings
from experiments.ground import files, provenance

Record = Mapping[str, Any]
# The newest records are looked at, no more than so many: there may be tens of thousands.
MOST = 500


@dataclass(frozen=True)
class Parts:
    """Seconds; None where nothing is known.

    Attributes:
        dense: an epoch of the dense network's training.
        prune: the pruning, with what the method trains.
        tuned: an epoch of the training that follows.
        rest: measuring, and all that is no stage.
        params: of the dense network; no seconds.
    """

    dense: float | None = None
    prune: float | None = None
    tuned: float | None = None
    rest: float | None = None
    params: float | None = None

    def known(self, settings: Settings) -> bool:
        """Whether all that a run needs is known."""
        trains = [self.dense] if settings.trainings[:1] == ("train",) else []
        tunes = [self.tuned] if settings.when.then is not None else []
        return None not in (*trains, *tunes, self.prune, self.rest)

    def filled(self, other: Parts) -> Parts:
        """The same, with another's where nothing is known."""
        mine, theirs = vars(self), vars(other)
        return Parts(**{key: theirs[key] if mine[key] is None else mine[key] for key in mine})


def records(results: Iterable[Path]) -> list[Record]:
    """The newest finished runs on this hardware below results folders, committed ones too."""
    found: dict[Path, float] = {}
    for folder in dict.fromkeys(results):
        for pattern in ("runs/*/*/seed_*/result.json", "records/*/*_seed_*.json"):
            found |= {path: _changed(path) for path in folder.glob(pattern)}
    newest = sorted(found, key=lambda path: -found[path])[:MOST]
    here = provenance.hardware()
    return [record for path in newest if (record := _read(path)).get("hardware") == here]


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _read(path: Path) -> Record:
    """A record; nothing for one that is damaged, which is said where results are read."""
    try:
        found = files.read_json(path)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def parts(settings: Settings, past: Iterable[Record]) -> Parts:
    """What is known of the parts of a run.

    Args:
        settings: the run's.
        past: of `records`.
    """
    what = settings.semantic()
    same = [record for record in past if _alike(record, what, ("model", "framework", "dataset"))]
    batch = settings.train.batch
    times = [r for r in same if r.get("time") == settings.time]
    closest = [r for r in times if r.get("asked") == settings.asked]
    ways = [r for r in same if _alike(r, what, ("method", "criterion"))]
    settled = ("time", "options", "time_options", "gradient_samples", "calibration",
               "criterion_options")  # fmt: skip
    exact = [r for r in ways if _alike(r, what, settled)]
    near = [r for r in exact if r.get("asked") == settings.asked]
    untrained = [r for r in ways if "prune" not in r.get("training", {})]
    return Parts(
        dense=_median(same, lambda r: _epoch(r, "dense", batch)),
        prune=_first(_median(each, lambda r: r["seconds"]["prune"])
                     for each in (near, exact, untrained)),
        tuned=_first(
            _median(each, lambda r: _epoch(r, "finetune", _tuned_batch(settings)))
            for each in (closest, times)
        ),
        rest=_median(same, _rest),
        params=_median(same, lambda r: r["params"]["dense"]),
    )  # fmt: skip


def _tuned_batch(settings: Settings) -> int:
    then = settings.when.then
    return settings.budget(then).batch if then is not None else 0


def _alike(record: Record, what: Mapping[str, Any], keys: tuple[str, ...]) -> bool:
    config = record.get("config", {})
    return all(config.get(key) == what.get(key) for key in keys)


def _epoch(record: Record, part: str, batch: int) -> float | None:
    """Seconds of an epoch of a part; None where it was trained otherwise."""
    trained = record["training"].get(part, {})
    budget = record["config"].get("trainer", {})
    name = "train" if part == "dense" or "finetune" not in budget else "finetune"
    had = record["training"].get("budget", {}).get(name, budget.get(name, {}))
    if not trained.get("epochs") or had.get("batch") != batch or trained.get("processes", 1) > 1:
        return None
    return float(trained["seconds"]) / trained["epochs"]


def _rest(record: Record) -> float:
    """What a run takes that is neither a training nor a pruning."""
    seconds = record["seconds"]
    return float(seconds["total"] - seconds["dense"] - seconds["prune"] - seconds["finetune"])


def _median(records: Iterable[Record], get: Callable[[Record], float | None]) -> float | None:
    values = []
    for record in records:
        try:
            value = get(record)
        except (KeyError, TypeError, ValueError, AttributeError):
            continue  # of an older schema
        if value is not None and value >= 0:
            values.append(float(value))
    return statistics.median(values) if values else None


def _first(values: Iterable[float | None]) -> float | None:
    return next((value for value in values if value is not None), None)
