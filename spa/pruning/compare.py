"""Comparing the outputs of two models that should compute the same, to float tolerance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from spa.errors import VerificationError
from spa.graph.model import Array, Model

# Largest difference allowed, as a share of the dense output's largest value, and the part of it
# that rounding makes in any output (a sigmoid near 0 is no more precise than this).
TOLERANCE = 1e-4
ROUNDING = 1e-6
# Deep networks round by more. Then the largest difference allowed is this many times that of the
# zeroed dense model from itself without ONNX Runtime's rewrites, or with the last bits of its
# weights changed, up to a last limit.
NOISE_FACTOR = 10.0
MAX_TOLERANCE = 1e-3
# Models that compute in half precision: both limits are at least these many of its units.
UNITS, MAX_UNITS = 8, 32


def limits(model: Model) -> tuple[float, float]:
    """The tolerance and the last limit, for the coarsest type that the model computes with."""
    kinds = {dtype for dtype in model.observed.dtypes.values() if dtype.kind == "f"}
    unit = max((float(np.finfo(dtype).eps) for dtype in kinds), default=0.0)
    if unit <= float(np.finfo(np.float32).eps):
        return TOLERANCE, MAX_TOLERANCE
    return max(TOLERANCE, UNITS * unit), max(MAX_TOLERANCE, MAX_UNITS * unit)


def compare(
    reference: Mapping[str, Array], other: Mapping[str, Array], what: str, tolerance: float
) -> float:
    """Compares tensors by name.

    Args:
        reference: the tensors as they should be.
        other: what is held to them.
        what: what the reference is, for the message.
        tolerance: largest difference allowed, as a share of the reference's largest value.

    Returns:
        The largest difference, as such a share.

    Raises:
        VerificationError: a tensor differs by more, or has another shape.
    """
    worst = 0.0
    for name, a in reference.items():
        b = other[name]
        if not isinstance(a, np.ndarray) or a.dtype.kind in "OUS":
            continue
        if a.shape != b.shape:
            raise VerificationError(
                f'Tensor "{name}" has shape {b.shape}, but {what} gives {a.shape}.'
            )
        gap, scale = difference(a, b)
        if not gap <= tolerance + ROUNDING / scale:
            raise VerificationError(
                f'Tensor "{name}" differs from {what} by {gap:.2e} of its scale; '
                f"{tolerance:.0e} is allowed."
            )
        worst = max(worst, gap)
    return worst


def difference(a: Array, b: Array) -> tuple[float, float]:
    """Largest difference of two tensors of one shape as a share of the first's scale; the scale."""
    if a.size == 0:
        return 0.0, 1.0
    x, y = a.astype(np.float64), b.astype(np.float64)
    scale = float(np.nanmax(np.abs(np.where(np.isfinite(x), x, 0.0)))) or 1.0
    same = (x == y) | (np.isnan(x) & np.isnan(y))
    with np.errstate(invalid="ignore"):
        gap = float(np.max(np.where(same, 0.0, np.abs(x - y)))) / scale
    return gap, scale


def is_flat(tensors: Iterable[Array]) -> bool:
    """Whether all of some tensors hardly depend on the example, by what is tolerated."""
    return all(_is_flat(tensor) for tensor in tensors)


def _is_flat(tensor: Array) -> bool:
    if not isinstance(tensor, np.ndarray) or tensor.dtype.kind not in "fiub" or tensor.size == 0:
        return True
    values = tensor.astype(np.float64)
    spread = np.ptp(values, axis=0) if values.ndim and values.shape[0] > 1 else np.ptp(values)
    tolerated = TOLERANCE * float(np.max(np.abs(values))) + ROUNDING
    return bool(np.max(spread) <= 10 * tolerated)
