"""Reading and writing at indices. Negative indices count from the end."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spa.bridge.registry import Function, OpNode, converter

_REDUCE = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _wrap(indices: Tensor, size: int) -> Tensor:
    indices = indices.long()
    return torch.where(indices < 0, indices + size, indices)


@converter("Slice", until=9)
def slice_by_attribute(node: OpNode) -> Function:
    """Starts, ends and axes are attributes; the step is 1."""
    starts, ends = node.attrs["starts"], node.attrs["ends"]
    axes = node.attrs.get("axes", list(range(len(starts))))
    return lambda x: _slice(x, starts, ends, axes, [1] * len(starts))


@converter("Slice", since=10, host=(1, 2, 3, 4))
def slice_by_input(node: OpNode) -> Function:
    """Starts, ends, axes and steps are inputs."""

    def run(
        x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Any = None
    ) -> Tensor:
        first, last = starts.tolist(), ends.tolist()
        dims = list(range(len(first))) if axes is None else axes.tolist()
        return _slice(x, first, last, dims, [1] * len(first) if steps is None else steps.tolist())

    return run


def _slice(
    x: Tensor, starts: list[int], ends: list[int], axes: list[int], steps: list[int]
) -> Tensor:
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        rows = range(*slice(start, end, step).indices(x.shape[axis]))
        if step > 0:
            x = (
                x.narrow(axis, rows.start, max(rows.stop - rows.start, 0))
                if len(rows)
                else (x.narrow(axis, 0, 0))
            )
            index = [slice(None)] * x.dim()
            index[axis] = slice(None, None, step)
            x = x[tuple(index)]
        else:  # torch has no negative steps
            x = x.index_select(axis, torch.tensor(list(rows), dtype=torch.long, device=x.device))
    return x


@converter("Gather")
def gather(node: OpNode) -> Function:
    """Indices of any rank take the place of one axis."""
    axis = node.attrs.get("axis", 0)

    def run(x: Tensor, indices: Tensor) -> Tensor:
        dim = axis % x.dim()
        rows = _wrap(indices, x.shape[dim])
        y = x.index_select(dim, rows.reshape(-1))
        return y.reshape((*x.shape[:dim], *indices.shape, *x.shape[dim + 1 :]))

    return run


@converter("GatherElements")
def gather_elements(node: OpNode) -> Function:
    """One index per output element, along one axis."""
    axis = node.attrs.get("axis", 0)
    return lambda x, indices: torch.gather(x, axis, _wrap(indices, x.shape[axis]))


@converter("GatherND")
def gather_nd(node: OpNode) -> Function:
    """The last axis of the indices names a place in x, after batch_dims shared axes."""
    shared = node.attrs.get("batch_dims", 0)

    def run(x: Tensor, indices: Tensor) -> Tensor:
        depth = indices.shape[-1]
        places: list[Tensor] = []
        for dim in range(shared):
            shape = [1] * (indices.dim() - 1)
            shape[dim] = x.shape[dim]
            places.append(torch.arange(x.shape[dim], device=x.device).reshape(shape))
        places += [_wrap(indices[..., i], x.shape[shared + i]) for i in range(depth)]
        return x[tuple(places)]

    return run


@converter("ScatterElements", "Scatter")
def scatter_elements(node: OpNode) -> Function:
    """The inverse of GatherElements, on a copy of x."""
    axis, reduction = node.attrs.get("axis", 0), node.attrs.get("reduction", "none")

    def run(x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        rows = _wrap(indices, x.shape[axis])
        if reduction == "none":
            return x.scatter(axis, rows, updates)
        return x.scatter_reduce(axis, rows, updates, _REDUCE[reduction])

    return run


@converter("ScatterND")
def scatter_nd(node: OpNode) -> Function:
    """The inverse of GatherND, on a copy of x; overwriting or adding."""
    reduction = node.attrs.get("reduction", "none")
    if reduction not in ("none", "add"):
        raise ValueError(f"reduction={reduction} of ScatterND")

    def run(x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        places = tuple(_wrap(indices[..., i], x.shape[i]) for i in range(indices.shape[-1]))
        return x.index_put(places, updates, accumulate=reduction == "add")

    return run


@converter("Trilu", host=(1,))
def triangle(node: OpNode) -> Function:
    """The upper or lower triangle of the last two axes."""
    keep = torch.triu if node.attrs.get("upper", 1) else torch.tril
    return lambda x, k=None: keep(x, 0 if k is None else int(k))


@converter("OneHot", host=(1,))
def one_hot(node: OpNode) -> Function:
    """A new axis that holds the on-value at the index, the off-value elsewhere."""
    axis = node.attrs.get("axis", -1)

    def run(indices: Tensor, depth: Tensor, values: Tensor) -> Tensor:
        count = int(depth)
        # hot: (*indices, depth); an index out of range is nowhere
        hot = _wrap(indices, count).unsqueeze(-1) == torch.arange(count, device=indices.device)
        y = torch.where(hot, values[1], values[0])
        return y.movedim(-1, axis)

    return run


@converter("NonZero")
def non_zero(node: OpNode) -> Function:
    """One column per non-zero element: (rank, count)."""
    return lambda x: torch.nonzero(x).T


@converter("Compress", host=(1,))
def compress(node: OpNode) -> Function:
    """The entries along an axis (or of the flattened input) where the condition holds."""
    axis = node.attrs.get("axis")

    def run(x: Tensor, condition: Tensor) -> Tensor:
        rows = torch.nonzero(condition.cpu()).reshape(-1).to(x.device)
        return x.reshape(-1)[rows] if axis is None else x.index_select(axis, rows)

    return run


@converter("ReverseSequence", host=(1,))
def reverse_sequence(node: OpNode) -> Function:
    """The first entries of every sequence, as many as its length says, read backwards."""
    time, batch = node.attrs.get("time_axis", 0), node.attrs.get("batch_axis", 1)

    def run(x: Tensor, lengths: Tensor) -> Tensor:
        rows = x.movedim((batch, time), (0, 1))
        steps = torch.arange(rows.shape[1], device=x.device)
        ends = lengths.to(x.device)[:, None]
        places = torch.where(steps < ends, ends - 1 - steps, steps)
        turned = rows[torch.arange(rows.shape[0], device=x.device)[:, None], places]
        return turned.movedim((0, 1), (batch, time))

    return run
