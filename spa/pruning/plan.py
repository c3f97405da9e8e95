"""The plan: which indices of which parameter axes go. Plain JSON; the format is fixed.

Anyone can check a result with it and a few lines of NumPy: zero the named slices in the input file
(or in the dense-shaped file whose hash is ``weights``, where weights were also changed), run both,
compare.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spa.coupling.couple import Coupling, Cut
from spa.coupling.groups import Groups
from spa.coupling.labels import LabelledAxis
from spa.errors import PlanError
from spa.graph.nodes import Use
from spa.graph.placing import settle
from spa.showing import as_html, shown

SCHEMA = 1
MAX_PLAN_BYTES = 2**28

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Removal:
    """Indices that go along one axis of one parameter.

    Attributes:
        name: initializer, Constant output or filled tensor, by its name in the input file; where
            branches or functions share a name, all but one get a number behind it.
        axis: the axis.
        size: its size before.
        removed: sorted indices.
        uses: the reads that this holds for, as (node index, input position); empty for all. Nodes
            count as SPA has them, with functions inlined and Ifs opened.
    """

    name: str
    axis: int
    size: int
    removed: tuple[int, ...]
    uses: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class PlannedGroup:
    """A group, as the plan remembers it; ``removed`` numbers its channels."""

    id: int
    channels: int
    removed: tuple[int, ...]
    exact: bool
    members: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Plan:
    """What goes; see the module's text.

    Attributes:
        model: sha256 of the input file.
        criterion: name of what scored it.
        target: what was asked, such as ``{"rf": 2.0}``.
        reached: RF and RP.
        parameters: every parameter slice that goes.
        groups: every group, pruned or not.
        settings: scope, rounding, caps, aggregation and normalisation.
        weights: sha256 of the dense-shaped file that holds changed weights; None if unchanged.
        notes: sentences for the user (what could not be reached, and why).
        module: of a torch module that was made smaller, what `spa.modules.rebuild` needs beside the
            parameters; None otherwise.
    """

    model: str
    criterion: str
    target: Mapping[str, float]
    reached: Mapping[str, float]
    parameters: tuple[Removal, ...]
    groups: tuple[PlannedGroup, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    weights: str | None = None
    notes: tuple[str, ...] = ()
    module: Mapping[str, Any] | None = None

    def __repr__(self) -> str:
        removed = sum(len(group.removed) for group in self.groups)
        channels = sum(group.channels for group in self.groups)
        asked, got = (
            ", ".join(f"{name} {value:.4g}" for name, value in values.items())
            for values in (self.target, self.reached)
        )
        return shown(
            f"Plan(by {self.criterion}: asked {asked}, reached {got}; {removed:,} of {channels:,} "
            f"channels in {len(self.groups)} groups; notes: {len(self.notes)})"
        )

    def _repr_html_(self) -> str:
        rows = [("group", "channels", "removed", "exact", "the first parameter")]
        for group in self.groups:
            exact = "yes" if group.exact else "no"
            first = group.members[0][0] if group.members else ""
            counts = f"{group.channels:,}", f"{len(group.removed):,}"
            rows.append((str(group.id), *counts, exact, first))
        return as_html(repr(self), rows)

    @property
    def exact(self) -> bool:
        """Whether every group that loses channels is exact."""
        return all(group.exact for group in self.groups if group.removed)

    @property
    def coupled(self) -> dict[str, Any]:
        """How the model was coupled, as `spa.find_groups` takes it."""
        return {
            "attention": str(self.settings.get("attention", "heads")),
            "even_parts": self.settings.get("even_parts") is True,
        }

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON-ready values."""
        document: dict[str, Any] = {
            "schema": SCHEMA,
            "model": self.model,
            "criterion": self.criterion,
            "target": dict(self.target),
            "reached": dict(self.reached),
            "parameters": [],
            "groups": [],
            "settings": dict(self.settings),
        }
        for removal in self.parameters:
            entry: dict[str, Any] = {
                "name": removal.name,
                "axis": removal.axis,
                "size": removal.size,
                "removed": list(removal.removed),
            }
            if removal.uses:
                entry["uses"] = [{"node": node, "input": i} for node, i in removal.uses]
            document["parameters"].append(entry)
        for group in self.groups:
            entry = dataclasses.asdict(group)
            entry["removed"] = list(group.removed)
            entry["members"] = [list(member) for member in group.members]
            document["groups"].append(entry)
        if self.weights is not None:
            document["weights"] = self.weights
        if self.notes:
            document["notes"] = list(self.notes)
        if self.module is not None:
            document["module"] = dict(self.module)
        return document

    @staticmethod
    def from_json(document: Any) -> Plan:
        """Reads a plan back.

        Raises:
            PlanError: it is no plan, or of another schema.
        """
        if not isinstance(document, dict) or "parameters" not in document:
            raise PlanError('This is no plan: it has no "parameters".')
        if document.get("schema") != SCHEMA:
            raise PlanError(f"The plan has schema {document.get('schema')!r}; {SCHEMA} is read.")
        try:
            return Plan(
                model=str(document["model"]),
                criterion=str(document["criterion"]),
                target={str(k): float(v) for k, v in document["target"].items()},
                reached={str(k): float(v) for k, v in document["reached"].items()},
                parameters=tuple(_removal(entry) for entry in document["parameters"]),
                groups=tuple(
                    PlannedGroup(
                        id=int(entry["id"]),
                        channels=int(entry["channels"]),
                        removed=tuple(int(i) for i in entry["removed"]),
                        exact=bool(entry["exact"]),
                        members=tuple((str(n), int(a)) for n, a in entry["members"]),
                    )
                    for entry in document["groups"]
                ),
                settings=dict(document.get("settings", {})),
                weights=document.get("weights"),
                notes=tuple(document.get("notes", ())),
                module=document.get("module"),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise PlanError(f"The plan is damaged: {type(error).__name__} at {error}.") from error

    @staticmethod
    def load(path: str | Path) -> Plan:
        """Reads a plan file.

        Raises:
            PlanError: it cannot be read, or is no plan.
        """
        settle(path)
        try:
            place = Path(path)
            if place.exists() and not place.is_file():
                raise PlanError(f"{path} is a folder, device or pipe; a plan is a file.")
            if place.stat().st_size > MAX_PLAN_BYTES:
                raise PlanError(f"{path} exceeds {MAX_PLAN_BYTES} bytes; this is no plan.")
            document = json.loads(place.read_text(encoding="utf-8"))
        except OSError as error:
            raise PlanError(f"{path} cannot be read: {error.strerror}.") from error
        # ValueError: text that is no JSON or no UTF-8, and integers of thousands of digits.
        except (ValueError, RecursionError) as error:
            raise PlanError(f"{path} is not JSON: {str(error)[:200]}") from error
        return Plan.from_json(document)


def _removal(entry: Mapping[str, Any]) -> Removal:
    return Removal(
        name=str(entry["name"]),
        axis=int(entry["axis"]),
        size=int(entry["size"]),
        removed=tuple(sorted(int(i) for i in entry["removed"])),
        uses=tuple((int(use["node"]), int(use["input"])) for use in entry.get("uses", ())),
    )


def build_plan(
    groups: Groups,
    removed: Mask,
    *,
    criterion: str,
    target: Mapping[str, float],
    reached: Mapping[str, float],
    settings: Mapping[str, Any],
    notes: tuple[str, ...] = (),
) -> Plan:
    """Writes down a selection of components as a plan.

    Args:
        groups: the model's groups.
        removed: whether a component goes, shape (components,).
        criterion: name of what scored it.
        target: what was asked.
        reached: RF and RP.
        settings: how the selection was made.
        notes: sentences for the user.
    """
    coupling = groups.coupling
    even = {"even_parts": True} if coupling.even_parts else {}
    return Plan(
        model=coupling.model.sha256,
        criterion=criterion,
        target={k: v for k, v in target.items() if not math.isnan(v)},
        reached=reached,
        parameters=_removals(coupling, removed[coupling.components.of]),
        groups=tuple(
            PlannedGroup(
                id=group.id,
                channels=group.channels,
                removed=tuple(np.flatnonzero(removed[group.components]).tolist()),
                exact=group.exact,
                members=tuple(dict.fromkeys((m.name, m.axis.axis) for m in group.members)),
            )
            for group in groups.groups
        ),
        settings={**settings, "attention": coupling.attention, **even},
        notes=notes,
    )


def _removals(coupling: Coupling, gone: Mask) -> tuple[Removal, ...]:
    """gone: (labels,). Reads with labels of their own are merged where they lose the same."""
    by_axis: dict[tuple[str, int], list[tuple[LabelledAxis, tuple[int, ...]]]] = {}
    for axis in coupling.axes:
        if axis.is_parameter:
            indices = tuple(np.flatnonzero(gone[axis.start : axis.start + axis.size]).tolist())
            by_axis.setdefault((axis.tensor, axis.axis), []).append((axis, indices))
    result = []
    for (name, axis_number), entries in by_axis.items():
        size = entries[0][0].size
        by_indices: dict[tuple[int, ...], list[Use]] = {}
        for axis, indices in entries:
            by_indices.setdefault(indices, []).extend(axis.uses)
        for indices, uses in by_indices.items():
            if indices:
                alone = len(by_indices) == 1
                listed = () if alone else tuple((use.node, use.position) for use in uses)
                result.append(Removal(name, axis_number, size, indices, listed))
    return tuple(result)


def cut_of(plan: Plan, coupling: Coupling) -> Cut:
    """Turns a plan back into labels, and checks that it tears nothing apart.

    Raises:
        PlanError: the plan is of another model, or leaves part of a set of coupled channels.
    """
    if coupling.model.sha256 not in (plan.model, plan.weights):
        raise PlanError(
            f"The plan was made for a model with sha256 {plan.model[:12]}..., but this one has "
            f"{coupling.model.sha256[:12]}...; apply it to the file that it was made for."
        )
    gone = np.zeros(coupling.components.of.size, dtype=bool)
    by_axis: dict[tuple[str, int], list[LabelledAxis]] = {}
    for axis in coupling.axes:
        if axis.is_parameter:
            by_axis.setdefault((axis.tensor, axis.axis), []).append(axis)
    for removal in plan.parameters:
        entries = by_axis.get((removal.name, removal.axis))
        if entries is None or entries[0].size != removal.size:
            raise PlanError(
                f"The plan removes indices of axis {removal.axis} (size {removal.size}) of "
                f'"{removal.name}", which this model does not have.'
            )
        if removal.removed and not 0 <= removal.removed[0] <= removal.removed[-1] < removal.size:
            raise PlanError(
                f'The plan removes indices outside 0..{removal.size - 1} of "{removal.name}".'
            )
        wanted = set(removal.uses)
        for axis in entries:
            if not wanted or wanted.intersection((u.node, u.position) for u in axis.uses):
                gone[axis.start + np.array(removal.removed, dtype=np.int64)] = True
    return _closed(coupling, gone)


def _closed(coupling: Coupling, gone: Mask) -> Cut:
    of = coupling.components.of
    component_goes = np.zeros(coupling.components.kept.size, dtype=bool)
    component_goes[of[gone]] = True
    torn = np.flatnonzero(component_goes[of] & coupling.is_parameter & ~gone)
    if torn.size:
        axis = coupling.axes[int(coupling.axis_of_label[torn[0]])]
        raise PlanError(
            f"The plan tears coupled channels apart: index {int(torn[0]) - axis.start} of axis "
            f'{axis.axis} of "{axis.tensor}" must go too. Remove whole sets (see: spa inspect).'
        )
    stays = np.flatnonzero(component_goes & coupling.components.kept)
    if stays.size:
        label = int(np.flatnonzero((of == stays[0]) & gone)[0])
        axis = coupling.axes[int(coupling.axis_of_label[label])]
        raise PlanError(
            f'The plan removes index {label - axis.start} of axis {axis.axis} of "{axis.tensor}", '
            "which is kept dense (see: spa inspect)."
        )
    for axis in coupling.axes:
        if axis.is_parameter and gone[axis.start : axis.start + axis.size].all():
            raise PlanError(
                f'The plan removes all {axis.size} indices of axis {axis.axis} of "{axis.tensor}"; '
                "nothing may empty a layer."
            )
    return Cut(coupling, component_goes[of])
