"""Bugs in the rules and in surgery, patched in while a network is pruned and proven.

What recomputes the cut makes the same mistake, so a file that differs from what it should be is
caught by its numbers, by the checker, or not at all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np

import spa.coupling.rules  # noqa: F401  (registers them)
from spa.coupling.rules.base import RESIZES
from spa.coupling.tracker import Tracker
from spa.pruning import surgery
from spa.pruning.surgery import Surgeon


@dataclass(frozen=True)
class RuleBug:
    """One bug.

    Attributes:
        patched: makes it and undoes it.
        op: the operator that it is about; empty where it is about all.
    """

    patched: Callable[[], contextlib.AbstractContextManager[None]]
    op: str


RULE_BUGS: dict[str, RuleBug] = {}


def bug(name: str, op: str = "") -> Callable[[Callable[[], Iterator[None]]], object]:
    """Registers a bug."""

    def register(function: Callable[[], Iterator[None]]) -> object:
        RULE_BUGS[name] = RuleBug(contextlib.contextmanager(function), op)
        return function

    return register


# --- what surgery writes --------------------------------------------------------------------------


def written(op: str, change: Callable[[Surgeon, Any, np.ndarray], np.ndarray]) -> Iterator[None]:
    """Changes the constants that surgery gives to nodes of an operator."""
    right = Surgeon.set_input

    def wrong(self: Surgeon, node: Any, i: int, value: np.ndarray) -> None:
        right(self, node, i, change(self, node, value) if node.op == op else value)

    with mock.patch.object(Surgeon, "set_input", wrong):
        yield


@bug("Reshape's target is written with the example's sizes", "Reshape")
def frozen_targets() -> Iterator[None]:
    def change(self: Surgeon, node: Any, value: np.ndarray) -> np.ndarray:
        new = np.asarray(self.new_shape(node.outputs[0]), value.dtype)
        return new if value.shape == new.shape else value

    yield from written("Reshape", change)


@bug("Reshape's target copies where it should count", "Reshape")
def copies_for_counts() -> Iterator[None]:
    """A 0 in place of -1: right as long as two sizes are alike."""

    def change(self: Surgeon, node: Any, value: np.ndarray) -> np.ndarray:
        rank = len(self.old_shape(node.inputs[0]))
        return np.asarray([0 if v == -1 and k < rank else v for k, v in enumerate(value)])

    yield from written("Reshape", change)


@bug("Reshape's target counts and copies in each other's place", "Reshape")
def exchanged_copies() -> Iterator[None]:
    def change(self: Surgeon, node: Any, value: np.ndarray) -> np.ndarray:
        value = np.asarray(value).copy()
        zeros, counts = np.flatnonzero(value == 0), np.flatnonzero(value == -1)
        if zeros.size and counts.size:
            value[zeros[0]], value[counts[0]] = -1, 0
        return value

    yield from written("Reshape", change)


@bug("two entries of a Reshape's target are exchanged", "Reshape")
def exchanged_entries() -> Iterator[None]:
    """Rows and columns of a grid: heads x size, groups x channels."""

    def change(self: Surgeon, node: Any, value: np.ndarray) -> np.ndarray:
        value = np.asarray(value).copy()
        grid = np.flatnonzero(value > 1)
        if grid.size >= 2:
            value[grid[:2]] = value[grid[1::-1]]
        return value

    yield from written("Reshape", change)


@bug("Gather's ranks are off by one", "Gather")
def ranks_off() -> Iterator[None]:
    yield from written("Gather", lambda self, node, value: np.maximum(np.asarray(value) - 1, 0))


@bug("Split's sizes are in the wrong order", "Split")
def split_reversed() -> Iterator[None]:
    yield from written("Split", lambda self, node, value: np.asarray(value)[::-1].copy())


@bug("Pad's numbers are those before and behind in each other's place", "Pad")
def pads_exchanged() -> Iterator[None]:
    yield from written("Pad", lambda self, node, value: np.roll(value, len(value) // 2))


@bug("Expand's target is written with the example's sizes", "Expand")
def frozen_expansion() -> Iterator[None]:
    def change(self: Surgeon, node: Any, value: np.ndarray) -> np.ndarray:
        return np.asarray(self.new_shape(node.outputs[0])[-len(value) :], np.int64)

    yield from written("Expand", change)


@bug("entries of a computed list are written with the example's sizes")
def frozen_entries() -> Iterator[None]:
    def wrong(self: Surgeon, node: Any, i: int, *_: Any, **__: Any) -> None:
        self.set_input(node, i, np.asarray(self.new_shape(node.outputs[0]), np.int64))

    with mock.patch.object(Surgeon, "set_entries", wrong):
        yield


@bug("entries of a computed list stay as they were")
def forgotten_entries() -> Iterator[None]:
    with mock.patch.object(Surgeon, "set_entries", return_value=None):
        yield


@bug("a Slice's bounds are off by one", "Slice")
def bounds_off() -> Iterator[None]:
    right = Surgeon.constant

    def wrong(self: Surgeon, node: Any, hint: str, value: np.ndarray) -> str:
        if node.op == "Slice" and hint in ("starts", "ends"):
            value = np.where(np.asarray(value) > 0, np.asarray(value) - 1, value)
        return right(self, node, hint, value)

    with mock.patch.object(Surgeon, "constant", wrong):
        yield


@bug("numbers computed from a size that shrinks follow it")
def not_pinned() -> Iterator[None]:
    with (
        mock.patch.object(Surgeon, "pin", return_value=None),
        mock.patch.object(surgery, "keep_dense_sizes", return_value=False),
    ):
        yield


@bug("groups of a convolution stay as many", "Conv")
def groups_stay() -> Iterator[None]:
    right = Surgeon.set_attr

    def wrong(self: Surgeon, node: Any, name: str, value: Any) -> None:
        if name != "group":
            right(self, node, name, value)

    with mock.patch.object(Surgeon, "set_attr", wrong):
        yield


for operator in ("Reshape", "Split", "Slice", "Gather", "Expand", "Conv", "Pad", "Resize", "LSTM"):

    @bug(f"{operator} is not resized", operator)
    def not_resized(operator: str = operator) -> Iterator[None]:
        gone = {key: value for key, value in RESIZES.items() if key != operator}
        with mock.patch.dict(RESIZES, gone, clear=True):
            yield


# --- which slices are taken -----------------------------------------------------------------------


def taken(change: Callable[[int, int, np.ndarray], np.ndarray]) -> Iterator[None]:
    """Changes which indices stay, by rank of the parameter and axis."""
    right = surgery.take_slices

    def wrong(value: np.ndarray, masks: Sequence[Any], zero: np.ndarray) -> np.ndarray:
        other = [
            None if mask is None else change(value.ndim, axis, mask)
            for axis, mask in enumerate(masks)
        ]
        return right(value, tuple(other), zero)

    with mock.patch.object(surgery, "take_slices", wrong):
        yield


@bug("consumers take the slices next to the right ones")
def wrong_inputs() -> Iterator[None]:
    yield from taken(lambda rank, axis, mask: np.roll(mask, 1) if rank >= 2 and axis else mask)


@bug("producers take the slices next to the right ones")
def wrong_outputs() -> Iterator[None]:
    yield from taken(lambda rank, axis, mask: np.roll(mask, 1) if rank >= 2 and not axis else mask)


@bug("vectors take the slices next to the right ones")
def wrong_vectors() -> Iterator[None]:
    yield from taken(lambda rank, axis, mask: np.roll(mask, 1) if rank == 1 else mask)


@bug("parameters take the first slices, whichever should stay")
def first_slices() -> Iterator[None]:
    yield from taken(lambda rank, axis, mask: np.sort(mask)[::-1])


# --- what the rules state -------------------------------------------------------------------------


def unstated(*ops: str) -> Iterator[None]:
    """Equalities that an operator's rule states are lost."""
    right = Tracker.equal_to_all

    def wrong(self: Tracker, a: Any, others: Any, node: Any) -> None:
        if node is None or node.op not in ops:
            right(self, a, others, node)

    with mock.patch.object(Tracker, "equal_to_all", wrong):
        yield


for operator in ("Conv", "Gemm", "MatMul", "Add", "Mul", "BatchNormalization", "LSTM", "Concat"):

    @bug(f"{operator} states no equality", operator)
    def silent(operator: str = operator) -> Iterator[None]:
        yield from unstated(operator)


def mislabelled(*ops: str) -> Iterator[None]:
    """What an operator gives carries the labels of the neighbouring channels."""
    right = Tracker.write

    def wrong(self: Tracker, node: Any, layers: Sequence[np.ndarray], i: int = 0) -> None:
        if node.op in ops:
            layers = [np.roll(layer, 1, int(np.argmax(layer.shape))) for layer in layers]
        right(self, node, layers, i)

    with mock.patch.object(Tracker, "write", wrong):
        yield


for operator in (
    "Slice", "Split", "Gather", "Concat", "Transpose", "Reshape", "Relu", "Resize", "Pad", "LSTM",
    "BatchNormalization", "MatMul",
):  # fmt: skip

    @bug(f"{operator} gives its channels the next one's labels", operator)
    def shifted(operator: str = operator) -> Iterator[None]:
        yield from mislabelled(operator)


@bug("a Transpose's labels stay where they were", "Transpose")
def untransposed() -> Iterator[None]:
    """Rows and columns of a grid of labels are exchanged back, where that fits."""
    right = Tracker.write

    def wrong(self: Tracker, node: Any, layers: Sequence[np.ndarray], i: int = 0) -> None:
        if node.op == "Transpose":
            perm = node.attr("perm", [])
            layers = [
                layer.transpose(np.argsort(perm)).reshape(layer.shape)
                if len(perm) == layer.ndim and layer.size not in layer.shape
                else layer
                for layer in layers
            ]
        right(self, node, layers, i)

    with mock.patch.object(Tracker, "write", wrong):
        yield
