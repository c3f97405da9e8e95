"""Two models that should compute the same, run side by side with some tensors fixed in both.

See `spa.pruning.fixing` for what is fixed, and why.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

import numpy as np
import onnx

from spa.coupling.couple import Cut
from spa.errors import ModelError, RunError
from spa.graph.model import Array, Model
from spa.graph.opened import Example, Opened, Tensors
from spa.pruning.fixing import Fixing, kept_of
from spa.pruning.proof.closeness import Closeness, compare, tolerance_of
from spa.pruning.proof.floors import Floor
from spa.pruning.proof.values import shaken
from spa.pruning.redraw import nudged

# Makes other inputs of a model's inputs.
Change = Callable[[Example], dict[str, Array]]


class Pair:
    """A zeroed dense model, and the pruned one.

    Args:
        model: the dense model, for its structure.
        cut: what goes.
        dense: the zeroed dense model.
        pruned: the pruned one.
        fixed: what is fixed, and what is compared besides the outputs.
        what: what ``dense`` is, for messages.
        optimize: let ONNX Runtime rewrite both, as it does for users.
        inner: those of the watched tensors that are inside of the models.
        floors: by tensor, a difference that says nothing.
        once: it is for one comparison, so that no session is kept: each holds weights of its own.
    """

    def __init__(
        self,
        model: Model,
        cut: Cut,
        dense: onnx.ModelProto,
        pruned: onnx.ModelProto,
        fixed: Fixing,
        *,
        what: str = "the zeroed dense model",
        optimize: bool = True,
        inner: Collection[str] = (),
        floors: Mapping[str, Floor] | None = None,
        once: bool = False,
    ) -> None:
        self._inner = frozenset(inner)
        self._floors = floors or {}
        self.fixed = fixed
        self.dense_proto, self.pruned_proto = dense, pruned
        self.optimize = optimize
        self._model, self._cut, self._what = model, cut, what
        self._once = once
        self._sessions: dict[str, Opened] = {}

    @property
    def dense(self) -> Opened:
        """The zeroed dense model, which says what is fixed, and to what."""
        wanted = (*self.fixed.outputs, *self.fixed.watched)
        return self._session(
            "dense", lambda: Opened(self.dense_proto, wanted, optimize=self.optimize)
        )

    @property
    def plain(self) -> Opened:
        """The pruned model as it is."""
        watched = () if self.fixed.outputs else self.fixed.watched
        return self._session(
            "plain", lambda: Opened(self.pruned_proto, watched, optimize=self.optimize)
        )

    def close(self) -> None:
        """Gives the sessions back, with their memory; what is asked for later is opened anew."""
        self._sessions.clear()

    def _session(self, name: str, opened: Callable[[], Opened]) -> Opened:
        if name in self._sessions:
            return self._sessions[name]
        result = opened()
        if not self._once:
            self._sessions[name] = result
        return result

    def compare(self, feed: Example, found: Tensors, plain: Tensors | None = None) -> Closeness:
        """Compares outputs and watched tensors.

        Args:
            feed: the inputs.
            found: what ``dense`` gives for them.
            plain: what ``plain`` gives, where that is known.

        Raises:
            VerificationError: they differ.
            ModelError: a model does not run.
        """
        want, have, values = self._tensors(feed, found, plain)
        return compare(
            want, have, self._what, tolerance_of(self._model),
            lambda: self._noise(feed, values), self._inner, self._floors,
        )  # fmt: skip

    def both(self, feed: Example) -> tuple[Tensors, Tensors]:
        """What is compared, of the dense model and of the pruned one.

        Raises:
            ModelError: a model does not run.
        """
        return self._tensors(feed, self.dense.run(feed), None)[:2]

    def _tensors(
        self, feed: Example, found: Tensors, plain: Tensors | None
    ) -> tuple[Tensors, Tensors, Tensors]:
        """The tensors of both models, and what those that are fixed are fixed to."""
        first = {name: found[name] for name in self.fixed.outputs}
        values = {name: _finite(value, self._cut, name) for name, value in first.items()}
        if any(values[name] is not value for name, value in first.items()):
            found = self._session(
                "dense, fixed", lambda: self._open(self.dense_proto, values, self.optimize)
            ).run({**feed, **values})
        kept = self._kept(values)
        have = plain if plain is not None and not values else self._run_pruned(feed, kept)
        return self._less(found), have, values

    def _run_pruned(self, feed: Example, kept: Tensors) -> Tensors:
        if not kept:
            return self.plain.run(feed)
        return self._session(
            "pruned, fixed", lambda: self._open(self.pruned_proto, kept, self.optimize)
        ).run({**feed, **kept})

    def _noise(self, feed: Example, values: Tensors) -> Iterator[Tensors]:
        """The dense model in two other ways: rewritten or not, and with other last bits.

        Those of the inputs are others too: rows that are alike would go on cancelling out.
        """
        ways: dict[str, tuple[Callable[[], Opened], Change]] = {
            "otherwise rewritten": (
                lambda: self._open(self.dense_proto, values, not self.optimize),
                dict,
            ),
            "other last bits": (
                lambda: self._open(self._nudged(), values, self.optimize),
                shaken,
            ),
        }
        for name, (opened, change) in ways.items():
            try:
                found = self._session(name, opened).run({**change(feed), **values})
            except ModelError:
                continue  # one way that ONNX Runtime cannot go
            yield self._less(found)

    def _nudged(self) -> onnx.ModelProto:
        return nudged(self._model.with_weights(self.dense_proto)).proto

    def _open(self, proto: onnx.ModelProto, values: Tensors, optimize: bool) -> Opened:
        return Opened(proto, self.fixed.watched, values, optimize=optimize)

    def _less(self, found: Tensors) -> Tensors:
        fixed = set(self.fixed.outputs)
        parts = {n: kept_of(v, self._cut, n) for n, v in found.items() if n not in fixed}
        return {name: part for name, part in parts.items() if part is not None}

    def _kept(self, values: Tensors) -> Tensors:
        kept = {}
        for name, value in values.items():
            part = kept_of(value, self._cut, name)
            if part is None:
                raise RunError(f'What stays of tensor "{name}" at other sizes cannot be told.')
            kept[name] = part
        return kept


def _finite(value: Array, cut: Cut, name: str) -> Array:
    """Puts zero where what goes is infinite or no number.

    A channel of zeros that is divided by its own norm is none; no weight of zero takes that back.
    """
    if value.dtype.kind != "f" or np.isfinite(value).all():
        return value
    stays = np.zeros(value.shape, dtype=bool)
    masks = cut.of_tensor(name)
    stays[np.ix_(*(np.ones(n, bool) if m is None else m
                   for n, m in zip(value.shape, masks, strict=True)))] = True  # fmt: skip
    return np.where(stays | np.isfinite(value), value, value.dtype.type(0))
