"""A sweep that is a union of rectangles.

Hydra's own sweeper runs every combination of its lists. An experiment rarely wants that: OBSPA
takes no criterion, and pruning before training has no use for calibration data. So an experiment
file may list several blocks:

    hydra:
      mode: MULTIRUN
      sweeper:
        params: {model: "resnet8,vgg_small", seed: "0,1,2"}   # in every block
        grid:
          - {time: prune_train, criterion: "l1,snip"}
          - {time: train_prune, method: obspa}

With ``tasks``, a list of blocks too, every block is run with each of these. Every block is expanded
with the shared lists, and the union is run once, in that order. What is
given on the command line replaces the lists of the same name. Runs that are done are not launched.
The command ends with code 1 when any run failed or is waiting; the others have been run.
"""

import itertools
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobStatus

from spa.errors import SpaError

TOTAL = "SPA_SWEEP_RUNS"
PLUGINS = Path(__file__).resolve().parents[2]


@dataclass
class GridSweeperConf:
    """What ``hydra.sweeper`` takes."""

    _target_: str = "hydra_plugins.spa_harness.grid_sweeper.GridSweeper"
    max_batch_size: int | None = None
    params: Any = None  # lists in every block, or where they stand: ${sizes.${trainer.name}}
    grid: Any = None  # blocks, or where they stand: ${trainer.tasks}
    tasks: Any = None  # blocks, with each of which those are run


ConfigStore.instance().store(
    group="hydra/sweeper", name="grid", node=GridSweeperConf, provider="spa_harness"
)


def expand(
    blocks: Sequence[dict[str, Any]],
    params: dict[str, Any],
    arguments: Sequence[str],
    parser: OverridesParser,
    tasks: Sequence[dict[str, Any]] | None = None,
) -> list[list[str]]:
    """List the overrides of every run, each once, tasks and then blocks in order."""
    given = {override.get_key_element() for override in parser.parse_overrides(list(arguments))}
    runs: dict[tuple[str, ...], list[str]] = {}
    for task, block in itertools.product(tasks or [{}], blocks or [{}]):
        lists = {**params, **task, **block}
        texts = [f"{key}={value}" for key, value in lists.items() if key not in given]
        overrides = parser.parse_overrides([*texts, *arguments])
        for run in BasicSweeper.split_arguments(overrides, None)[0]:
            runs.setdefault(tuple(sorted(run)), run)
    return list(runs.values())


class GridSweeper(BasicSweeper):
    """Runs the union of the blocks, and says in the end how many failed."""

    def __init__(
        self,
        max_batch_size: int | None,
        params: dict[str, str] | None = None,
        grid: list[dict[str, Any]] | None = None,
        tasks: list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(max_batch_size=max_batch_size, params=params)
        self.grid = [dict(block) for block in grid or []]
        self.tasks = [dict(task) for task in tasks or []]

    def sweep(self, arguments: list[str]) -> Any:
        """Launch every run that is not done; exit with code 1 when one failed or waits."""
        runs = expand(self.grid, dict(self.params), arguments, self.parser(), self.tasks)
        if self.config.estimate:
            self.foretell(runs)
            return
        planned, lost = self.launched(runs)
        self.end(planned, lost, len(runs))

    def parser(self) -> OverridesParser:
        """What reads overrides."""
        assert self.hydra_context is not None
        return OverridesParser.create(config_loader=self.hydra_context.config_loader)

    def foretell(self, runs: list[list[str]]) -> None:
        """Say what some runs would take, as ``--estimate`` asks; none is launched."""
        from experiments.sweeps import estimate, sweep

        assert self.hydra_context is not None
        planned = sweep.plan(self.hydra_context.config_loader, self.config, runs)
        print(estimate.of([run.settings for run in planned], probing=True).text)
        if len(planned) < len(runs):
            raise SystemExit(1)

    def launched(self, runs: list[list[str]]) -> tuple[list[Any], int]:
        """Launch those of some runs that are not done.

        Returns:
            those whose settings have a meaning; and how many jobs were lost: of these nobody
            knows what came of them.
        """
        # Late: Hydra loads every plugin for every command.
        from experiments.sweeps import estimate, sweep
        from experiments.training.rendezvous import meeting

        assert self.hydra_context is not None
        try:
            planned = sweep.plan(self.hydra_context.config_loader, self.config, runs)
            to_do = [run.overrides for run in sweep.missing(planned)]
            if meeting() is not None:  # all processes must go through the same runs
                to_do = [run.overrides for run in planned]
        except SpaError as error:
            sweep.say(f"error: {error}")
            raise SystemExit(error.exit_code) from None
        if len(planned) > len(to_do):
            sweep.say(f"{len(planned) - len(to_do)} of {len(planned)} runs are done already")
        if to_do:
            foretold = estimate.of([run.settings for run in planned])
            sweep.say(foretold.text)
            # A cluster's launcher knows how long its jobs may take.
            getattr(self.launcher, "expect", lambda seconds: None)(foretold.longest)
        return planned, self._launch(planned, to_do) if to_do else 0

    def end(self, planned: list[Any], lost: int, total: int) -> None:
        """Say how a sweep's runs stand; exit with code 1 where some did not end well."""
        from experiments.sweeps import sweep
        from experiments.sweeps.survey import counts

        states = sweep.states(planned)
        sweep.say(counts(states))
        missing = sweep.missed(states, total - len(planned), lost, total)
        if missing and getattr(self.launcher, "launches", True):
            print(f"error: {missing}", file=sys.stderr)
            raise SystemExit(1)

    def _launch(self, planned: Any, runs: list[list[str]]) -> int:
        """Launch runs; returns how many were lost: of these nobody knows what came of them."""
        from experiments.sweeps import sweep

        assert self.launcher is not None
        size = self.max_batch_size or len(runs)
        returned: list[Any] = []
        lost = 0
        os.environ[TOTAL] = str(len(runs))  # so that a run can say "3 of 18", in any process
        # Jobs are unpickled before anything of ours is imported.
        ours = [str(PLUGINS), str(PLUGINS.parents[2])]
        path = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join([*ours, path] if path else ours)
        try:
            with sweep.watched(planned, runs):
                for start in range(0, len(runs), size):
                    batch = runs[start : start + size]
                    returned += self.launcher.launch(batch, initial_job_idx=start)
        except SpaError as error:
            lost = 1
            sweep.say(f"error: {error}")
        except Exception as error:  # a job that was killed could not say why
            lost = 1
            sweep.say(f"error: a job ended without a word: {type(error).__name__}: {error}")
            sweep.say("see `python -m experiments.status`; jobs that are queued go on")
        finally:
            del os.environ[TOTAL]
        return lost + sum(job.status != JobStatus.COMPLETED for job in returned)
