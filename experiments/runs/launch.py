"""One run from what Hydra composed: started, recorded however it ends, and left to others."""

from __future__ import annotations

import logging
import os
import traceback
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from experiments import loggers
from experiments.config.parsing import parse
from experiments.config.settings import Settings
from experiments.ground.progress import Progress
from experiments.results import objective
from experiments.results.records import read_result
from experiments.results.schema import by_stage
from experiments.runs import lease
from experiments.runs.folder import RunFolder
from experiments.tasks import TASKS
from experiments.training.interrupts import Interrupted, Interrupts
from experiments.training.rendezvous import meeting
from spa.errors import SpaError

if TYPE_CHECKING:
    from experiments.training.team import Processes


class Outcome(NamedTuple):
    """What came of a launch.

    Attributes:
        state: done, skipped, taken, interrupted, failed, or followed: another process led.
        value: the run's `optimized_metric`; NaN where it has none.
    """

    state: str
    value: float = objective.NOTHING


def launch(cfg: DictConfig, overrides: list[str], label: str) -> Outcome:
    """Run once, with everything recorded."""
    progress = Progress(label)
    _quiet()
    try:
        settings = parse(cfg)
        objective.check(settings.place.optimized_metric)
        if (companions := meeting()) is None:
            return _alone(settings, cfg, overrides, progress, None)
        from experiments.runs.following import follow
        from experiments.training.team import processes

        team = processes(companions)
        if not team.leads:
            try:
                with Interrupts().listening() as interrupts, interrupts.gently():
                    follow(settings, team)
            except Exception as error:  # a sweep must not go on with its next run
                traceback.print_exc()
                progress.say(f"error: out of step with the first process: {error}")
                raise SystemExit(1) from None
            return Outcome("followed")
        try:
            return _alone(settings, cfg, overrides, progress, team)
        finally:
            if not team.in_step:  # a sweep must not go on with its next run
                progress.say("error: out of step with the other processes, which are to end too")
                raise SystemExit(1)
            team.same(None)  # the others are done with this run
    except SpaError as error:  # wrong settings, or nowhere to write: there is nothing to record
        progress.say(f"error: {error}")
        return Outcome("failed")


def _alone(
    settings: Settings,
    cfg: DictConfig,
    overrides: list[str],
    progress: Progress,
    team: Processes | None,
) -> Outcome:
    """Do all that a run does, as no other process does at the same time."""
    folder = RunFolder(settings)
    try:
        with lease.hold(folder.path) as folder.lease:
            if folder.done() and not settings.place.force:
                where = f"({folder.path}); force=true re-runs"
                progress.say(f"{describe(settings)}: done already {where}")
                return Outcome("skipped", _value(folder, progress))
            if torn := folder.torn():
                progress.say(f"{torn}; it is run again")
            plain = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
            goes_on = folder.start({**plain, "semantic": settings.semantic()}, overrides)
            progress.say(f"{describe(settings)}{', going on' if goes_on else ''}")
            outcome = "interrupted"
            with Interrupts().listening() as interrupts, suppress(Interrupted):
                outcome = _recorded(settings, folder, progress, interrupts, team)
    except lease.Taken as error:
        progress.say(f"{describe(settings)}: {error.holder} is at it; left to it")
        return Outcome("taken")
    if interrupts.asked is not None:  # also where that changed nothing any more
        interrupts.hand_on()
    return Outcome(outcome, _value(folder, progress)) if outcome == "done" else Outcome(outcome)


def _value(folder: RunFolder, progress: Progress) -> float:
    """What a search makes of a finished run; to have no such number undoes nothing."""
    try:
        result = read_result(folder.path / "result.json")
        return objective.objective(result, folder.settings.place.optimized_metric)
    except SpaError as error:
        progress.say(f"error: {error}")
        return objective.NOTHING


def _recorded(
    settings: Settings,
    folder: RunFolder,
    progress: Progress,
    interrupts: Interrupts,
    team: Processes | None,
) -> str:
    from experiments.runs.execute import execute

    try:
        folder.logger = loggers.make(settings, folder.path)
        result = execute(settings, folder, progress, interrupts, team)
        folder.finish(result)
    except Interrupted:
        with interrupts.gently():  # whoever ends a run may say so twice
            folder.interrupt()
        return "interrupted"
    except KeyboardInterrupt:
        folder.interrupt()
        raise
    except Exception as error:  # whatever it is, it is recorded and the sweep goes on
        progress.say(f"error: {type(error).__name__ + ': ' if _foreign(error) else ''}{error}")
        folder.fail(error)
        progress.say(f"failed; the traceback is in {folder.path / 'status.json'}")
        return "failed"
    metric = TASKS.get(result["task"])().metrics[0]
    found = by_stage(result)
    shown = ", ".join(f"{stage} {metric.show(found[stage][metric.key])}" for stage in found)
    progress.say(f"RF {result['reached']['rf']:.2f}: {shown} ({folder.path})")
    return "done"


def describe(settings: Settings) -> str:
    """Name a run in a few words."""
    how = settings.criterion or f"{settings.method} {settings.calibration or ''}".strip()
    ((quantity, value),) = settings.asked.items()
    return (
        f"{settings.model} on {settings.dataset['name']}, {settings.time}, {how}, "
        f"{quantity} {value:g}, seed {settings.seed}"
    )


def label(hydra_config: Any) -> str:
    """Return what a run's lines begin with: its place in a sweep."""
    if hydra_config.mode == RunMode.RUN:
        return "[run]"
    number = hydra_config.job.get("num")
    total = os.environ.get("SPA_SWEEP_RUNS", "?")
    return f"[{'?' if number is None else number + 1}/{total}]"


def _foreign(error: Exception) -> bool:
    return not isinstance(error, SpaError)


def _quiet() -> None:
    """Keep what libraries say to developers off the user's screen."""
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
