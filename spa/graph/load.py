"""Loading a model: read it, check it, find example inputs, run it once, and once at other sizes."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnx
from google.protobuf.message import EncodeError
from onnx.external_data_helper import uses_external_data

from spa.errors import InputError, ModelError, RunError
from spa.graph import execute
from spa.graph.branches import fixed_conditions, take_branches
from spa.graph.check import check
from spa.graph.deferred import is_deferred
from spa.graph.example import (
    Declared,
    FreeAxis,
    InputSpec,
    candidates,
    check_given,
    declared_inputs,
    free_sizes,
    grown,
    growths,
    is_array,
)
from spa.graph.forks import Fork
from spa.graph.functions import inlined
from spa.graph.model import Array, Model
from spa.graph.nodes import DEFAULT_DOMAINS, Graph
from spa.graph.observe import Observer, Run
from spa.graph.opening import open_where_possible
from spa.graph.read import all_tensors, first_line, model_sha256, read_model
from spa.graph.sparse import densified
from spa.graph.weightless import without_weights

# Axes that have one size, and by how much it grows.
Growth: TypeAlias = list[tuple[list[FreeAxis], int]]
File: TypeAlias = str | Path | onnx.ModelProto

# Opsets before 7 broadcast by attribute; nothing that exports today writes them.
OLDEST_OPSET = 7
# No domain comes near this; libraries keep versions in 32 bits.
NO_OPSET = 10**6


def load_file(source: File, inputs: Mapping[str, InputSpec] | None = None) -> Model:
    """Reads an ONNX model, checks it and runs it once.

    Args:
        source: path of a file, or a ``ModelProto``.
        inputs: shapes or arrays by input name, for what cannot be guessed.

    Raises:
        ModelError: the model cannot be read, checked or run.
        InputError: the given inputs do not fit, or none could be guessed.
    """
    if isinstance(source, onnx.ModelProto):
        outside = next((t.name for t in all_tensors(source.graph) if _is_outside(t)), None)
        if outside is not None:
            raise ModelError(
                f'Weight "{outside}" is external data, and a model in memory does not say of which '
                "folder. Give the file's path, or read it with its external data (onnx.load)."
            )
        return load_proto(source, model_sha256(source), "The model", dict(inputs or {}))
    proto, sha256 = read_model(source)
    return load_proto(proto, sha256, str(source), dict(inputs or {}))


def _is_outside(tensor: onnx.TensorProto) -> bool:
    return bool(uses_external_data(tensor)) and not is_deferred(tensor)


def load_proto(
    proto: onnx.ModelProto,
    sha256: str,
    label: str,
    given: dict[str, InputSpec],
    tied: frozenset[str] = frozenset(),
) -> Model:
    """Checks and runs a parsed model; see `load_file`."""
    model = _loaded(proto, sha256, label, given)
    model = dataclasses.replace(model, tied=tied, asked=bool(given))
    if model.proto is proto:
        return model
    # The proof runs the file that came in; large weights need not be held twice for that.
    there = {tensor.name for tensor in model.proto.graph.initializer}
    light, large = without_weights(proto)
    light.graph.initializer.extend(tensor for tensor in large if tensor.name not in there)
    return dataclasses.replace(model, given=light)


def _loaded(proto: onnx.ModelProto, sha256: str, label: str, given: dict[str, InputSpec]) -> Model:
    if proto.functions:
        # Sizes inside a function cannot follow one call's pruning; a copy per call can.
        proto = _inlined(proto, label)
    try:
        proto = densified(proto)
    except ModelError as error:
        raise ModelError(f"{label}: {error}") from error
    own = frozenset(name for name, spec in given.items() if is_array(spec))
    run = functools.partial(_run, sha256=sha256, label=label, own=own)
    model = run(proto, (), given=given)
    refused: frozenset[str] = frozenset()
    while True:  # a branch may hold further Ifs
        fixed = fixed_conditions(model)
        if fixed:
            model = run(take_branches(model.proto, fixed), model.forks, given=given)
            continue
        example: dict[str, InputSpec] = dict(model.example)
        again = functools.partial(run, given=example)
        opened, refused = open_where_possible(model, refused, again)
        if opened is model:
            return model
        model, given = opened, example


def _run(
    proto: onnx.ModelProto,
    forks: tuple[Fork, ...],
    *,
    sha256: str,
    label: str,
    given: dict[str, InputSpec],
    own: frozenset[str],
) -> Model:
    """Checks and runs a model; ``own`` are the inputs whose values the user gave."""
    try:
        graph = Graph.from_proto(proto)
    except ModelError as error:
        raise ModelError(f"{label}: {error}") from error
    newest = max((entry.version for entry in proto.opset_import), default=1)
    if newest >= NO_OPSET:
        raise ModelError(f"{label} asks for opset {newest}, which there is none of; it is damaged.")
    if graph.opset < OLDEST_OPSET:
        raise ModelError(
            f"{label} uses opset {graph.opset}; SPA reads opset {OLDEST_OPSET} and up. "
            "Convert it with onnx.version_converter."
        )
    _check(proto, graph, label)
    declared = declared_inputs(proto, graph)
    check_given(declared, given)
    try:
        observer = Observer(proto)
    except ModelError as error:
        raise ModelError(f"{label}: {error}") from error
    example, observed = _first_run(observer, graph, declared, given, label)
    varied = _second_run(observer, declared, example, own)
    return Model(proto, sha256, graph, example, observed, varied, tuple(declared), forks)


def _inlined(proto: onnx.ModelProto, label: str) -> onnx.ModelProto:
    try:
        return inlined(proto)
    except ModelError as error:
        raise ModelError(f"{label}: {error}") from error
    except (onnx.checker.ValidationError, EncodeError, RuntimeError, ValueError) as error:
        raise ModelError(
            f"{label}: its local functions cannot be inlined: {first_line(error)}"
        ) from error


def _check(proto: onnx.ModelProto, graph: Graph, label: str) -> None:
    unknown = _unknown_standard_ops(graph)
    for node in graph.nodes:
        if node.op in unknown:
            raise ModelError(
                f"{label}: operator {node} is in no ONNX operator set up to opset "
                f"{graph.opset}, and no runtime here knows it."
            )
    known = set(graph.initializers) | {v.name for v in proto.graph.input} | {""}
    for node in graph.nodes:
        for name in (*node.inputs, *node.captured):
            if name not in known:
                raise ModelError(
                    f'{label}: {node} reads "{name}", which is neither an input, nor an '
                    "initializer, nor made by an earlier node; the file is damaged or incomplete."
                )
        known.update(node.outputs)
    for name in graph.outputs:
        if name not in known:
            raise ModelError(f'{label}: output "{name}" is made by no node; the file is damaged.')
    if not graph.outputs:
        raise ModelError(f"{label} declares no output, so there is nothing to keep; add one.")
    for tensor in all_tensors(proto.graph):
        if tensor.HasField("segment"):
            raise ModelError(
                f'{label}: weight "{tensor.name}" is one segment of a tensor, which no runtime '
                "reads; store it whole."
            )
    problem = check(proto)
    if problem is not None:
        raise ModelError(f"{label} is not a valid ONNX model: {problem}")


def _unknown_standard_ops(graph: Graph) -> set[str]:
    unknown = set()
    for op in {node.op for node in graph.nodes if "::" not in node.op}:
        if not any(onnx.defs.has(op, domain) for domain in DEFAULT_DOMAINS[:1]):
            unknown.add(op)
    return unknown


def _first_run(
    observer: Observer,
    graph: Graph,
    declared: list[Declared],
    given: Mapping[str, InputSpec],
    label: str,
) -> tuple[dict[str, Array], Run]:
    failure: RunError | None = None
    in_time = _stopwatch()
    for feeds in candidates(declared, given, graph):
        try:
            return feeds, observer.run(feeds)
        except RunError as error:
            failure = failure or error
        if not in_time():
            break
    free = [d for d in declared if d.name not in given and None in d.dims]
    if free:
        hint = " ".join(f"--input {d.describe()}" for d in free)
        raise InputError(
            f"{label} ran on none of the example shapes that were tried ({failure}) "
            f"Give its free sizes, in this form with numbers for the question marks: {hint}"
        )
    raise RunError(f"{label}: {failure}") from failure


def _stopwatch() -> Callable[[], bool]:
    """Says whether trying sizes may go on: all tries together take as long as one run may."""
    end = time.monotonic() + execute.MAX_SECONDS
    return lambda: time.monotonic() < end


def _second_run(
    observer: Observer,
    declared: list[Declared],
    example: Mapping[str, Array],
    given: Collection[str],
) -> Run | None:
    """Another batch size, and other dynamic sizes where the model takes them: a check of reasoning.

    Where it does not take all of them at once, each is tried: text recognisers have one height, and
    any width. A number by itself may be a switch (a sample rate), of which the example has one
    position: it is turned, and left where the user put it only where the model takes no other.
    """
    in_time = _stopwatch()
    switches = {n for n in given if not np.ndim(example[n]) and example[n].dtype.kind in "iub"}
    for kept in (frozenset(given) - switches, *([given] if switches else [])):

        def attempt(growth: Growth, kept: Collection[str] = kept) -> Run | None:
            if not in_time():
                return None
            try:
                return observer.run(grown(example, growth, kept))
            except ModelError:
                return None

        found = _at_other_sizes(free_sizes(declared), example, attempt)
        if found is not None:
            return found
    return None


def _at_other_sizes(
    groups: list[list[FreeAxis]],
    example: Mapping[str, Array],
    attempt: Callable[[Growth], Run | None],
) -> Run | None:
    if not groups:
        return None
    for growth in growths(groups, example):
        run = attempt(list(zip(groups, growth, strict=True)))
        if run is not None:
            return run
    best: Run | None = None
    taken: list[tuple[list[FreeAxis], int]] = []
    for axes in groups:
        for (amount,) in growths([axes], example):
            run = attempt([*taken, (axes, amount)])
            if run is not None:
                best = run
                taken.append((axes, amount))
                break
    return best
