"""What the page's script reads: every run's configuration and plan, as JSON.

Names, lists of indices and configurations repeat between runs, so each is there once and the rest
say its number: 200 plans of a DenseNet would be 140 MB as they lie in their folders.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from experiments.report.content import Run
from spa.pruning.plan import Plan, PlannedGroup
from spa.report.ranges import ranges


class Embedded:
    """Gathers texts and structures, and gives what the script reads."""

    def __init__(self) -> None:
        self._texts: dict[str, int] = {}
        self._structures: dict[tuple[Any, ...], int] = {}

    def of(self, runs: Iterable[Run]) -> dict[str, Any]:
        """Write down the runs; a run is found by its place.

        Returns:
            ``texts``, which numbers elsewhere stand for; ``structures``, lists of groups (number,
            channels, whether exact, members as texts and axes); ``runs``: ``config`` (text or
            null), ``structure`` (null: no plan), ``groups`` (for each how many channels went, and
            which), ``parameters`` (name, axis, size, how many went, which, for which reads).
        """
        made = [
            {
                "config": None if run.config is None else self._text(run.config),
                **(self._plan(run.plan) if run.plan else {"structure": None}),
            }
            for run in runs
        ]
        structures = [[list(group) for group in groups] for groups in self._structures]
        return {"texts": list(self._texts), "structures": structures, "runs": made}

    def _plan(self, plan: Plan) -> dict[str, Any]:
        groups = tuple(self._group(group) for group in plan.groups)
        return {
            "structure": self._structures.setdefault(groups, len(self._structures)),
            "groups": [[len(g.removed), self._text(ranges(g.removed))] for g in plan.groups],
            "parameters": [
                [
                    *(self._text(p.name), p.axis, p.size),
                    *(len(p.removed), self._text(ranges(p.removed))),
                    self._text(", ".join(f"node {node} input {i}" for node, i in p.uses)),
                ]
                for p in plan.parameters
            ],
            "notes": [self._text(note) for note in plan.notes],
        }

    def _group(self, group: PlannedGroup) -> tuple[Any, ...]:
        members = tuple((self._text(name), axis) for name, axis in group.members)
        return group.id, group.channels, group.exact, members

    def _text(self, text: str) -> int:
        return self._texts.setdefault(text, len(self._texts))
