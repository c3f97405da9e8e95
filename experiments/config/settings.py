"""A run's settings: what Hydra composed, checked, typed, and hashed.

The run id is a hash of what a run *is*: the semantic settings. Where its files go, what it runs
on, who watches it and its seed are not part of that, and neither is a setting that the run does
not use (a criterion or an aggregation for OBSPA, a calibration for anything else).
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from experiments.training.budget import Budget
from spa.errors import SettingError

# Raised by one when the meaning of an unchanged configuration changes, so that old runs are not
# taken for new ones.
VERSION = 1

CALIBRATIONS = ("bn", "noise", "uniform", "id", "ood")
TIMES = ("prune_train", "train_prune_finetune", "train_prune")
# Settings of a dataset that say how it is read, or what else is at hand, not what it is.
_NOT_THE_DATA = ("download", "verify", "ood")


@dataclass(frozen=True)
class Settings:
    """One run, without its seed's effects: what conf/config.yaml says, checked."""

    experiment: str
    model: str
    framework: str
    dataset: dict[str, Any]
    method: str
    options: dict[str, Any]
    criterion: str | None
    time: str
    trainer: str
    train: Budget
    finetune: Budget
    logger: dict[str, Any]
    seed: int
    asked: dict[str, float]
    scope: str
    aggregate: str | None
    normalize: str | None
    round_to: int
    min_channels: int
    max_ratio: float | None
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    gradient_samples: int
    calibration: str | None
    calibration_samples: int
    bn_refresh: bool | str
    latency: dict[str, int]
    force: bool
    device: str
    threads: int | None
    workers: int
    checkpoint_seconds: float
    results: Path
    data_root: str | None

    def semantic(self) -> dict[str, Any]:
        """Return what the run is, in plain JSON values: the hash's input."""
        dataset = {key: value for key, value in self.dataset.items() if key not in _NOT_THE_DATA}
        what: dict[str, Any] = {
            "version": VERSION,
            "model": _identity(self.model),
            "framework": self.framework,
            "dataset": dataset,
            "method": self.method,
            "time": self.time,
            "trainer": {
                "name": self.trainer,
                "train": _plain(self.train),
                "finetune": _plain(self.finetune),
            },
            "target": self.asked,
            "scope": self.scope,
            "aggregate": self.aggregate,
            "normalize": self.normalize,
            "round_to": self.round_to,
            "min_channels": self.min_channels,
            "max_ratio": self.max_ratio,
            "include": list(self.include),
            "exclude": list(self.exclude),
            "latency": self.latency,
        }
        if self.options:
            what["options"] = self.options
        if self.criterion is not None:
            what |= {"criterion": self.criterion, "gradient_samples": self.gradient_samples}
        if self.calibration is not None:
            what |= {
                "calibration": self.calibration,
                "calibration_samples": self.calibration_samples,
                "bn_refresh": self.bn_refresh,
            }
        if self.calibration == "ood":
            what["ood"] = self.dataset.get("ood", "photos")
        return what

    @property
    def comes_trained(self) -> bool:
        """Whether the model is a file that is dense as it is: trained before it came here."""
        return self.model.startswith("onnx/") and self.time != "prune_train"

    @property
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
        | {"train": what["trainer"]["train"], "seed": settings.seed}
        | {"as_it_is": settings.comes_trained}
    )


def parse(cfg: DictConfig) -> Settings:
    """Check what Hydra composed.

    Raises:
        SettingError: a value has no meaning; the message names it.
    """
    from experiments.methods import METHODS  # the methods take Settings themselves

    method = str(cfg.method.name)
    needs = METHODS.get(method).needs
    time = _choice("time", cfg.time.name, TIMES)
    if time == "prune_train" and "trained" in needs:
        raise SettingError(
            f"method={method} works on a trained model, so time=prune_train has no meaning for it; "
            "use time=train_prune or time=train_prune_finetune"
        )
    calibration = _choice("calibration", cfg.calibration, CALIBRATIONS)
    trainer = OmegaConf.to_container(cfg.trainer, resolve=True)
    assert isinstance(trainer, dict)
    return Settings(
        experiment=str(cfg.experiment_name),
        model=str(cfg.model.name),
        framework=_framework(str(cfg.framework.name), str(cfg.model.name)),
        dataset=_mapping(cfg.dataset),
        method=method,
        options={
            key: value
            for key, value in _mapping(cfg.method).items()
            if key != "name" and value is not None
        },
        criterion=str(cfg.criterion.name) if "criterion" in needs else None,
        time=time,
        trainer=str(cfg.trainer.name),
        train=_budget("trainer.train", trainer.get("train")),
        finetune=_budget("trainer.finetune", trainer.get("finetune")),
        logger=_mapping(cfg.logger),
        seed=_whole("seed", cfg.seed, None),
        asked=_asked(cfg.target),
        scope=_choice("scope", cfg.scope, ("global", "local")),
        aggregate=_name_or_none(cfg.aggregate),
        normalize=_name_or_none(cfg.normalize),
        round_to=_whole("round_to", cfg.round_to, 1),
        min_channels=_whole("min_channels", cfg.min_channels, 1),
        max_ratio=None if cfg.max_ratio is None else _number("max_ratio", cfg.max_ratio),
        include=_globs("include", cfg.include),
        exclude=_globs("exclude", cfg.exclude),
        gradient_samples=_whole("gradient_samples", cfg.gradient_samples, 1),
        calibration=calibration if "calibration" in needs else None,
        calibration_samples=_whole("calibration_samples", cfg.calibration_samples, 2),
        bn_refresh="relative"
        if cfg.bn_refresh == "relative"
        else _flag("bn_refresh", cfg.bn_refresh),
        latency={
            key: _whole(f"latency.{key}", cfg.latency[key], 1)
            for key in ("batch", "threads", "warmup", "repeats")
        },
        force=_flag("force", cfg.force),
        device=_choice("device", cfg.device, ("auto", "cpu", "cuda")),
        threads=None
        if trainer.get("threads") is None
        else _whole("trainer.threads", trainer["threads"], 1),
        workers=_whole("workers", cfg.workers, 1),
        checkpoint_seconds=_number("checkpoint_seconds", cfg.checkpoint_seconds),
        results=Path(str(cfg.results_dir)),
        data_root=_name_or_none(cfg.data_root),
    )


def _framework(name: str, model: str) -> str:
    """Checks that a framework exists and has the model; PyTorch takes any, files among them."""
    from experiments.models import FOLDERS, builder

    if _choice("framework", name, ("pytorch", *FOLDERS)) != "pytorch":
        builder(name, model)
    return name


def _asked(target: DictConfig) -> dict[str, float]:
    given = {key: target[key] for key in ("rf", "rp", "ratio") if target[key] is not None}
    if len(given) > 1:
        names = " and ".join(f"target.{key}" for key in given)
        raise SettingError(f"one target at a time, but {names} are given; set the others to null")
    asked = {key: _number(f"target.{key}", value) for key, value in given.items()} or {"rf": 2.0}
    ((key, value),) = asked.items()
    if key == "ratio" and not 0 <= value < 1:
        raise SettingError(f"target.ratio is the removed share, in [0, 1), but is {value}")
    if key != "ratio" and value < 1:
        raise SettingError(f"target.{key} is dense divided by pruned, at least 1, but is {value}")
    return asked


def _budget(key: str, values: Any) -> Budget:
    known = {field.name: field for field in fields(Budget)}
    if not isinstance(values, dict) or "epochs" not in values or "batch" not in values:
        raise SettingError(f"{key} needs at least epochs and batch, but is {values}")
    stray = sorted(set(values) - set(known))
    if stray:
        raise SettingError(f"{key} has no setting {stray[0]}; it has {', '.join(known)}")
    clean: dict[str, Any] = dict(values)
    for name in ("epochs", "batch", "warmup"):
        if name in clean:
            clean[name] = _whole(f"{key}.{name}", clean[name], 1 if name == "batch" else 0)
    for name in ("lr", "momentum", "weight_decay", "gamma", "label_smoothing"):
        if name in clean:
            clean[name] = _number(f"{key}.{name}", clean[name])
    if clean.get("clip") is not None:
        clean["clip"] = _number(f"{key}.clip", clean["clip"])
    clean["milestones"] = tuple(clean.get("milestones") or ())
    _choice(f"{key}.optimizer", clean.get("optimizer", "sgd"), ("sgd", "adamw"))
    _choice(f"{key}.schedule", clean.get("schedule", "cosine"), ("cosine", "multistep", "constant"))
    return Budget(**clean)


def _identity(model: str) -> str:
    """Name a model by what it is: a file by its content, not by where it lies."""
    if not model.startswith("onnx/"):
        return model
    path = Path(model.removeprefix("onnx/"))
    if not path.is_file():
        raise SettingError(f"model={model}: there is no file {path}")
    return f"onnx/sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def _plain(budget: Budget) -> dict[str, Any]:
    values = {field.name: getattr(budget, field.name) for field in fields(budget)}
    return values | {"milestones": list(budget.milestones)}


def _mapping(cfg: DictConfig) -> dict[str, Any]:
    values = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def _choice(key: str, value: Any, known: tuple[str, ...]) -> str:
    from experiments.ground.registry import unknown

    if value not in known:
        raise unknown(key, str(value), known)
    return str(value)


def _number(key: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise SettingError(f"{key} is a finite number, but is {value!r}")
    return number


def _whole(key: str, value: Any, least: int | None) -> int:
    number = _number(key, value)
    if number != int(number) or (least is not None and number < least):
        at_least = "" if least is None else f", at least {least}"
        raise SettingError(f"{key} is a whole number{at_least}, but is {value!r}")
    return int(value)


def _flag(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise SettingError(f"{key} is true or false, but is {value!r}")
    return value


def _name_or_none(value: Any) -> str | None:
    return None if value is None else str(value)


def _globs(key: str, value: Any) -> tuple[str, ...]:
    if value is None or isinstance(value, str):
        return () if value is None else (value,)
    return tuple(str(glob) for glob in value)
