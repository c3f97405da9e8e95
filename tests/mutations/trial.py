"""What comes of a bug on a network: who catches it, if anyone, and whether there is one at all."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx

import spa
from tests.comparing import furthest
from tests.mutations.files import FILE_BUGS
from tests.mutations.networks import NETWORKS, Network
from tests.mutations.rules import RULE_BUGS
from tests.oracles import session, zeroed_dense

CAUGHT, MISSED = "caught", "MISSED"
# There is no such thing in the network; or what comes out is right all the same.
ABSENT, HARMLESS = "not applicable", "harmless"
TRIES = 10


@dataclass(frozen=True)
class Outcome:
    """One cell of the table.

    Attributes:
        verdict: one of those above.
        said: what the proof said, where it caught the bug.
    """

    verdict: str
    said: str = ""


@dataclass(frozen=True)
class Case:
    """A network, pruned as it should be."""

    network: Network
    model: spa.Model
    result: spa.Pruned


def limits() -> spa.Limits:
    return spa.Limits(scope="local")


@functools.cache
def case(name: str) -> Case:
    network = NETWORKS[name]()
    model = spa.load(network.proto)
    return Case(network, model, spa.prune(model, ratio=0.5, limits=limits()))


def feeds(network: Network) -> list[dict[str, np.ndarray]]:
    """Inputs at sizes next to each other in no way."""
    rng = np.random.default_rng(0)
    names = list(network.sizes)
    tuples = [dict(zip(names, t, strict=True)) for t in itertools.product(*network.sizes.values())]
    chosen = [tuples[k] for k in rng.permutation(len(tuples))[:TRIES]]
    return [{i.name: i.values(rng, sizes) for i in network.inputs} for sizes in chosen]


def values_at(proto: onnx.ModelProto, name: str) -> np.ndarray | None:
    """What a tensor holds at a batch of 2 and sizes of 8; None where that does not run."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    copy.graph.output.append(onnx.ValueInfoProto(name=name))
    given = {}
    for value in proto.graph.input:
        dims = value.type.tensor_type.shape.dim
        shape = [d.dim_value or (8 if k else 2) for k, d in enumerate(dims)]
        given[value.name] = np.zeros(shape, np.float32)
    with contextlib.suppress(Exception):  # ONNX Runtime's exceptions share no base but Exception.
        return session(copy, optimize=False).run([name], given)[0]
    return None


def in_file(name: str, bug: str) -> Outcome:
    """A bug in the pruned file of a network."""
    at = case(name)
    copy = onnx.ModelProto()
    copy.CopyFrom(at.result.model)
    if not FILE_BUGS[bug](copy, at.network.proto, np.random.default_rng(1)):
        return Outcome(ABSENT)
    assert copy.SerializeToString() != at.result.model.SerializeToString()
    try:
        spa.verify(at.model, copy, at.result.plan)
    except spa.SpaError as error:
        return Outcome(CAUGHT, said(error))
    return Outcome(MISSED)


def in_rule(name: str, bug: str) -> Outcome:
    """A bug in a rule while a network is pruned and proven."""
    at, patched = case(name), RULE_BUGS[bug]
    if patched.op and all(node.op != patched.op for node in at.model.graph.nodes):
        return Outcome(ABSENT)
    try:
        with patched.patched():
            result = spa.prune(at.network.proto, ratio=0.5, limits=limits())
    except spa.InfeasibleTarget:
        return Outcome(HARMLESS)  # it keeps more than it must
    except (spa.SpaError, AssertionError, IndexError, ValueError) as error:
        return Outcome(CAUGHT, said(error))
    if not result.plan.exact:
        return Outcome(HARMLESS if runs(at.network, result) else MISSED)
    return Outcome(HARMLESS if is_right(at.network, result) else MISSED)


def runs(network: Network, result: spa.Pruned) -> bool:
    """Whether a pruned file runs wherever the dense one does; nobody knows what it should give."""
    dense, pruned = (session(proto, optimize=False) for proto in (network.proto, result.model))
    for feed in feeds(network):
        wants = dense.run(None, feed)
        try:
            haves = pruned.run(None, feed)
        except Exception:  # ONNX Runtime's exceptions share no base but Exception.
            return False
        if [want.shape for want in wants] != [have.shape for have in haves]:
            return False
    return True


def is_right(network: Network, result: spa.Pruned) -> bool:
    """What the independent oracle says, at sizes of its own."""
    reference = session(zeroed_dense(network.proto, result.plan.to_json()), optimize=False)
    pruned = session(result.model, optimize=False)
    for feed in feeds(network):
        wants = reference.run(None, feed)
        try:
            haves = pruned.run(None, feed)
        except Exception:  # ONNX Runtime's exceptions share no base but Exception.
            return False
        for want, have in zip(wants, haves, strict=True):
            if want.shape != have.shape or furthest([want], [have]) > 1:
                return False
    return True


def said(error: Exception) -> str:
    """The start of the first sentence, without names and numbers."""
    words = " ".join(str(error).split()).split('"')
    return f"{type(error).__name__}: {'..'.join(words[::2])}"[:90]


def table() -> list[tuple[str, str, Callable[[str, str], Outcome]]]:
    """All bugs: where, which, and what tries it."""
    files = [("file", bug, in_file) for bug in FILE_BUGS]
    return files + [("rule", bug, in_rule) for bug in RULE_BUGS]
