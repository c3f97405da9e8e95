"""Numbers that a module keeps beside its layers (``num_heads``), and what they become.

The graph knows which sizes changed inside which module. An attribute that holds the old number of
such a size may mean it, or something else of the same value (8 heads of 8 features, 3 heads and a
shift of 3). What it means shows in what the module computes:

1. attributes of the same name in the same class mean the same, so they change together; where that
   does not do, each alone;
2. a forward that breaks wants a change where it breaks: of the module itself, of those around it,
   of any other, in this order, and few before many;
3. a forward that runs and computes something else wants a change anywhere, few before many;
4. a change that is not needed after all is taken back.

What is accepted repeats every run that it is held to (`spa.modules.likeness`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from spa.modules.changes import Change

# Attributes of torch's own layers that do not follow from their parameters.
FREE: tuple[tuple[type[nn.Module], str], ...] = (
    (nn.ChannelShuffle, "groups"),
    (nn.GroupNorm, "num_groups"),
    (nn.MultiheadAttention, "num_heads"),
    (nn.Unflatten, "unflattened_size"),
)
# Runs of the module that may be spent.
MAX_TRIES = 120
# Of those that are left, how many change at a time.
AT_ONCE = 3


@dataclass(frozen=True)
class Slot:
    """A number in an attribute that may have to change.

    Attributes:
        path: the module.
        name: its attribute.
        place: the index in it; None where it is a number itself.
        kind: the module's class.
        news: what the number may become.
    """

    path: str
    name: str
    place: int | None
    kind: type[nn.Module]
    news: tuple[int, ...]


@dataclass(frozen=True)
class Outcome:
    """How a module did.

    Attributes:
        equal: it repeats all runs.
        broken: path of the innermost of the user's modules whose forward failed; None without.
        error: the failure's text.
        progress: how far it came, as numbers that only a run that comes further exceeds.
        where: where in the source it failed.
    """

    equal: bool
    broken: str | None = None
    error: str = ""
    progress: tuple[int, ...] = ()
    where: Hashable = None


# A role and which of its new numbers it takes.
Choice = tuple[Hashable, int]


def slots(net: nn.Module, changes: Sequence[Change]) -> list[Slot]:
    """All numbers of a module that hold the old one of a size that changes inside it."""
    found = []
    for path, part in net.named_modules():
        names = _names(part)
        if not names:
            continue
        inside = [c for where, c in changes if where == path or where.startswith(f"{path}.")]
        news: dict[int, list[int]] = {}
        for old, new in inside or [c for _, c in changes]:
            news.setdefault(old, []).append(new)
        for name in names:
            value = vars(part)[name]
            if _is_whole(value) and value in news:
                found.append(Slot(path, name, None, type(part), _once(news[value])))
            elif isinstance(value, (tuple, list)):
                found += [
                    Slot(path, name, i, type(part), _once(news[number]))
                    for i, number in enumerate(value)
                    if _is_whole(number) and number in news
                ]
    return found


def _names(part: nn.Module) -> list[str]:
    if type(part).__module__.startswith("torch.nn."):
        return [name for kind, name in FREE if isinstance(part, kind) and _is_free(part)]
    return [name for name in vars(part) if not name.startswith("_") and name != "training"]


def _is_free(part: nn.Module) -> bool:
    """A group norm with parameters has its number of groups from the plan."""
    return not isinstance(part, nn.GroupNorm) or part.weight is None


def _once(numbers: Sequence[int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(numbers))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def set_attributes(net: nn.Module, numbers: Mapping[str, Any]) -> None:
    """Sets attributes by dotted path; what JSON made a list of is a tuple again."""
    for key, value in numbers.items():
        path, _, name = key.rpartition(".")
        part = net.get_submodule(path)
        if isinstance(value, list) and isinstance(vars(part).get(name), tuple):
            value = tuple(value)
        setattr(part, name, value)


def attributes_that_fit(
    net: nn.Module, changes: Sequence[Change], trial: Callable[[], Outcome]
) -> tuple[dict[str, Any] | None, Outcome]:
    """Finds new numbers for a module's attributes, and sets them.

    Args:
        net: the module, whose layers have their new sizes.
        changes: sizes that change, by module path.
        trial: runs the module as it is.

    Returns:
        The new values by dotted path, as few as do; None where there are none that fit, and then
        the attributes are as they were. And the outcome of the trial that came furthest.
    """
    found = slots(net, changes)
    first = furthest = trial()
    if first.equal or not found:
        return ({} if first.equal else None), first

    def tracked() -> Outcome:
        nonlocal furthest
        outcome = trial()
        furthest = max(furthest, outcome, key=lambda o: (o.equal, o.broken is None, o.progress))
        return outcome

    tries = itertools.count()
    for role_of in (lambda slot: (slot.kind, slot.name, slot.place), lambda slot: slot):
        search = _Search(net, found, role_of, tracked, tries, first)
        chosen = search.from_here(frozenset(), first)
        if chosen is not None:
            return search.set(search.needed(chosen)), furthest
        search.set(frozenset())
    return None, furthest


class _Search:
    """A depth-first search for choices under which a module repeats its runs."""

    def __init__(
        self,
        net: nn.Module,
        found: Sequence[Slot],
        role_of: Callable[[Slot], Hashable],
        trial: Callable[[], Outcome],
        tries: Iterator[int],
        first: Outcome,
    ) -> None:
        self.net, self.trial, self.tries = net, trial, tries
        self.roles: dict[Hashable, list[Slot]] = {}
        for slot in found:
            self.roles.setdefault(role_of(slot), []).append(slot)
        self.old = {
            f"{s.path}.{s.name}" if s.path else s.name: vars(net.get_submodule(s.path))[s.name]
            for s in found
        }
        self.known: dict[frozenset[Choice], Outcome | None] = {frozenset(): first}

    def from_here(self, chosen: frozenset[Choice], seen: Outcome) -> frozenset[Choice] | None:
        """Goes on from choices that do not suffice; None where nothing suffices."""
        for more in self._proposals(chosen, seen):
            choices = chosen | more
            if choices in self.known:
                continue
            outcome = self._try(choices)
            if outcome is None:
                return None  # all tries are spent
            if outcome.equal:
                return choices
            if seen.broken is not None and _is_further(outcome, seen):
                found = self.from_here(choices, outcome)
                if found is not None:
                    return found
        return None

    def needed(self, chosen: frozenset[Choice]) -> frozenset[Choice]:
        """Takes back what is not needed (case 4)."""
        for choice in [c for c in self._choices(self.roles) if c in chosen]:
            fewer = chosen - {choice}
            if fewer not in self.known:
                self.set(fewer)
                self.known[fewer] = self.trial()
            outcome = self.known[fewer]
            if outcome is not None and outcome.equal:
                chosen = fewer
        return chosen

    def set(self, chosen: frozenset[Choice]) -> dict[str, Any]:
        """Gives the attributes the numbers of some choices; returns those that differ."""
        values = dict(self.old)
        for role, option in chosen:
            for slot in self.roles[role]:
                key = f"{slot.path}.{slot.name}" if slot.path else slot.name
                number = slot.news[min(option, len(slot.news) - 1)]
                if slot.place is None:
                    values[key] = number
                else:
                    old = values[key]
                    new = [*old[: slot.place], number, *old[slot.place + 1 :]]
                    values[key] = old._make(new) if hasattr(old, "_make") else type(old)(new)
        set_attributes(self.net, values)
        return {key: value for key, value in values.items() if value != self.old[key]}

    def _try(self, chosen: frozenset[Choice]) -> Outcome | None:
        if next(self.tries) >= MAX_TRIES:
            return None
        self.set(chosen)
        self.known[chosen] = self.trial()
        return self.known[chosen]

    def _proposals(self, chosen: frozenset[Choice], seen: Outcome) -> Iterator[frozenset[Choice]]:
        """What to change next (cases 2 and 3)."""
        taken = {role for role, _ in chosen}
        left = {role: slots for role, slots in self.roles.items() if role not in taken}
        for tier in _tiers(left, seen.broken):
            choices = self._choices(tier)
            for count in range(1, min(AT_ONCE, len(tier)) + 1):
                for several in itertools.combinations(choices, count):
                    if len({role for role, _ in several}) == count:
                        yield frozenset(several)
                if count == 1:
                    yield frozenset(c for c in choices if c[1] == 0)

    def _choices(
        self, roles: Mapping[Hashable, Sequence[Slot]] | Sequence[Hashable]
    ) -> list[Choice]:
        return [
            (role, option)
            for role in roles
            for option in range(max(len(slot.news) for slot in self.roles[role]))
        ]


def _tiers(
    roles: Mapping[Hashable, Sequence[Slot]], broken: str | None
) -> Iterator[list[Hashable]]:
    """Roles of the module that broke; of those around it; of all."""
    if broken is not None:
        own = [r for r, slots in roles.items() if any(s.path == broken for s in slots)]
        around = [
            r
            for r, slots in roles.items()
            if r not in own and any(_is_inside(broken, s.path) for s in slots)
        ]
        yield from (tier for tier in (own, around) if tier)
    if roles:
        yield list(roles)


def _is_inside(path: str, outer: str) -> bool:
    return not outer or path.startswith(f"{outer}.")


def _is_further(outcome: Outcome, before: Outcome) -> bool:
    """Whether a run came further than another that broke."""
    if outcome.broken is None or outcome.progress > before.progress:
        return True
    return outcome.progress == before.progress and outcome.where != before.where
