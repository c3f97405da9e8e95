"""A search: the settings of the next runs are chosen by Optuna from what came of those before.

    python -m experiments.run -m sweeper=optuna 'max_ratio=interval(0.5,0.95)' round_to=1,4,8

What is given as ``interval(low,high)`` (``tag(log,interval(...))``, ``int(interval(...))``),
``range(start,stop)``, ``choice(a,b)`` or ``a,b`` is searched; all else is the same in every run.
The number that a run gives is `optimized_metric`.

Runs are planned, recorded and skipped as those of any other sweep. With the same seed the same
values lead to the same proposals, so a search that was interrupted goes on from the runs that are
done, and one with more trials from a shorter one.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra_plugins.spa_harness.grid_sweeper import GridSweeper

from spa.errors import MissingExtra, SettingError, SpaError


@dataclass
class OptunaSweeperConf:
    """What ``hydra.sweeper`` takes."""

    _target_: str = "hydra_plugins.spa_harness.optuna_sweeper.OptunaSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = None
    n_trials: int = 20
    n_jobs: int = 1  # runs that are proposed, and launched, together
    direction: str = "maximize"  # or minimize
    seed: int = 0  # of the proposals


ConfigStore.instance().store(
    group="hydra/sweeper", name="optuna", node=OptunaSweeperConf, provider="spa_harness"
)


class OptunaSweeper(GridSweeper):
    """Runs what Optuna's tree-structured Parzen estimator proposes."""

    def __init__(
        self,
        max_batch_size: int | None,
        params: dict[str, str] | None,
        n_trials: int,
        n_jobs: int,
        direction: str,
        seed: int,
    ) -> None:
        super().__init__(max_batch_size=max_batch_size, params=params)
        self.n_trials, self.n_jobs = n_trials, max(1, n_jobs)
        self.direction, self.seed = direction, seed

    def sweep(self, arguments: list[str]) -> Any:
        """Launch one batch of runs after the other; exit with code 1 when one failed or waits."""
        from experiments.sweeps import sweep

        if self.config.estimate:
            sweep.say("error: a search chooses its runs as it goes; estimate one of them, with "
                      "sweeper=grid hydra.mode=RUN, and take it n_trials times")  # fmt: skip
            raise SystemExit(1)
        try:
            fixed, searched = space(dict(self.params), arguments, self.parser())
            study = self._study()
        except SpaError as error:
            sweep.say(f"error: {error}")
            raise SystemExit(error.exit_code) from None
        every: list[Any] = []
        lost = 0
        for start in range(0, self.n_trials, self.n_jobs):
            trials = [study.ask(searched) for _ in range(min(self.n_jobs, self.n_trials - start))]
            runs = [[*fixed, *(f"{k}={v}" for k, v in trial.params.items())] for trial in trials]
            planned, more = self.launched(runs)
            lost += more
            every += planned
            for trial, run in zip(trials, runs, strict=True):
                value = sweep.value(next((p for p in planned if p.overrides == run), None))
                failed = math.isnan(value)
                study.tell(trial, None if failed else value, state=_state(failed))
            sweep.say(_best(study, min(start + self.n_jobs, self.n_trials), self.n_trials))
        self.end(every, lost, self.n_trials)

    def _study(self) -> Any:
        try:
            import optuna
        except ImportError as error:
            raise MissingExtra("optuna", "search", "sweeper=optuna") from error
        if self.direction not in ("maximize", "minimize"):
            raise SettingError(
                f"hydra.sweeper.direction is maximize or minimize, but is {self.direction}"
            )
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        sampler = optuna.samplers.TPESampler(seed=self.seed)
        return optuna.create_study(direction=self.direction, sampler=sampler)


def space(
    params: Mapping[str, Any], arguments: list[str], parser: OverridesParser
) -> tuple[list[str], dict[str, Any]]:
    """Part overrides into those of every run, and the distributions of what is searched, by key.

    Raises:
        SettingError: nothing is searched.
        MissingExtra: Optuna is not there.
    """
    given = parser.parse_overrides(list(arguments))
    keys = {override.get_key_element() for override in given}
    texts = [f"{key}={value}" for key, value in params.items() if key not in keys]
    every = [*parser.parse_overrides(texts), *given]
    fixed = [override.input_line or "" for override in every if not override.is_sweep_override()]
    searched = {
        override.get_key_element(): distribution(override)
        for override in every
        if override.is_sweep_override()
    }
    if not searched:
        raise SettingError(
            "sweeper=optuna has nothing to search; give a range, as in "
            "'max_ratio=interval(0.5,0.95)' or round_to=1,4,8"
        )
    return fixed, searched


def distribution(override: Override) -> Any:
    """What Optuna draws a setting from."""
    try:
        from optuna import distributions
    except ImportError as error:
        raise MissingExtra("optuna", "search", "sweeper=optuna") from error
    value = override.value()
    try:
        if isinstance(value, IntervalSweep):
            whole = isinstance(value.start, int) and isinstance(value.end, int)
            kind = distributions.IntDistribution if whole else distributions.FloatDistribution
            return kind(value.start, value.end, log="log" in value.tags)
        if isinstance(value, RangeSweep) and value.start is not None and value.stop is not None:
            whole = all(isinstance(x, int) for x in (value.start, value.stop, value.step))
            if whole:
                values = range(int(value.start), int(value.stop), int(value.step))
                return distributions.IntDistribution(values[0], values[-1], step=abs(values.step))
    except (ValueError, IndexError) as error:
        raise SettingError(f"{override.input_line}: {error}") from error
    return distributions.CategoricalDistribution(list(map(str, override.sweep_string_iterator())))


def _state(failed: bool) -> Any:
    from optuna.trial import TrialState

    return TrialState.FAIL if failed else TrialState.COMPLETE


def _best(study: Any, done: int, total: int) -> str:
    try:
        best = study.best_trial
    except ValueError:
        return f"{done} of {total} trials; none has ended well yet"
    settings = " ".join(f"{key}={value}" for key, value in best.params.items())
    return f"{done} of {total} trials; best {best.value:.6g} with {settings}"
