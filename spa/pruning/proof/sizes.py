"""At which other sizes two models are compared: not those that the analysis saw, nor their kin.

A number that was frozen in a file is right at the size that it was frozen at, and often at its
multiples. So every dynamic size takes values that are none of these, as far as the dense model
itself runs there: small odd ones and primes first, unlike each other; then multiples of small
strides (pictures that are halved five times); then multiples of the example's own (a batch that is
split in two). Sizes that cannot move alone move together: unnamed ones may have to be equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from spa.graph.example import FreeAxis, free_sizes, size_name
from spa.graph.model import Model

# Shapes of all inputs, by name.
Shapes = Mapping[str, tuple[int, ...]]
# Runs the dense model at some sizes; None where it does not run there.
Attempt = Callable[[Shapes], bool]

# How many values every size takes, where the model does.
WANTED = 4
STRIDES = (2, 4, 8, 16, 32, 64, 128)


@dataclass(frozen=True)
class Size:
    """A dynamic size.

    Attributes:
        label: its name in the file, or the input and axis that have it.
        axes: the inputs' axes that have it.
        example: its value in the example.
    """

    label: str
    axes: tuple[FreeAxis, ...]
    example: int

    @property
    def is_batch(self) -> bool:
        """Whether it is that of a first axis."""
        return any(axis == 0 for _, axis in self.axes)

    def ladder(self) -> Iterator[list[int]]:
        """Values to try, the best first; each rung stands for what a model may ask of a size."""
        e = self.example
        yield _unlike(e, (1, 3, 5, 7, 2, 11) if self.is_batch else _primes(e))
        if not self.is_batch:
            near = (n for d in range(1, e) for n in (e - d, e + d) if n > e // 2 and n % 2)
            yield list(islice((n for n in near if n % e), WANTED))
        for stride in STRIDES:
            if stride < e:
                yield _unlike(e, [stride * odd for odd in (1, 3, 5, 7, 9, 11)])
        yield [e * times for times in (2, 3, 4, 5)]


def _primes(example: int) -> tuple[int, ...]:
    """Smaller ones than the example, and a larger one."""
    if example <= 8:
        return (3, 5, 7, 11, 13, 2)
    if example <= 64:
        return (7, 13, 5, 11, 67)
    return (37, 53, 41, 67, next(n for n in range(example + 3, 2 * example) if _is_prime(n)))


def _is_prime(number: int) -> bool:
    return all(number % i for i in range(2, int(number**0.5) + 1))


def _unlike(example: int, values: Sequence[int]) -> list[int]:
    """Those that are no multiples of the example; of 1, all are."""
    unlike = [value for value in values if value % example] if example > 1 else []
    return unlike or [value for value in values if value != example]


def sizes_of(model: Model) -> list[Size]:
    """A model's dynamic sizes."""
    found = []
    for axes in free_sizes(model.declared):
        name, axis = axes[0]
        example = model.example[name].shape[axis]
        found.append(Size(size_name(model.declared, axes), tuple(axes), example))
    return found


def only_batch(model: Model) -> Size | None:
    """The batch, where it is the one dynamic size, and all inputs have it."""
    sizes = sizes_of(model)
    if len(sizes) != 1 or sizes[0].example < 2 or any(axis for _, axis in sizes[0].axes):
        return None
    return sizes[0] if {name for name, _ in sizes[0].axes} == set(model.example) else None


def other_sizes(model: Model, attempt: Attempt) -> tuple[list[Shapes], list[Size]]:
    """Finds sizes at which the dense model runs.

    Args:
        model: the dense model.
        attempt: says whether it runs at some sizes.

    Returns:
        The inputs' shapes, all of them tried, and the sizes that took no other value.
    """
    sizes = sizes_of(model)
    if not sizes:
        return [], []
    search = _Search(model, attempt)
    for some in _unions(sizes):
        rungs = [next(size.ladder()) for size in some]
        if search.all(some, rungs):
            return search.found, []
    # Not at all such sizes at once: each moves alone, on the first rung that the model takes.
    moving: list[tuple[Size, list[int]]] = []
    left = list(sizes)
    for some in _unions(sizes):
        for size in some:
            if not set(size.axes).issubset({axis for each in left for axis in each.axes}):
                continue
            rung = search.rung(size)
            if rung:
                moving.append((size, rung))
                left = [each for each in left if not set(each.axes) <= set(size.axes)]
        if not left:
            break
    if moving:
        search.all([size for size, _ in moving], [rung for _, rung in moving])
        for size, rung in moving:
            search.alone(size, rung)
    return search.found, left


def _unions(sizes: Sequence[Size]) -> Iterator[list[Size]]:
    """The sizes; and these with such as one that may have to be equal."""
    yield list(sizes)
    for by_axis in (True, False):
        merged: dict[tuple[int, int], list[Size]] = {}
        for size in sizes:
            kind = size.axes[0][1] if by_axis else int(size.is_batch)
            merged.setdefault((kind, size.example), []).append(size)
        if len(merged) < len(sizes):
            yield [_merged(some) for some in merged.values()]


def _merged(sizes: Sequence[Size]) -> Size:
    label = " = ".join(size.label for size in sizes)
    return Size(label, tuple(axis for size in sizes for axis in size.axes), sizes[0].example)


class _Search:
    """Tries sizes, and keeps those that the model runs at."""

    def __init__(self, model: Model, attempt: Attempt) -> None:
        self._base = {name: value.shape for name, value in model.example.items()}
        self._attempt = attempt
        self._known: dict[tuple[tuple[int, ...], ...], bool] = {}
        self.found: list[Shapes] = []

    def all(self, sizes: Sequence[Size], rungs: Sequence[Sequence[int]]) -> bool:
        """Moves all sizes at once; says whether every one took as many values as are wanted."""
        taken: list[set[int]] = [set() for _ in sizes]
        longest = max(map(len, rungs))
        for turn in range(longest):
            if turn == 2 and not any(taken):
                return False
            if all(len(some) >= WANTED for some in taken):
                break
            values = _apart(rungs, turn)
            if self._try(sizes, values):
                for some, value in zip(taken, values, strict=True):
                    some.add(value)
        return all(len(some) >= min(WANTED, len(r)) for some, r in zip(taken, rungs, strict=True))

    def rung(self, size: Size) -> list[int] | None:
        """The first rung of which the model takes a value, the others staying as they are."""
        return next((r for r in size.ladder() if any(self._try([size], [n]) for n in r[:2])), None)

    def alone(self, size: Size, rung: Sequence[int]) -> None:
        """Moves one size, as far as it took too few values together with others."""
        for value in rung:
            if len({s[n][a] for s in self.found for n, a in size.axes[:1]}) > WANTED:
                return
            self._try([size], [value])

    def _try(self, sizes: Sequence[Size], values: Sequence[int]) -> bool:
        shapes = {name: list(shape) for name, shape in self._base.items()}
        for size, value in zip(sizes, values, strict=True):
            for name, axis in size.axes:
                shapes[name][axis] = value
        key = tuple(tuple(shape) for shape in shapes.values())
        if key not in self._known:
            fixed = {name: tuple(shape) for name, shape in shapes.items()}
            self._known[key] = self._attempt(fixed)
            if self._known[key]:
                self.found.append(fixed)
        return self._known[key]


def _apart(rungs: Sequence[Sequence[int]], turn: int) -> list[int]:
    """One value of each rung, unlike each other where they have so many."""
    values: list[int] = []
    for number, rung in enumerate(rungs):
        order = [rung[(turn + number + k) % len(rung)] for k in range(len(rung))]
        values.append(next((v for v in order if v not in values), order[0]))
    return values
