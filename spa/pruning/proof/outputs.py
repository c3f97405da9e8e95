"""What a pruned model computes, held to the zeroed dense model, at other sizes and on other values.

1. Both run at sizes that the analysis did not see (`spa.pruning.proof.sizes`), on values that reach
   what inputs decide (`spa.pruning.proof.values`), and their outputs agree entry by entry
   (`spa.pruning.proof.closeness`).
2. At the cheapest of these sizes, without ONNX Runtime's rewrites, so do the tensors inside that
   meet others, with random values in place of weights that let nothing pass
   (`spa.pruning.proof.inner`).
3. Where all outputs hardly vary even so, both models get random weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import onnx

from spa.coupling.couple import Cut
from spa.coupling.groups import Groups
from spa.errors import ModelError, RunError, VerificationError
from spa.graph.cost import measure_cost
from spa.graph.example import repeated
from spa.graph.model import Array, Model
from spa.graph.nodes import Node
from spa.graph.opened import Example, Tensors
from spa.graph.stages import is_long
from spa.pruning.comparison import zeroed
from spa.pruning.fixing import Fixing, fixing, jumping_nodes, made_tensors
from spa.pruning.forked import branch_results
from spa.pruning.locate import describe, first_difference, first_failing
from spa.pruning.proof import values
from spa.pruning.proof.closeness import Closeness, compare, is_finite, is_flat, tolerance_of
from spa.pruning.proof.floors import NONE, floors
from spa.pruning.proof.found import Outputs, describe_sizes
from spa.pruning.proof.inner import blocking_weights, inner_tensors
from spa.pruning.proof.pair import Pair
from spa.pruning.proof.sizes import WANTED, Shapes, Size, only_batch, other_sizes
from spa.pruning.redraw import with_random_weights

# How often random weights are drawn until the dense model runs with them.
DRAWS = 4
# Runs of a model all of whose sizes are fixed.
FIXED_RUNS = 3
# MACs on the example from which rows of a batch are compared one with another.
LARGE = 10**9


def _shapes_of(feed: Example) -> dict[str, tuple[int, ...]]:
    return {name: value.shape for name, value in feed.items()}


class Prover:
    """Compares a pruned model with the dense one.

    Args:
        model: the dense model.
        pruned: the pruned one, with the model's Ifs opened.
        cut: what goes.
        groups: the dense model's groups, to name one where the comparison fails.
        nodes: nodes whose outputs are fixed: they are random, or not exact.
        optimize: let ONNX Runtime rewrite both, as it does for users.
    """

    def __init__(
        self,
        model: Model,
        pruned: onnx.ModelProto,
        cut: Cut,
        groups: Groups,
        nodes: Sequence[Node],
        *,
        optimize: bool,
    ) -> None:
        self._model, self._pruned, self._cut, self._groups = model, pruned, cut, groups
        self._nodes, self._optimize = list(nodes), optimize
        self._branches = branch_results(model, pruned)
        self._also = tuple(dict.fromkeys(name for names in self._branches for name in names))
        self._dense = zeroed(model, cut)
        self._ranges = values.ranges(model)
        self._floors = floors(model)
        self._found = Outputs()
        self._jumping: Pair | None = None
        self._seen: dict[str, float] = {}
        self._varies: set[str] = set()
        self._failure: ModelError | None = None
        self._way: str | None = None
        self._example = _shapes_of(model.example)
        fixed = fixing(model, nodes, self._also)
        self._found.compared = fixed is not None
        self._fixed = fixed or Fixing((), (), ())
        self._blocked = blocking_weights(model)
        known = {*self._fixed.outputs, *self._fixed.watched}
        self._inner = tuple(n for n in inner_tensors(model, pruned) if n not in known)
        # Models that are run around fixed tensors are looked into all the way.
        self._looked = bool(self._fixed.outputs and not self._blocked)
        if self._looked:
            self._found.inner = len(self._inner)
            self._fixed = self._with_inner()
        self._pair = self._pair_of(self._fixed, self._dense, pruned, optimize=optimize)

    def _with_inner(self) -> Fixing:
        return replace(self._fixed, watched=(*self._fixed.watched, *self._inner))

    def run(self) -> Outputs:
        """Compares.

        Raises:
            ModelError: ONNX Runtime does not run the dense model.
            VerificationError: the pruned model does not run where that does, or differs.
        """
        if not self._by_rows():
            self._at_other_sizes()
        found = self._found
        if self._model.asked and self._example not in map(_shapes_of, found.feeds):
            feed = dict(self._model.example)  # whoever gave it wants to see it
            self._compare(feed, self._pair.dense.run(feed))
        if not found.feeds:
            raise self._failure or RunError("The dense model runs on no example.")
        self._pair.close()
        if found.compared:
            found.unseen = tuple(name for name, share in self._seen.items() if not share)
            found.partly = {n: share for n, share in self._seen.items() if 0 < share < 1}
            self._look_inside()
        return found

    def _at_other_sizes(self) -> None:
        _, untried = other_sizes(self._model, self._attempt)
        found = self._found
        found.untried = tuple(size.label for size in untried)
        if found.feeds:
            runs = 1 if untried else 0
        else:
            runs = 0 if self._at_once(FIXED_RUNS) else FIXED_RUNS
        for _ in range(runs):
            self._attempt(self._example)

    def _at_once(self, runs: int) -> bool:
        """Several runs of a large model at the example's sizes: its weights are read once for all.

        Says whether that was done; where the inputs are no good, others are for `_attempt` to try.
        """
        if not is_long(self._dense):
            return False
        shapes = self._example
        feeds = [
            values.feed(self._model, self._ranges, shapes, next(values.ways(self._model, i)), i)
            for i in range(runs)
        ]
        try:
            dense = self._pair.dense.run_all(feeds)
            given = [tensor for each in dense for tensor in self._given_out(each).values()]
            if any(is_finite(tensor) < 1.0 for tensor in given) or any(
                map(self._is_emptied, dense)
            ):
                return False
            pruned = self._pair.plain.run_all(feeds)
        except ModelError:
            return False
        for feed, tensors, plain in zip(feeds, dense, pruned, strict=True):
            self._compare(feed, tensors, plain)
        return True

    def _by_rows(self) -> bool:
        """Other batches of a large model whose rows do not depend on one another.

        Both models run on one row and on three, and agree; the dense one must give the same for a
        row in both. So must the pruned one on more rows, where it alone runs, for each of them.
        Says whether all of that was so; where it was not, the batches are run in full.
        """
        batch = only_batch(self._model)
        if batch is None or measure_cost(self._model).macs < LARGE:
            return False
        one, three, *more = sorted(next(batch.ladder())[:WANTED])
        whole = values.feed(self._model, self._ranges, self._shapes(batch, three), "mixed", 0)
        part = self._rows_of(whole, batch, one)
        # What is inside is looked into by the way: one session of the dense model, as it is without
        # rewrites, is enough.
        look = self._inner and not self._blocked and not self._found.inner
        inside = self._inside() if look else None
        dense = (inside or self._pair).dense
        names = [value.name for value in self._dense.graph.output]
        usual = (*names, *self._fixed.watched, *self._fixed.outputs)
        try:
            # What is inside is looked at in the smaller batch alone.
            wide, narrow = dense.run_all([whole, part], [usual, dense.names])
        except RunError:
            return False
        del dense
        names = [name for name in names if name in wide]
        if not self._same_rows({n: wide[n] for n in names}, {n: narrow[n] for n in names}, three):
            return False
        if inside:
            self._compare_inside(inside, part, narrow)
            narrow = {name: narrow[name] for name in wide}
        self._compare(part, narrow)
        plain = self._compare(whole, wide)
        for number in more:
            feed = self._rows_of(whole, batch, number)
            try:
                tensors = self._pair.plain.run(feed)
            except ModelError:
                return False
            if not self._same_rows({n: plain[n] for n in names}, tensors, three):
                return False
            self._found.feeds.append(feed)
        self._found.rows = tuple(more)
        return True

    def _shapes(self, batch: Size, number: int) -> Shapes:
        return {
            name: tuple(
                number if (name, axis) in batch.axes else size for axis, size in enumerate(shape)
            )
            for name, shape in self._example.items()
        }

    def _rows_of(self, feed: Example, batch: Size, number: int) -> dict[str, Array]:
        shapes = self._shapes(batch, number)
        return {name: repeated(value, shapes[name]) for name, value in feed.items()}

    def _same_rows(self, want: Tensors, have: Tensors, number: int) -> bool:
        """Whether outputs for some rows over again, or fewer of them, are those for each row."""
        if not all(t.ndim and len(t) == number and is_finite(t) == 1.0 for t in want.values()):
            return False
        rows = {n: np.take(t, np.arange(len(have[n])) % number, axis=0) for n, t in want.items()}
        try:
            compare(rows, have, "another batch", tolerance_of(self._model), tuple)
        except VerificationError:
            return False
        return True

    # ---- one run

    def _attempt(self, shapes: Shapes) -> bool:
        """Runs the dense model at some sizes; where it does, the pruned one must agree."""
        best: tuple[float, dict[str, Array], Tensors] | None = None
        number = len(self._found.feeds)
        ways = [self._way] if self._way else list(dict.fromkeys(values.ways(self._model, number)))
        for way in ways:
            feed = values.feed(self._model, self._ranges, shapes, way, number)
            try:
                tensors = self._pair.dense.run(feed)
            except RunError as error:
                self._failure = self._failure or error
                continue
            share = min((is_finite(t) for t in self._given_out(tensors).values()), default=1.0)
            if best is None or share > best[0]:
                best = share, feed, tensors
                if share == 1.0:
                    break
                if number:
                    self._way = way
        if best is None:
            return False
        _, feed, tensors = best
        if self._is_emptied(tensors):
            self._run_plain(feed)
            return False
        self._compare(feed, tensors)
        return True

    def _is_emptied(self, tensors: Tensors) -> bool:
        """Whether no output has an entry, though the example's have: half of a batch of 1."""
        given = self._given_out(tensors)
        usual = [0 not in self._model.shapes[name] for name in given if name in self._model.shapes]
        return any(usual) and not any(tensor.size for tensor in given.values())

    def _given_out(self, tensors: Tensors) -> Tensors:
        return {v.name: tensors[v.name] for v in self._dense.graph.output if v.name in tensors}

    def _compare(
        self, feed: dict[str, Array], tensors: Tensors, plain: Tensors | None = None
    ) -> Tensors:
        """Compares at some inputs; what the pruned model gives for them, if that is not known."""
        plain = self._run_plain(feed) if plain is None else plain
        self._found.feeds.append(feed)
        if not self._found.compared:
            return plain
        for name, tensor in self._given_out(tensors).items():
            self._seen[name] = max(self._seen.get(name, 0.0), is_finite(tensor))
        self._note_varying(tensors)
        self._found.closeness |= self._closeness(self._pair, feed, tensors, plain)
        return plain

    def _run_plain(self, feed: Example) -> Tensors:
        try:
            return self._pair.plain.run(feed)
        except ModelError as error:
            node = first_failing(self._model, self._pruned, feed)
            where = describe(node, self._cut, self._groups)
            raise VerificationError(
                f"The pruned model does not run at sizes at which the dense one does "
                f"({describe_sizes(feed)}): {error}{where}"
            ) from error

    def _note_varying(self, tensors: Tensors) -> None:
        """Notes which of the tensors that have to vary do so from row to row."""
        for name in tensors.keys() - self._varies - set(self._inner) - set(self._fixed.outputs):
            shape, usual = np.shape(tensors[name]), self._model.shapes[name]
            if shape[:1] == (1,) < usual[:1]:
                continue  # entries of one row differ whatever goes in; others tell
            if not is_flat(tensors[name], self._floors.get(name, NONE).flat):
                self._varies.add(name)

    def _closeness(
        self, pair: Pair, feed: Example, tensors: Tensors, plain: Tensors | None = None
    ) -> Closeness:
        """Compares; where operators jump, with their outputs fixed too."""
        try:
            found = pair.compare(feed, tensors, plain)
            other = self._without_jumps(pair, feed) if found.drowned else None
            if other is None or len(other.drowned) >= len(found.drowned):
                return found
            self._found.jumps = True
            return other
        except VerificationError as error:
            other = self._without_jumps(pair, feed)
            if other is not None:
                self._found.jumps = True
                return other
            node = self._first_difference(pair, feed)
            where = describe(node, self._cut, self._groups)
            raise VerificationError(
                f"{error} The inputs were {describe_sizes(feed)}.{where} If nobody changed a file "
                "since SPA wrote it, please report the model."
            ) from error

    def _without_jumps(self, pair: Pair, feed: Example) -> Closeness | None:
        jumping = [n for n in jumping_nodes(self._model) if n not in pair.fixed.nodes]
        if not jumping:
            return None
        more = fixing(self._model, [*pair.fixed.nodes, *jumping], pair.fixed.watched)
        if more is None:
            return None
        other = self._pair_of(more, pair.dense_proto, pair.pruned_proto, optimize=pair.optimize)
        try:
            return other.compare(feed, other.dense.run(feed))
        except VerificationError:
            return None

    def _first_difference(self, pair: Pair, feed: Example) -> Node | None:
        """Compares all tensors that both models have, in the order in which they are made."""
        there = {name for node in pair.pruned_proto.graph.node for name in node.output}
        names = tuple(n for n in made_tensors(self._model) if n in there)
        every = replace(pair.fixed, watched=names)
        other = self._pair_of(every, pair.dense_proto, pair.pruned_proto, optimize=False)
        try:
            want, have = other.both(feed)
        except ModelError:
            return None
        return first_difference(self._model, want, have, tolerance_of(self._model))

    def _pair_of(
        self,
        fixed: Fixing,
        dense: onnx.ModelProto,
        pruned: onnx.ModelProto,
        *,
        optimize: bool,
        what: str = "the zeroed dense model",
        once: bool = False,
    ) -> Pair:
        return Pair(
            self._model, self._cut, dense, pruned, fixed, what=what, optimize=optimize,
            inner=self._inner, floors=self._floors, once=once,
        )  # fmt: skip

    # ---- inside

    def _look_inside(self) -> None:
        found = self._found
        feed, rows = self._smallest(1), self._smallest(2)
        if self._blocked:
            self._with_random(rows, self._blocked, [0])
        if self._inner and not found.blocked and not found.inner:
            pair = self._inside()
            self._compare_inside(pair, feed, pair.dense.run(feed))
        found.flat = self._is_flat()
        if found.flat:
            names = {axis.tensor for axis in self._cut.coupling.axes if axis.is_parameter}
            found.drawn = self._with_random(rows, frozenset(names), range(DRAWS))

    def _inside(self) -> Pair:
        """Both models as they are, with the tensors inside that are compared."""
        fixed = self._with_inner()
        return self._pair_of(fixed, self._dense, self._pruned, optimize=False, once=True)

    def _compare_inside(self, pair: Pair, feed: Example, tensors: Tensors) -> None:
        self._found.closeness |= self._closeness(pair, feed, tensors)
        self._found.inner = len(self._inner)

    def _smallest(self, rows: int) -> Example:
        """The cheapest of the inputs with so many rows, by which outputs can be seen to vary."""
        feeds = list(reversed(self._found.feeds))
        enough = [f for f in feeds if any(v.ndim and len(v) >= rows for v in f.values())]
        return min(enough or feeds, key=lambda f: sum(v.size for v in f.values()))

    def _with_random(self, feed: Example, names: frozenset[str], seeds: Iterable[int]) -> bool:
        """The same with random values of some weights; says whether the dense model runs so."""
        fixed = self._fixed if self._looked else self._with_inner()
        for seed in seeds:
            other, filled = with_random_weights(self._model, self._pruned, self._cut, seed, names)
            what = "the zeroed random model"
            dense = zeroed(other, self._cut)
            del other  # as large as the model
            pair = self._pair_of(fixed, dense, filled, optimize=False, what=what, once=True)
            try:
                tensors = pair.dense.run(feed)
            except ModelError:
                continue  # regions that a model computes may be turned inside out
            if not all(is_finite(t) == 1.0 for t in self._given_out(tensors).values()):
                continue
            closeness = self._closeness(pair, feed, tensors)
            self._note_varying(tensors)
            self._found.closeness |= closeness
            self._found.inner = len(self._inner)
            self._found.blocked = tuple(sorted(names))
            return True
        return False

    def _is_flat(self) -> bool:
        """Whether the outputs prove nothing, or what some branch gives does not."""
        inside = set(self._also)
        watched = set(self._fixed.watched) - set(self._inner)
        parts = [({v.name for v in self._dense.graph.output} | watched) - inside]
        for names in self._branches:
            numbers = {n for n in names if self._model.observed.dtypes[n].kind == "f"}
            parts += [numbers] if numbers else []
        return any(part and not part & self._varies for part in parts)
