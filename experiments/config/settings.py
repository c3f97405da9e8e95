"""A run's settings: what Hydra composed, checked, typed, and hashed.

The run id is a hash of what a run *is*: the union of what the chosen things declare. Where its
files go, what it runs on, who watches it and its seed are not part of that, and neither is a
setting that the run does not use: a criterion for OBSPA, a calibration for anything else, the
budget of a training that the run does not have.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from omegaconf import DictConfig, OmegaConf
from pydantic import Field

from experiments.data import DATASETS
from experiments.ground import files
from experiments.ground.checked import checked
from experiments.ground.registry import unknown
from experiments.methods import METHODS, Calibration, Need, Scoring, criteria, plain
from experiments.models import FOLDERS, builder
from experiments.times import TIMES, Time
from experiments.training.budget import Budget
from spa import Limits
from spa.errors import SettingError

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
    """On what a run runs, and where its files go: nothing that it is."""

    force: bool
    device: Literal["auto", "cpu", "cuda"]
    workers: Annotated[int, Field(ge=1)]
    checkpoint_seconds: Annotated[float, Field(allow_inf_nan=False)]
    results_dir: Path
    data_root: Path | None
    threads: Annotated[int, Field(ge=1)] | None = None


@dataclass(frozen=True)
class Settings:
    """One run, without its seed's effects: what conf/config.yaml says, checked.

    Attributes:
        model_is: what the model is: its name, or its file's content.
        dataset: the name and the options of the data set.
        how: the method's own settings.
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
    trainer: str
    train: Budget
    finetune: Budget
    logger: dict[str, Any]
    seed: int
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
        if options := plain(self.how):
            what["options"] = options
        if self.limits is not None:
            globs = {key: list(getattr(self.limits, key)) for key in ("include", "exclude")}
            what |= asdict(self.limits) | globs
        if (scoring := self.scoring) is not None:
            what |= {key: getattr(scoring, key) for key in ("criterion", "aggregate", "normalize")}
            if options := plain(scoring.options):
                what["criterion_options"] = options
            if criteria.sees_data(scoring.criterion):
                what["gradient_samples"] = scoring.gradient_samples
        if self.calibrating is not None:
            what |= asdict(self.calibrating)
            if self.calibration == "ood":
                what["ood"] = self.dataset["ood"]
        return what

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


def parse(cfg: DictConfig) -> Settings:
    """Check what Hydra composed.

    Raises:
        SettingError: a value has no meaning, or a setting is nobody's; the message names it.
    """
    values = _mapping(cfg)
    method, time = METHODS.get(str(cfg.method.name)), str(cfg.time.name)
    if time not in TIMES:
        raise unknown("time", time, TIMES)
    if TIMES[time].fresh and Need.TRAINED in method.needs:
        raise SettingError(
            f"method={method.name} works on a trained model, so time={time} has no meaning for it; "
            "use time=train_prune or time=train_prune_finetune"
        )
    # All is checked, also what is not used.
    limits = checked(Limits, _picked(values, Limits) | _globs(values))
    scoring = _scoring(values)
    calibrating = checked(Calibration, _picked(values, Calibration))
    trainer = values["trainer"]
    model, framework = str(cfg.model.name), str(cfg.framework.name)
    if framework not in ("pytorch", *FOLDERS):
        raise unknown("framework", framework, ("pytorch", *FOLDERS))
    if framework != "pytorch":
        builder(framework, model)
    return Settings(
        experiment=str(cfg.experiment_name),
        model=model,
        model_is=_identity(model),
        framework=framework,
        dataset=DATASETS.get(str(cfg.dataset.name)).checked(values["dataset"]),
        method=method.name,
        how=checked(method.settings, _options(values["method"]), f"method {method.name}"),
        time=time,
        trainer=str(cfg.trainer.name),
        train=_budget("trainer.train", trainer.get("train")),
        finetune=_budget("trainer.finetune", trainer.get("finetune")),
        logger=values["logger"],
        seed=checked(_Seed, {"seed": values["seed"]}).seed,
        asked=_asked(values["target"]),
        limits=limits if Need.LIMITS in method.needs else None,
        scoring=scoring if Need.CRITERION in method.needs else None,
        calibrating=calibrating if Need.CALIBRATION in method.needs else None,
        latency=asdict(checked(Latency, values["latency"], "latency")),
        place=checked(Place, _picked(values, Place) | {"threads": trainer.get("threads")}),
    )


@dataclass(frozen=True)
class _Seed:
    seed: int


@dataclass(frozen=True)
class _Target:
    rf: float | None = None
    rp: float | None = None
    ratio: float | None = None


def _scoring(values: Mapping[str, Any]) -> Scoring:
    name = str(values["criterion"]["name"])
    kind = criteria.settings_of(name)
    options: Any = checked(kind, _options(values["criterion"]), f"criterion {name}")
    given = _picked(values, Scoring) | {"criterion": name, "options": options}
    return checked(Scoring, given)


def _asked(target: dict[str, Any]) -> dict[str, float]:
    asked: dict[str, float] = plain(checked(_Target, target, "target")) or {"rf": 2.0}
    if len(asked) > 1:
        names = " and ".join(f"target.{key}" for key in asked)
        raise SettingError(f"one target at a time, but {names} are given; set the others to null")
    ((key, value),) = asked.items()
    if not math.isfinite(value):
        raise SettingError(f"target.{key} is a finite number, but is {value}")
    if key == "ratio" and not 0 <= value < 1:
        raise SettingError(f"target.ratio is the removed share, in [0, 1), but is {value}")
    if key != "ratio" and value < 1:
        raise SettingError(f"target.{key} is dense divided by pruned, at least 1, but is {value}")
    return asked


def _budget(key: str, values: Any) -> Budget:
    if not isinstance(values, dict):
        raise SettingError(f"{key} needs at least epochs and batch, but is {values}")
    return checked(Budget, {k: v for k, v in values.items() if v is not None}, key)


def _identity(model: str) -> str:
    """Name a model by what it is: a file by its content, not by where it lies."""
    if not model.startswith("onnx/"):
        return model
    path = Path(model.removeprefix("onnx/"))
    if not path.is_file():
        raise SettingError(f"model={model}: there is no file {path}")
    return f"onnx/sha256:{files.sha256(path)}"


def _picked(values: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """What a dataclass's fields are called at the top of the configuration."""
    return {field.name: values[field.name] for field in fields(kind) if field.name in values}


def _options(values: Mapping[str, Any]) -> dict[str, Any]:
    """What a group's file and the command line say beside the name; null: the default."""
    return {key: value for key, value in values.items() if key != "name" and value is not None}


def _globs(values: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Globs may be given as one, or as none."""
    found: dict[str, tuple[str, ...]] = {}
    for key in ("include", "exclude"):
        value = values[key]
        one = () if value is None else (value,)
        found[key] = one if value is None or isinstance(value, str) else tuple(map(str, value))
    return found


def _mapping(cfg: DictConfig) -> dict[str, Any]:
    values = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}
