"""What a sweep will take, before it starts: runs, hours of one core or one GPU, disk.

By what earlier runs took on the same hardware (`experiments.sweeps.past`); with ``--estimate``,
what these do not tell is probed (`experiments.sweeps.probe`). A dense network counts once for all
runs that share it, and not where it is there already.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig

from experiments.config.parsing import parse
from experiments.config.settings import Settings, dense_key
from experiments.ground import paths
from experiments.runs.folder import RunFolder
from experiments.runs.scratch import lengthened
from experiments.sweeps import past
from experiments.sweeps.past import Parts
from experiments.sweeps.probe import Probes
from experiments.sweeps.survey import in_words
from experiments.training.rendezvous import meeting
from spa.errors import SpaError

BYTES = 4  # of a parameter
OTHERS = 200_000  # bytes of a run's other files


@dataclass(frozen=True)
class Estimate:
    """What runs will take.

    Attributes:
        runs: how many there are.
        done: those of them that are done.
        seconds: of the others together, of which something is known.
        longest: of one of them; None where nothing is known.
        disk: bytes that they leave.
        unknown: runs of which nothing is known.
        probed: whether something was probed.
        device: what it is the time of.
        problems: why something could not be probed.
    """

    runs: int
    done: int
    seconds: float
    longest: float | None
    disk: float
    unknown: int
    probed: bool
    device: str
    problems: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The same in one line; and one for each problem."""
        begin = f"{self.runs} run{'s' * (self.runs != 1)}, {self.done} of them done"
        left = self.runs - self.done
        if not left:
            return begin
        if self.unknown == left:
            return "\n".join([
                f"{begin}; nobody has timed any like the other {left} on this hardware: "
                "--estimate probes them", *self.problems,
            ])  # fmt: skip
        by = "earlier runs on this hardware" + (" and a probe" if self.probed else "")
        missing = f"; {self.unknown} runs nobody has timed are left out" if self.unknown else ""
        longest = f" (a run: up to {in_words(self.longest)})" if self.longest else ""
        line = (
            f"{begin}; the other {left} take {in_words(self.seconds)} "
            f"({self.seconds / 3600:.2f} h) of {self.device}{longest} and {self.disk / 1e6:.0f} MB "
            f"of disk, by {by}{missing}"
        )
        return "\n".join([line, *self.problems])


def of(settings: Sequence[Settings], *, probing: bool = False) -> Estimate:
    """Foretell what runs will take; what is done takes nothing.

    Args:
        settings: of each of them.
        probing: whether what is not known is probed.
    """
    to_do = [it for it in settings if it.place.force or not RunFolder(it).done()]
    # Hardware names its GPU once torch is there.
    device = _device(to_do[0]) if to_do else ""
    known = past.records(it.place.results_dir for it in to_do)
    found = _Found(known, probing)
    total = disk = 0.0
    longest: float | None = None
    unknown = 0
    trained: set[Any] = set()
    for it in to_do:
        parts = found.parts(it)
        if not parts.known(it):
            unknown += 1
            continue
        key = it.place.results_dir, dense_key(it)
        there = key in trained or (paths.dense(*key) / "done.json").is_file()
        trained.add(key)
        took = run_seconds(it, parts, dense=not there)
        total, longest = total + took, max(took, longest or 0.0)
        disk += run_bytes(it, parts, dense=not there)
    return Estimate(
        len(settings), len(settings) - len(to_do), total, longest, disk, unknown,
        found.probed, device, tuple(found.problems),
    )  # fmt: skip


def single(cfg: DictConfig) -> bool:
    """Say what one run will take; returns whether that is all that was asked for."""
    try:
        settings = parse(cfg)
    except SpaError:
        return False  # the launch says what is wrong
    asked = settings.place.estimate
    if (together := meeting()) is not None and together["RANK"] != "0":
        return asked  # the first process says it
    if not asked and RunFolder(settings).done():
        return False
    foretold = of([settings], probing=asked)
    print(
        foretold.text if asked else f"[run] {foretold.text}",
        file=sys.stdout if asked else sys.stderr,
        flush=True,
    )
    return asked


def run_seconds(settings: Settings, parts: Parts, *, dense: bool) -> float:
    """Seconds of a run, of whose parts all are known that it needs."""
    total = (parts.prune or 0.0) + (parts.rest or 0.0)
    if dense and settings.trainings[:1] == ("train",):
        total += (parts.dense or 0.0) * settings.train.epochs
    then = settings.when.then
    if then is not None:
        budget = lengthened(settings.budget(then), settings.pace, settings.asked.get("rf", 2.0))
        total += (parts.tuned or 0.0) * budget.epochs
    return total


def run_bytes(settings: Settings, parts: Parts, *, dense: bool) -> float:
    """Bytes that a run leaves: copies of the dense network, and smaller ones."""
    whole = BYTES * (parts.params or 0.0)
    smaller = whole / max(settings.asked.get("rf", settings.asked.get("rp", 2.0)), 1.0)
    copies = 1 + settings.when.fresh + 2 * dense
    tuned = settings.when.then is not None
    return whole * copies + smaller * (1 + tuned + settings.when.draws) + OTHERS


class _Found:
    """What is known of runs, with what is probed on the way: once for all that are alike."""

    def __init__(self, known: Iterable[past.Record], probing: bool) -> None:
        self._known = list(known)
        self._probes = Probes() if probing else None
        self.problems: list[str] = []

    @property
    def probed(self) -> bool:
        """Whether anything was probed."""
        return self._probes is not None and self._probes.any

    def parts(self, settings: Settings) -> Parts:
        """What is known of a run's parts."""
        parts = past.parts(settings, self._known)
        if parts.known(settings) or self._probes is None:
            return parts
        try:
            return parts.filled(self._probes.parts(settings))
        except SpaError as error:
            problem = f"{settings.model} on {settings.dataset['name']}: {error}"
            if problem not in self.problems:
                self.problems.append(problem)
            return parts


def _device(settings: Settings) -> str:
    import torch

    auto = settings.place.device == "auto" and torch.cuda.is_available()
    return "one GPU" if auto or settings.place.device == "cuda" else "one core"
