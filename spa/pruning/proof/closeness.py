"""Whether two tensors are equal but for rounding, each entry by a measure of its own.

The largest value of a tensor says nothing of its small ones: scores of 0.01 stand beside boxes of
640 pixels, and anything beside a mask of -1e9. An entry may be off by

1. a share of its own value, or of a common one among its neighbours (a quarter of these are
   smaller): those along every axis of the tensor are neighbours, and the least counts;
2. where that is not enough, some times what rounding does to its neighbours in the dense model
   itself, run in two other ways. There is no limit to that. But where rounding is as large as what
   the tensor says, the comparison shows nothing, and that is told.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from spa.errors import VerificationError
from spa.graph.model import Array, Model
from spa.pruning.proof.floors import NONE, Floor

# Share of a value that it may be off by.
TOLERANCE = 1e-4
# Models that compute in half precision: at least these many of its units.
UNITS = 8
# How many times that for tensors inside: an error there is as large as what it spoils.
INNER = 10
# How many times the rounding that was measured is allowed, as so few runs show not all of it.
NOISE_FACTOR = 10.0
# Units of a value by which a sum of any length that gives it may be off.
OWN_UNITS = 16
# Rounding of this share of a tensor's common values drowns what it says.
DROWNED = 0.05
# Neighbours that a measure needs, and the share of them that is smaller than the common value.
NEIGHBOURS = 8
# How many neighbours a quick look sees.
LOOK = 64
COMMON = 0.25

Floats = npt.NDArray[np.float64]
Tensors = Mapping[str, Array]


@dataclass(frozen=True)
class Closeness:
    """What a comparison of some tensors found.

    Attributes:
        difference: the largest one, as a share of the tensor's largest value.
        drowned: tensors that rounding changes so much that they show nothing.
    """

    difference: float = 0.0
    drowned: tuple[str, ...] = ()

    def __or__(self, other: Closeness) -> Closeness:
        drowned = tuple(dict.fromkeys([*self.drowned, *other.drowned]))
        return Closeness(max(self.difference, other.difference), drowned)


def tolerance_of(model: Model) -> float:
    """The share of a value that it may be off by, for the coarsest type that is computed in."""
    kinds = {dtype for dtype in model.observed.dtypes.values() if dtype.kind == "f"}
    unit = max((float(np.finfo(dtype).eps) for dtype in kinds), default=0.0)
    return TOLERANCE if unit <= np.finfo(np.float32).eps else max(TOLERANCE, UNITS * unit)


def compare(
    want: Tensors,
    have: Tensors,
    what: str,
    tolerance: float,
    others: Callable[[], Iterable[Tensors]],
    inner: Collection[str] = (),
    floors: Mapping[str, Floor] = MappingProxyType({}),
) -> Closeness:
    """Compares tensors by name.

    Args:
        want: the tensors as they should be.
        have: what is held to them.
        what: what ``want`` is of, for the message.
        tolerance: share of a value that it may be off by.
        others: what the dense model gives in other ways, of which rounding is measured; asked for
            where the tolerance is not enough, one after another: each may take much memory.
        inner: tensors inside of a model, of which less is asked: what is wrong is wrong by far.
        floors: by tensor, a difference that says nothing (`spa.pruning.proof.floors`).

    Raises:
        VerificationError: a tensor differs, or has another shape.
    """
    found, doubtful = Closeness(), []
    for name, a in want.items():
        b = have[name]
        if not _is_number(a):
            if not _is_same(a, b):
                raise VerificationError(f'Tensor "{name}" differs from what {what} gives.')
            continue
        if a.shape != b.shape:
            raise VerificationError(
                f'Tensor "{name}" has shape {b.shape}, but {what} gives {a.shape}.'
            )
        if not a.size:
            continue
        share = tolerance * (INNER if name in inner else 1)
        quick = _quickly(a, b, share)
        if quick is not None:
            found |= quick
            continue
        off, largest = _off(a, b)
        found |= Closeness(float(np.max(off)) / largest)
        floor = floors.get(name, NONE).among(want)
        if not bool(np.all(off <= np.maximum(_usual(a, share), floor))):
            doubtful.append(name)
    if doubtful:
        noise = _noise({name: want[name] for name in doubtful}, others())
        for name in doubtful:
            share = tolerance * (INNER if name in inner else 1)
            floor = floors.get(name, NONE).among(want)
            found |= _by_rounding(name, want[name], have[name], noise.pop(name), what, share, floor)
    return found


def _noise(tensors: Tensors, runs: Iterable[Tensors]) -> dict[str, Floats]:
    """By how much any of the runs is off, entry by entry."""
    noise: dict[str, Floats] = {name: np.zeros(a.shape) for name, a in tensors.items()}
    for run in runs:
        for name, a in tensors.items():
            if name in run and run[name].shape == a.shape:
                np.maximum(noise[name], _off(a, run[name])[0], out=noise[name])
    return noise


def _quickly(a: Array, b: Array, tolerance: float) -> Closeness | None:
    """The result where all entries agree even by the measure of the smallest; else None.

    It spares a measure for each entry, which takes longer than many a model.
    """
    if a.dtype != b.dtype or a.dtype not in (np.float32, np.float64):
        return None
    off, sizes = np.abs(a - b), np.abs(a)
    worst, largest = float(np.max(off)), float(np.max(sizes))
    if not np.isfinite(worst) or not np.isfinite(largest):
        return None
    if worst > tolerance * float(np.min(_least(sizes, _common, LOOK))):
        return None
    return Closeness(worst / (largest or 1.0))


def _by_rounding(
    name: str,
    a: Array,
    b: Array,
    noise: Floats,
    what: str,
    tolerance: float,
    floor: float | Floats,
) -> Closeness:
    off, largest = _off(a, b)
    usual = np.maximum(_usual(a, tolerance), floor)
    # What a value rounds by itself says nothing of its neighbours.
    own = OWN_UNITS * _unit(a) * np.abs(_finite(a))
    spreading = np.where(noise <= own, 0.0, noise)
    rounding = NOISE_FACTOR * np.maximum(_least(spreading, _largest), own)
    allowed = np.maximum(usual, rounding)
    if not bool(np.all(off <= allowed)):
        over = np.argmax(np.where(off <= allowed, -np.inf, off - allowed))
        place = np.unravel_index(over, a.shape)
        at = ", ".join(str(int(i)) for i in place)
        raise VerificationError(
            f'Tensor "{name}" differs from {what} by {off[place]:.2e} at [{at}], where that has '
            f"{float(a[place]):.4g} and rounding allows {allowed[place]:.0e} (the tensor's largest "
            f"value is {largest:.3g})."
        )
    common = _least(np.abs(_finite(a)), _common)
    is_drowned = bool(np.all((allowed > DROWNED * common)[off > usual]))
    spread = float(np.std(_finite(a)))
    drowned = is_drowned and float(np.median(allowed)) > DROWNED * max(spread, 1e-300)
    return Closeness(float(np.max(off)) / largest, (name,) if drowned else ())


def _off(a: Array, b: Array) -> tuple[Floats, float]:
    """By how much each entry is off, infinitely where only one is a number; the largest value."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    same = (x == y) | (np.isnan(x) & np.isnan(y))
    with np.errstate(invalid="ignore"):
        off = np.where(same, 0.0, np.abs(x - y))
    return np.where(np.isnan(off), np.inf, off), float(np.max(np.abs(_finite(a)), initial=0)) or 1.0


def _usual(a: Array, tolerance: float) -> Floats:
    values = np.abs(_finite(a))
    return tolerance * np.maximum(values, _least(values, _common))


def _least(
    values: Floats, measure: Callable[[Floats, int | None], Floats], look: int | None = None
) -> Floats:
    """The least of a measure over all entries, and over those of every index of every axis.

    With ``look``, the measure sees that many of the entries, evenly spread.
    """
    flat = values.reshape(-1)
    result = np.broadcast_to(measure(flat[:: _step(flat.size, look)], None), values.shape)
    for axis, size in enumerate(values.shape):
        if size > 1 and values.size // size >= NEIGHBOURS:
            rows = np.moveaxis(_thinned(values, axis, look), axis, 0).reshape(size, -1)
            shape = [size if k == axis else 1 for k in range(values.ndim)]
            result = np.minimum(result, measure(rows, 1).reshape(shape))
    return result


def _thinned(values: Floats, axis: int, look: int | None) -> Floats:
    """Fewer entries along all other axes, the longest first."""
    if look is None:
        return values
    for other in sorted(
        (k for k in range(values.ndim) if k != axis), key=lambda k: -values.shape[k]
    ):
        step = _step(values.size // max(1, values.shape[axis]), look)
        step = min(step, values.shape[other])
        values = values[(slice(None),) * other + (slice(None, None, step),)]
    return values


def _step(count: int, look: int | None) -> int:
    return 1 if look is None else max(1, count // look)


def _common(values: Floats, axis: int | None) -> Floats:
    """A quarter of what is not zero is smaller."""
    ordered = np.sort(values, axis=-1)
    length = values.shape[-1]
    zeros = length - np.count_nonzero(values, axis=-1)
    place = np.minimum(zeros + ((length - zeros) * COMMON).astype(np.int64), length - 1)
    if axis is None:
        return np.asarray(ordered[int(place)])
    return np.take_along_axis(ordered, place[:, None], axis=1)[:, 0]


def _largest(values: Floats, axis: int | None) -> Floats:
    return np.asarray(np.max(values, axis=-1))


def _unit(a: Array) -> float:
    return float(np.finfo(a.dtype).eps) if a.dtype.kind == "f" else 0.0


def _finite(a: Array) -> Floats:
    x = a.astype(np.float64)
    return np.where(np.isfinite(x), x, 0.0)


def _is_number(a: object) -> bool:
    return isinstance(a, np.ndarray) and a.dtype.kind in "fiub"


def _is_same(a: object, b: object) -> bool:
    """Whether what is no array of numbers is the same: texts; lists count by their length."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.shape == b.shape and bool((a == b).all())
    return type(a) is type(b)


def is_close(want: Array, have: Array, tolerance: float) -> bool:
    """Whether two tensors of one shape are equal by their values alone, and what is rounded away.

    A coarser measure than `compare` has, as it knows nothing of the dense model's rounding.
    """
    if not _is_number(want) or not want.size:
        return _is_number(want) or _is_same(want, have)
    off, largest = _off(want, have)
    return bool(np.all(off <= tolerance * np.maximum(np.abs(_finite(want)), largest) + 1e-6))


def is_finite(tensor: Array) -> float:
    """The share of a tensor's entries that are numbers."""
    if not _is_number(tensor) or tensor.dtype.kind != "f" or not tensor.size:
        return 1.0
    return float(np.mean(np.isfinite(tensor)))


def is_flat(tensor: Array, floor: float = 0.0) -> bool:
    """Whether a tensor hardly varies, by what is tolerated: it then proves nothing."""
    if not _is_number(tensor) or tensor.size == 0:
        return True
    values = _finite(tensor)
    spread = np.ptp(values, axis=0) if values.ndim and values.shape[0] > 1 else np.ptp(values)
    return bool(np.max(spread) <= 10 * (TOLERANCE * float(np.max(np.abs(values))) + 1e-12 + floor))
