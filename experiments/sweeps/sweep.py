"""A sweep before and while it runs: which runs are missing, and how the others stand."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict

from experiments.config.parsing import parse
from experiments.config.settings import Settings
from experiments.runs.folder import RunFolder
from experiments.sweeps import manifest
from experiments.sweeps.manifest import Entry
from experiments.sweeps.survey import RunState, counts, survey
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
        return Entry(self.settings.run_id, self.settings.seed, tuple(self.overrides))


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
            planned.append(Planned(overrides, parse(_composed(loader, master, overrides))))
        except SpaError as error:
            say(f"error: {' '.join(overrides)}: {error}")
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


def entries_by_place(planned: Sequence[Planned]) -> dict[tuple[Path, str], list[Entry]]:
    """Sort runs by their results folder and experiment, each of which has a manifest."""
    found: dict[tuple[Path, str], list[Entry]] = {}
    for run in planned:
        place = run.settings.place.results_dir, run.settings.experiment
        found.setdefault(place, []).append(run.entry)
    return found


@contextmanager
def watched(planned: Sequence[Planned]) -> Iterator[None]:
    """Say on stderr how the runs stand while the body launches them."""
    over = threading.Event()
    thread = threading.Thread(target=_watch, args=(planned, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def say(text: str) -> None:
    """Write a line of the sweep's own."""
    print(f"[sweep] {text}", file=sys.stderr, flush=True)


def standing(planned: Sequence[Planned]) -> str:
    """How many of a sweep's runs are in which state."""
    return counts(_states(planned))


def _states(planned: Sequence[Planned]) -> list[RunState]:
    wanted = {(run.settings.run_id, run.settings.seed) for run in planned}
    places = dict.fromkeys(
        (run.settings.place.results_dir, run.settings.experiment) for run in planned
    )
    found = (state for place in places for state in survey(*place, check=False))
    return [state for state in found if (state.run_id, state.seed) in wanted]


def _watch(planned: Sequence[Planned], over: threading.Event) -> None:
    began, last, said = time.monotonic(), "", time.monotonic()
    while not over.wait(LOOK):
        try:
            states = _states(planned)
        except SpaError:  # the folder is gone for now; the runs themselves will say so
            continue
        now = counts(states)
        if now == last and time.monotonic() - said < SILENCE:
            continue
        number = Counter(state.state for state in states)
        ended = number["done"] + number["failed"]
        left = _time_left(time.monotonic() - began, ended, len(states) - ended)
        say(f"{now}{left}")
        last, said = now, time.monotonic()


def _time_left(seconds: float, ended: int, left: int) -> str:
    if not ended or not left:
        return ""
    rest = seconds / ended * left
    return f"; about {rest / 60:.0f} min left" if rest > 90 else f"; about {rest:.0f} s left"


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
