"""What Hydra composed, checked and made settings of: the one place that reads the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, make_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.config.settings import Latency, Place, Settings
from experiments.data import DATASETS
from experiments.data.base import Held
from experiments.ground import files, parts, paths
from experiments.ground.checked import checked
from experiments.ground.registry import unknown
from experiments.methods import METHODS, Calibration, Method, Need, Scoring, criteria, plain
from experiments.models import FOLDERS, builder
from experiments.times import TIMES
from experiments.training.budget import Budget
from spa import Limits
from spa.errors import SettingError
from spa.importance.options import read
from spa.selection import quantity

# Parts of the configuration: those that are chosen by a name, and the others.
GROUPS = ("model", "framework", "dataset", "method", "criterion", "time", "trainer", "logger")
SECTIONS = ("target", "latency")


def parse(cfg: DictConfig) -> Settings:
    """Check what Hydra composed.

    Raises:
        SettingError: a value has no meaning, or a setting is nobody's; the message names it.
    """
    values = _mapping(cfg)
    own_parts(values.get("parts"))
    names = {group: values[group]["name"] for group in GROUPS}
    method, time = METHODS.get(names["method"]), names["time"]
    if time not in TIMES:
        raise unknown("time", time, TIMES)
    if TIMES[time].fresh and Need.TRAINED in method.needs:
        raise SettingError(
            f"method={method.name} works on a trained model, so time={time} has no meaning for it; "
            "use time=train_prune or time=train_prune_finetune"
        )
    if TIMES[time].draws and (
        names["framework"] != "pytorch" or names["model"].startswith("onnx/")
    ):
        raise SettingError(
            f"time={time} trains from fresh weights, which model={names['model']} "
            f"(framework={names['framework']}) cannot be given: only networks of "
            "framework=pytorch say how they begin; use one of these, or another time"
        )
    pace = checked(TIMES[time].settings, _options(values["time"]), f"time {time}")
    if pace.steps > 1 and Need.MODULE in method.needs:
        raise SettingError(
            f"method={method.name} prunes the torch module that the model was made as, which is no "
            f"more after the first of {pace.steps} rounds; use time=train_prune_finetune"
        )
    trainer = values["trainer"]
    # All is checked, also what is not used.
    place = checked(Place, _picked(values, Place) | {"threads": trainer.get("threads")})
    experiment = str(values.get("experiment_name"))
    paths.runs(place.results_dir, experiment)
    limits = checked(Limits, _picked(values, Limits) | _globs(values) | _by_glob(values))
    scoring = _scoring(values)
    calibrating = checked(Calibration, _picked(values, Calibration))
    one = checked(_Plain, _picked(values, _Plain))
    model, framework = names["model"], names["framework"]
    if framework not in ("pytorch", *FOLDERS):
        raise unknown("framework", framework, ("pytorch", *FOLDERS))
    train = _budget("trainer.train", trainer.get("train"))
    if train.distill:
        raise SettingError(
            f"trainer.train.distill is {train.distill}, but the dense network itself has none to "
            "learn from; use trainer.finetune.distill"
        )
    if framework != "pytorch":
        builder(framework, model)
        if train.ema:
            raise SettingError(
                f"trainer.train.ema is {train.ema}, but framework={framework} trains the dense "
                "network itself, and averages no weights; use framework=pytorch"
            )
    return Settings(
        experiment=experiment,
        model=model,
        model_is=_identity(model),
        framework=framework,
        dataset=DATASETS.get(names["dataset"]).checked(values["dataset"]),
        method=method.name,
        how=checked(method.settings, _options(values["method"]), f"method {method.name}"),
        time=time,
        pace=pace,
        trainer=names["trainer"],
        train=train,
        finetune=_budget("trainer.finetune", trainer.get("finetune")),
        logger=values["logger"],
        seed=one.seed,
        split=one.split,
        asked=_asked(values["target"], method),
        limits=limits if Need.LIMITS in method.needs else None,
        scoring=scoring if Need.CRITERION in method.needs else None,
        calibrating=calibrating if Need.CALIBRATION in method.needs else None,
        latency=asdict(checked(Latency, values["latency"], "latency")),
        place=place,
    )


def own_parts(given: Any) -> None:
    """Load a user's own parts.

    Raises:
        SettingError: they are not there, or cannot be loaded.
    """
    paths = [] if given is None else [given] if isinstance(given, str) else given
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise SettingError(f"parts is a list of files and folders, but is {given!r}")
    parts.ask(paths)
    parts.load()


@dataclass(frozen=True)
class _Plain:
    seed: int
    split: Held


def _scoring(values: Mapping[str, Any]) -> Scoring:
    name = str(values["criterion"]["name"])
    kind = criteria.settings_of(name)
    options: Any = checked(kind, _options(values["criterion"]), f"criterion {name}")
    given = _picked(values, Scoring) | {"criterion": name, "options": options}
    return checked(Scoring, given)


@cache  # as what checks a class is made once for it
def _targets(keywords: tuple[str, ...]) -> type[Any]:
    """A dataclass with a number, or none, for every quantity that is registered."""
    return make_dataclass("Target", [(name, float | None, None) for name in keywords], frozen=True)


def _asked(target: dict[str, Any], method: Method) -> dict[str, float]:
    quantities = {each.keyword: each for each in quantity.quantities().values()}
    found = checked(_targets(tuple(quantities)), target, "target")
    asked: dict[str, float] = plain(found) or {"rf": 2.0}
    if len(asked) > 1:
        names = " and ".join(f"target.{key}" for key in asked)
        raise SettingError(f"one target at a time, but {names} are given; set the others to null")
    ((key, value),) = asked.items()
    try:
        quantities[key].check(value)
    except SettingError as error:
        raise SettingError(f"target.{error}") from None
    if method.targets is not None and key not in method.targets:
        raise SettingError(
            f"method={method.name} can be asked for {', '.join(method.targets)}, but target.{key} "
            "is given; use one of these, or method=spa"
        )
    return asked


def _budget(key: str, values: Any) -> Budget:
    if not isinstance(values, dict):
        raise SettingError(f"{key} needs at least epochs and batch, but is {values}")
    made = checked(Budget, {k: v for k, v in values.items() if v is not None}, key)
    try:
        made.rates()
    except SettingError as error:
        raise SettingError(f"{key}: {error}") from None
    return made


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
        value = values.get(key)
        globs = [value] if isinstance(value, str) else [] if value is None else value
        if not isinstance(globs, list) or not all(isinstance(each, (str, int)) for each in globs):
            raise SettingError(f"{key} is a list of globs, such as [conv*], but is {value!r}")
        found[key] = tuple(map(str, globs))
    return found


def _by_glob(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Numbers by glob, as ``spa prune`` takes them: GLOB=NUMBER, one or a list; or a mapping."""
    found: dict[str, dict[str, Any]] = {}
    for key in ("ratios", "floors", "caps"):
        value = values.get(key)
        texts = [value] if isinstance(value, str) else [] if value is None else value
        if isinstance(texts, dict):
            found[key] = {str(glob): number for glob, number in texts.items()}
        elif isinstance(texts, list) and all(isinstance(each, str) for each in texts):
            found[key] = dict(read(texts, key))
        else:
            raise SettingError(
                f"{key} is a list of GLOB=NUMBER, such as ['conv*=0.5'], but is {value!r}"
            )
    return found


def _mapping(cfg: DictConfig) -> dict[str, Any]:
    """The configuration as plain values, of which each group is one, with a name.

    Raises:
        SettingError: something that it refers to is not there, or a group is none.
    """
    try:
        values: Any = OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as error:
        raise SettingError(" ".join(str(error).split())) from error
    for key in (*GROUPS, *SECTIONS):
        if not isinstance(values.get(key), dict):
            raise SettingError(
                f"{key} has settings of its own, as conf/config.yaml says, but is "
                f"{values.get(key)!r}; say {key}.<setting>=<value>"
            )
    for group in GROUPS:
        if not isinstance(name := values[group].get("name"), str):
            raise SettingError(f"{group}.name is a text, but is {name!r}; say {group}=NAME")
    return {str(key): value for key, value in values.items()}
