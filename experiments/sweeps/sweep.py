"""A sweep before and while it runs: which runs are missing, and how the others stand."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from experiments.config.parsing import parse
from experiments.config.settings import Settings
from experiments.results import objective
from experiments.results.records import read_result
from experiments.runs.folder import RunFolder
from experiments.sweeps import manifest
from experiments.sweeps.manifest import Entry
from experiments.sweeps.survey import RunState, counts, in_words, survey
from spa.errors import SpaError

# Seconds between two looks at the runs, and the longest silence.
LOOK, SILENCE = 5.0, 60.0


@dataclass(frozen=True)
class Planned:
    """One run of a sweep.

    Attributes:
        overrides: what makes it this run.
        settings: the same, checked.
    """

    overrides: list[str]
    settings: Settings

    @property
    def entry(self) -> Entry:
        """Its line in the manifest."""
        it = self.settings
        about = {"model": it.model, "method": it.method, "criterion": it.criterion}
        return Entry(*self.key, tuple(self.overrides), {**about, "asked": it.asked})

    @property
    def key(self) -> tuple[str, int]:
        """What tells it from the other runs of its experiment."""
        return self.settings.run_id, self.settings.seed


def plan(loader: Any, master: DictConfig, runs: Sequence[list[str]]) -> list[Planned]:
    """Compose and check every run; those with wrong settings are said and left out.

    Args:
        loader: Hydra's.
        master: the configuration that the sweep was launched with.
        runs: overrides of every run.
    """
    planned = []
    for i, overrides in enumerate(runs):
        try:
            settings = parse(_composed(loader, master, overrides))
            objective.check(settings.place.optimized_metric)
            planned.append(Planned(overrides, settings))
        except (SpaError, HydraException, OmegaConfBaseException) as error:
            say(f"error: {' '.join(overrides)}: {' '.join(str(error).split())}")
        if len(runs) > 200 and (i + 1) % 100 == 0:
            say(f"composed {i + 1} of {len(runs)} runs")
    return planned


def missing(planned: Sequence[Planned]) -> list[Planned]:
    """Write the manifests, and return the runs that are not done yet."""
    for (results, experiment), entries in entries_by_place(planned).items():
        manifest.add(results, experiment, entries)
    return [
        run for run in planned if run.settings.place.force or not RunFolder(run.settings).done()
    ]


def value(run: Planned | None) -> float:
    """What a search makes of a run: a number of its result; NaN where it has none."""
    if run is None or not RunFolder(run.settings).done():
        return objective.NOTHING
    try:
        result = read_result(RunFolder(run.settings).path / "result.json")
        return objective.objective(result, run.settings.place.optimized_metric)
    except SpaError as error:
        say(f"error: {error}")
        return objective.NOTHING


def entries_by_place(planned: Sequence[Planned]) -> dict[tuple[Path, str], list[Entry]]:
    """Sort runs by their results folder and experiment, each of which has a manifest."""
    found: dict[tuple[Path, str], list[Entry]] = {}
    for run in planned:
        place = run.settings.place.results_dir, run.settings.experiment
        found.setdefault(place, []).append(run.entry)
    return found


@contextmanager
def watched(planned: Sequence[Planned], launched: Sequence[list[str]]) -> Iterator[None]:
    """Say on stderr how the runs stand while the body launches them.

    Args:
        planned: all runs of the sweep.
        launched: overrides of those that are to be run.
    """
    over = threading.Event()
    thread = threading.Thread(target=_watch, args=(planned, launched, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def say(text: str) -> None:
    """Write a line of the sweep's own."""
    print(f"[sweep] {text}", file=sys.stderr, flush=True)


def missed(states: Sequence[RunState], wrong: int, lost: int, total: int) -> str:
    """What a sweep that was launched did not do, in words; "" where all is done.

    A run that another launch is at is left to it.

    Args:
        states: of its runs, after it.
        wrong: runs whose settings have no meaning.
        lost: jobs of which nobody knows what came of them.
        total: how many runs it has.
    """
    number = Counter(state.state for state in states)
    failed = wrong + number["failed"] + number["torn"]
    parts = []
    if failed:
        parts.append(f"{failed} of {total} runs failed")
    for state, words in (("interrupted", "were interrupted"), ("waiting", "did not begin")):
        if number[state]:
            parts.append(f"{number[state]} of {total} runs {words}")
    if lost and not parts:  # runs of before, which were to be made again
        parts.append(f"{lost} jobs ended without a word")
    return ", ".join(parts)


def states(planned: Sequence[Planned]) -> list[RunState]:
    """How a sweep's runs stand."""
    wanted = {(run.settings.run_id, run.settings.seed) for run in planned}
    places = dict.fromkeys(
        (run.settings.place.results_dir, run.settings.experiment) for run in planned
    )
    found = (state for place in places for state in survey(*place, check=False))
    return [state for state in found if (state.run_id, state.seed) in wanted]


def _watch(
    planned: Sequence[Planned], launched: Sequence[list[str]], over: threading.Event
) -> None:
    began, last, said = time.monotonic(), "", time.monotonic()
    to_do = {run.key for run in planned if run.overrides in launched}
    before = {state.key: state.updated for state in states(planned)}
    while not over.wait(LOOK):
        found = states(planned)
        now = counts(found)
        if now == last and time.monotonic() - said < SILENCE:
            continue
        ended = sum(_ended_since(state, before) for state in found if state.key in to_do)
        say(f"{now}{_time_left(time.monotonic() - began, ended, len(to_do) - ended)}")
        last, said = now, time.monotonic()


def _ended_since(state: RunState, before: Mapping[tuple[str, int], str]) -> bool:
    """Whether a run ended in this launch: what was done, or failed, before it takes no time."""
    return state.state in ("done", "failed") and state.updated != before.get(state.key)


def _time_left(seconds: float, ended: int, left: int) -> str:
    if not ended or not left:
        return ""
    return f"; {in_words(seconds / ended * left)} left"


def _composed(loader: Any, master: DictConfig, overrides: list[str]) -> DictConfig:
    cfg = loader.load_sweep_config(master, overrides)
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(cfg)  # what the experiment is called is asked from there
    try:
        with open_dict(cfg):
            cfg.experiment_name = cfg.experiment_name
            del cfg["hydra"]
    finally:
        HydraConfig.instance().cfg = before
    return cfg
