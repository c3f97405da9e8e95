"""Comparing a pruned model with the zeroed dense one on an example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import onnx

from spa.coupling.couple import Cut
from spa.coupling.groups import Groups
from spa.coupling.zeros import contracted_parameters
from spa.errors import ModelError, VerificationError
from spa.graph.execute import run_each
from spa.graph.model import Array, Model
from spa.graph.nodes import Node
from spa.pruning.compare import NOISE_FACTOR, compare, limits
from spa.pruning.fixing import Example, Fixing, Runs, Tensors, fixing, jumping_nodes, made_tensors
from spa.pruning.locate import describe, first_difference, first_failing
from spa.pruning.parameters import rewrite_parameters, zero_slices
from spa.pruning.redraw import nudged


def zeroed(model: Model, cut: Cut) -> onnx.ModelProto:
    """The dense model with the removed slices of contracting operators' weights set to zero."""
    return rewrite_parameters(model, cut, zero_slices, only=contracted_parameters(model))


@dataclass(frozen=True)
class Found:
    """What a comparison found.

    Attributes:
        difference: the largest one, as a share of a tensor's scale.
        jumps: whether the outputs of operators that jump had to be fixed.
    """

    difference: float
    jumps: bool


@dataclass(frozen=True)
class Comparison:
    """Compares a pruned model with a zeroed dense one.

    Attributes:
        model: the dense model.
        cut: what goes.
        groups: the dense model's groups, to name one when the comparison fails.
        dense: the zeroed dense model.
        pruned: the pruned one.
        what: what ``dense`` is, for messages.
        optimize: let ONNX Runtime rewrite both, as it does for users.
        also: tensors to compare besides the outputs (`spa.pruning.forked`).
    """

    model: Model
    cut: Cut
    groups: Groups
    dense: onnx.ModelProto
    pruned: onnx.ModelProto
    what: str
    optimize: bool = True
    also: tuple[str, ...] = ()

    def run(self, feeds: Sequence[Example]) -> list[Tensors]:
        """Runs the pruned model as it is; its outputs, by example.

        Raises:
            ModelError: ONNX Runtime does not run the dense model either.
            VerificationError: it runs that, but not the pruned one.
        """
        names = [value.name for value in self.pruned.graph.output]
        try:
            found = run_each(self.pruned, feeds, optimize=self.optimize)
            return [dict(zip(names, outputs, strict=True)) for outputs in found]
        except ModelError as error:
            # Where that fails too, pruning is not to blame.
            run_each(self.dense, feeds, optimize=self.optimize)
            failing = (first_failing(self.model, self.pruned, feed) for feed in feeds)
            node = next((node for node in failing if node is not None), None)
            where = describe(node, self.cut, self.groups)
            raise VerificationError(f"The pruned model does not run: {error}{where}") from error

    def on(self, feeds: Sequence[Example], fixed: Fixing) -> Runs:
        """Runs the zeroed dense model on some examples.

        Raises:
            ModelError: it does not run.
            VerificationError: neither it nor the pruned one does, which does not run at all.
        """
        try:
            return self._runs(feeds, fixed)
        except ModelError:
            self.run(feeds)
            raise

    def of(self, runs: Runs, found: Sequence[Tensors] | None = None) -> list[Found]:
        """Compares with what the dense model gave; where operators jump, with these fixed too.

        Args:
            runs: runs of the dense model.
            found: what the pruned one gives for the same examples, where that is known.
        """
        try:
            found = found or runs.of_pruned(self.pruned, optimize=self.optimize)
        except ModelError:
            self.run(runs.feeds)
            raise
        return [
            self._compared(feed, runs.fixed, want, have)
            for feed, want, have in zip(runs.feeds, runs.reference, found, strict=True)
        ]

    def _runs(self, feeds: Sequence[Example], fixed: Fixing) -> Runs:
        return Runs(self.dense, self.cut, feeds, fixed, optimize=self.optimize)

    def _compared(self, feed: Example, fixed: Fixing, want: Tensors, have: Tensors) -> Found:
        try:
            return self._once(feed, fixed, want, have, jumps=False)
        except VerificationError as error:
            jumping = [n for n in jumping_nodes(self.model) if n not in fixed.nodes]
            nodes = [*fixed.nodes, *jumping]
            more = fixing(self.model, nodes, self.also) if jumping else None
            try:
                if more is not None:
                    runs = self._runs([feed], more)
                    (have,) = runs.of_pruned(self.pruned, optimize=self.optimize)
                    return self._once(feed, more, runs.reference[0], have, jumps=True)
            except VerificationError:
                pass
            where = describe(self._first_difference(feed, fixed), self.cut, self.groups)
            raise VerificationError(
                f"{error}{where} If nobody changed a file since SPA wrote it, please report the "
                "model."
            ) from error

    def _once(
        self, feed: Example, fixed: Fixing, want: Tensors, have: Tensors, *, jumps: bool
    ) -> Found:
        tolerance, most = limits(self.model)
        try:
            return Found(compare(want, have, self.what, tolerance), jumps)
        except VerificationError:
            # By what the dense model itself rounds, if it must be.
            runs = self._runs([feed], fixed)
            same = nudged(self.model.with_weights(self.dense)).proto
            others = (
                *runs.of_dense(self.dense, optimize=False),
                *runs.of_dense(same, optimize=self.optimize),
            )
            noise = max(self._noise(want, other, most) for other in others)
            allowed = min(most, NOISE_FACTOR * noise)
            if allowed <= tolerance:
                raise
            return Found(compare(want, have, self.what, allowed), jumps)

    def _noise(self, want: Mapping[str, Array], other: Mapping[str, Array], most: float) -> float:
        try:
            return compare(want, other, self.what, most)
        except VerificationError:
            return most

    def _first_difference(self, feed: Example, fixed: Fixing) -> Node | None:
        """Compares all tensors that both models have, in the order in which they are made."""
        made = {name for node in self.pruned.graph.node for name in node.output}
        names = [n for n in made_tensors(self.model) if n in made]
        try:
            every = replace(fixed, watched=tuple(names))
            runs = Runs(self.dense, self.cut, [feed], every, optimize=False)
            (have,) = runs.of_pruned(self.pruned, optimize=False)
        except ModelError:
            return None
        return first_difference(self.model, runs.reference[0], have, limits(self.model)[0])
