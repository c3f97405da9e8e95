"""A run's settings, typed and hashed; `experiments.config.parsing` makes them.

The run id is a hash of what a run *is*: the union of what the chosen things declare. Where its
files go, what it runs on, who watches it and its seed are not part of that, and neither is a
setting that the run does not use: a criterion for OBSPA, a calibration for anything else, the
budget of a training that the run does not have.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from experiments.data import DATASETS
from experiments.data.base import Held
from experiments.ground import parts
from experiments.methods import Calibration, Scoring, criteria, plain
from experiments.times import TIMES, Once, Rounds, Time
from experiments.training.budget import Budget
from spa import Limits

# Raised by one when the meaning of an unchanged configuration changes, so that old runs are not
# taken for new ones. 2: the id holds what a run uses, and no more.
VERSION = 2


@dataclass(frozen=True)
class Latency:
    """How latency is measured."""

    batch: Annotated[int, Field(ge=1)]
    threads: Annotated[int, Field(ge=1)]
    warmup: Annotated[int, Field(ge=1)]
    repeats: Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class Place:
    """On what a run runs, where its files go, what a search reads of it: nothing that it is."""

    force: bool
    device: Literal["auto", "cpu", "cuda"]
    workers: Annotated[int, Field(ge=1)]
    checkpoint_seconds: Annotated[float, Field(allow_inf_nan=False)]
    results_dir: Path
    data_root: Path | None
    optimized_metric: str | None = None
    threads: Annotated[int, Field(ge=1)] | None = None
    estimate: bool = False


@dataclass(frozen=True)
class Settings:
    """One run, without its seed's effects: what conf/config.yaml says, checked.

    Attributes:
        model_is: what the model is: its name, or its file's content.
        dataset: the name and the options of the data set.
        how: the method's own settings.
        pace: the time's own settings.
        split: what networks are measured on.
        limits: of methods that need them; None elsewhere, as for ``scoring`` and ``calibrating``.
    """

    experiment: str
    model: str
    model_is: str
    framework: str
    dataset: dict[str, Any]
    method: str
    how: Any
    time: str
    pace: Once | Rounds
    trainer: str
    train: Budget
    finetune: Budget
    logger: dict[str, Any]
    seed: int
    split: Held
    asked: dict[str, float]
    limits: Limits | None
    scoring: Scoring | None
    calibrating: Calibration | None
    latency: dict[str, int]
    place: Place

    def semantic(self) -> dict[str, Any]:
        """Return what the run is, in plain JSON values: the hash's input."""
        what: dict[str, Any] = {
            "version": VERSION,
            "model": self.model_is,
            "framework": self.framework,
            "dataset": DATASETS.get(self.dataset["name"]).identity(self.dataset),
            "method": self.method,
            "time": self.time,
            "target": self.asked,
            "latency": self.latency,
            "trainer": {part: self.budget(part).plain() for part in self.trainings},
        }
        if self.split != "test":  # earlier runs keep their ids
            what["split"] = self.split
        if options := plain(self.how):
            what["options"] = options
        if options := plain(self.pace):
            what["time_options"] = options
        if self.limits is not None:
            globs = {key: list(getattr(self.limits, key)) for key in ("include", "exclude")}
            what |= asdict(self.limits) | globs
            for later in ("floors", "caps", "ratios", "protect_first", "protect_last"):
                if not what[later]:  # earlier runs keep their ids
                    del what[later]
        if (scoring := self.scoring) is not None:
            what |= {key: getattr(scoring, key) for key in ("criterion", "aggregate", "normalize")}
            if options := plain(scoring.options):
                what["criterion_options"] = options
            if criteria.sees_data(scoring.criterion):
                what["gradient_samples"] = scoring.gradient_samples
                if scoring.criterion_data != "train":
                    what["criterion_data"] = scoring.criterion_data
        if self.calibrating is not None:
            what |= asdict(self.calibrating)
            if self.calibration == "ood":
                what["ood"] = self.dataset["ood"]
        if own := parts.behind(self._chosen):
            what["parts"] = own
        return what

    @property
    def _chosen(self) -> dict[str, str | None]:
        """By kind, the names of what was chosen that may be a user's own."""
        scope = None if self.limits is None else self.limits.scope
        names = {"model": self.model, "dataset": self.dataset["name"], "method": self.method}
        return {**names, "criterion": self.criterion, "scope": scope}

    @property
    def when(self) -> Time:
        """The time."""
        return TIMES[self.time]

    @property
    def criterion(self) -> str | None:
        """Name of the criterion; None: the method takes none."""
        return None if self.scoring is None else self.scoring.criterion

    @property
    def calibration(self) -> str | None:
        """Kind of the calibration; None: the method takes none."""
        return None if self.calibrating is None else self.calibrating.calibration

    @property
    def trainings(self) -> tuple[Literal["train", "finetune"], ...]:
        """Parts of the trainer's budget that the run uses."""
        dense: tuple[Literal["train", "finetune"], ...] = () if self.comes_trained else ("train",)
        then = self.when.then
        return dense if then is None or then in dense else (*dense, then)

    def budget(self, part: Literal["train", "finetune"]) -> Budget:
        """Return a part of the trainer's budget."""
        return self.train if part == "train" else self.finetune

    @property
    def comes_trained(self) -> bool:
        """Whether the model is a file that is dense as it is: trained before it came here."""
        return self.model.startswith("onnx/") and not self.when.fresh

    @cached_property
    def run_id(self) -> str:
        """Ten hexadecimal digits of the semantic settings' hash."""
        return digest(self.semantic())


def digest(what: dict[str, Any]) -> str:
    """Hash plain JSON values to ten hexadecimal digits, whatever the order of the keys."""
    text = json.dumps(what, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def dense_key(settings: Settings) -> str:
    """Hash what a dense baseline depends on; all methods, criteria and targets share it."""
    what = settings.semantic()
    return digest(
        {key: what[key] for key in ("version", "model", "framework", "dataset")}
        | {"train": what["trainer"].get("train"), "seed": settings.seed}
    )
