"""Run one experiment setting, or with -m or an experiment file that is a sweep, many.

    python -m experiments.run model=resnet8 criterion=l1 target.rf=2
    python -m experiments.run -m model=resnet8,vgg_small criterion=l1,random seed=0,1,2
    python -m experiments.run experiment=demo

Every run has a folder results/runs/<experiment>/<run_id>/seed_<n>/. A run that is done is not run
again unless force=true; one that fails is recorded, does not stop the others, and makes the
command end with code 1.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from experiments import arguments, lease, loggers
from experiments.folder import RunFolder
from experiments.ground.progress import Progress
from experiments.settings import Settings, parse
from experiments.training.interrupts import Interrupted, Interrupts
from experiments.training.rendezvous import meeting
from spa.errors import SpaError

if TYPE_CHECKING:
    from experiments.training.team import Processes

CONF = Path(__file__).resolve().parent.parent / "conf"


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def task(cfg: DictConfig) -> str:
    """Run what Hydra composed; returns done, skipped or failed."""
    hydra_config = HydraConfig.get()
    outcome = launch(cfg, list(hydra_config.overrides.task), _label(hydra_config))
    if outcome == "failed" and hydra_config.mode == RunMode.RUN:
        raise SystemExit(1)
    return outcome


def launch(cfg: DictConfig, overrides: list[str], label: str) -> str:
    """Run once, with everything recorded; returns done, skipped, taken, interrupted or failed."""
    progress = Progress(label)
    _quiet()
    try:
        settings = parse(cfg)
        if (companions := meeting()) is None:
            return _alone(settings, cfg, overrides, progress, None)
        from experiments.training.team import follow, processes

        team = processes(companions)
        if not team.leads:
            try:
                with Interrupts().listening() as interrupts, interrupts.gently():
                    follow(settings, team)
            except Exception as error:  # a sweep must not go on with its next run
                traceback.print_exc()
                progress.say(f"error: out of step with the first process: {error}")
                raise SystemExit(1) from None
            return "followed"
        try:
            return _alone(settings, cfg, overrides, progress, team)
        finally:
            if not team.in_step:  # a sweep must not go on with its next run
                progress.say("error: out of step with the other processes, which are to end too")
                raise SystemExit(1)
            team.same(None)  # the others are done with this run
    except SpaError as error:  # wrong settings, or nowhere to write: there is nothing to record
        progress.say(f"error: {error}")
        return "failed"


def _alone(
    settings: Settings,
    cfg: DictConfig,
    overrides: list[str],
    progress: Progress,
    team: Processes | None,
) -> str:
    """Do all that a run does, as no other process does at the same time."""
    folder = RunFolder(settings)
    try:
        with lease.hold(folder.path) as folder.lease:
            if folder.done() and not settings.force:
                where = f"({folder.path}); force=true re-runs"
                progress.say(f"{describe(settings)}: done already {where}")
                return "skipped"
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
        return "taken"
    if interrupts.asked is not None:  # also where that changed nothing any more
        interrupts.hand_on()
    return outcome


def _recorded(
    settings: Settings,
    folder: RunFolder,
    progress: Progress,
    interrupts: Interrupts,
    team: Processes | None,
) -> str:
    from experiments.stages import execute

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
    acc = ", ".join(f"{k} {v:.1%}" for k, v in result["acc"].items() if v is not None)
    progress.say(f"RF {result['reached']['rf']:.2f}: {acc} ({folder.path})")
    return "done"


def describe(settings: Settings) -> str:
    """Name a run in a few words."""
    how = settings.criterion or f"{settings.method} {settings.calibration or ''}".strip()
    ((quantity, value),) = settings.asked.items()
    return (
        f"{settings.model} on {settings.dataset['name']}, {settings.time}, {how}, "
        f"{quantity} {value:g}, seed {settings.seed}"
    )


def _foreign(error: Exception) -> bool:
    return not isinstance(error, SpaError)


def _label(hydra_config: Any) -> str:
    if hydra_config.mode == RunMode.RUN:
        return "[run]"
    number = hydra_config.job.get("num")
    total = os.environ.get("SPA_SWEEP_RUNS", "?")
    return f"[{'?' if number is None else number + 1}/{total}]"


def _quiet() -> None:
    """Keep what libraries say to developers off the user's screen."""
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)


def main() -> None:
    """Check the names on the command line, then let Hydra run."""
    try:
        arguments.check(sys.argv[1:], CONF)
    except SpaError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    try:
        task()
    except KeyboardInterrupt:
        print("interrupted; launch again to go on", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
