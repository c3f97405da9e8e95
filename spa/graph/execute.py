"""Running models on ONNX Runtime, silently, and within this machine's memory and some time."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from spa.errors import ModelError, RunError
from spa.graph.deferred import array_of
from spa.graph.nodes import names_read
from spa.graph.read import first_line
from spa.graph.runnable import deadly_rewrites, make_runnable
from spa.graph.stages import Stage, is_long, stages
from spa.graph.weightless import without_weights

Array = npt.NDArray[Any]

# Where in its own source ONNX Runtime found a fault: file, line and signature.
_PLACE = re.compile(r"^\S*\.(?:cc|h):\d+ (?:[\w:~<>]+\(.*?\)(?: const)? )?")

# Largest share of this machine's memory that a run may take for its tensors.
MEMORY_SHARE = 0.8
# Longest time that one run on an example may take; a Loop may never end.
MAX_SECONDS = 120.0

# The execution provider that is always there.
CPU = "CPUExecutionProvider"

ort.set_default_logger_severity(4)


def session(
    proto: onnx.ModelProto,
    weights: Sequence[onnx.TensorProto] = (),
    *,
    also: Sequence[str] = (),
    optimize: bool = True,
    threads: int = 0,
    once: bool = False,
    in_order: bool = False,
    provider: str = CPU,
    profile: str = "",
) -> ort.InferenceSession:
    """Makes a silent session.

    Args:
        proto: the model; it is not changed.
        weights: large initializers that it lacks (`spa.graph.weightless`).
        also: further tensors that become outputs, behind the model's own.
        optimize: let ONNX Runtime rewrite the graph, as it does for users.
        threads: intra-op threads; 0 takes all cores.
        once: the session is for a run or two, so weights are not laid out anew for speed.
        in_order: run the nodes in the order of the file.
        provider: ONNX Runtime's execution provider.
        profile: where a profile of the nodes goes: the beginning of a file's name.

    Raises:
        ModelError: ONNX Runtime refuses the model.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    if not threads:
        # Threads that wait in a loop for a node's work take the cores from what else runs: a third
        # of the time of small models. Where threads are asked for, it is time that is measured.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
    if profile:
        options.enable_profiling = True
        options.profile_file_prefix = profile
    if in_order:
        options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
    if once:
        options.add_session_config_entry("session.disable_prepacking", "1")
        if _bound_memory():
            options.add_session_config_entry("session.use_env_allocators", "1")
    light, large = without_weights(proto)
    make_runnable(light)
    light.graph.output.extend(onnx.ValueInfoProto(name=name) for name in also)
    # ONNX Runtime drops what nothing reads, and then misses it; but not what is listed as an input.
    read = names_read(light.graph).union(value.name for value in light.graph.input)
    large = [tensor for tensor in (*large, *weights) if tensor.name in read]
    # Large weights are handed over as they lie in memory, not as part of the serialised file.
    for tensor in large:
        stub = light.graph.initializer.add(
            name=tensor.name,
            data_type=tensor.data_type,
            dims=tensor.dims,
            data_location=onnx.TensorProto.EXTERNAL,
        )
        stub.external_data.add(key="location", value="in memory")
    try:
        if large:
            arrays = [np.ascontiguousarray(array_of(tensor)) for tensor in large]
            values = [
                ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array, tensor.data_type)
                for array, tensor in zip(arrays, large, strict=True)
            ]
            options.add_external_initializers([tensor.name for tensor in large], values)
        return ort.InferenceSession(
            light.SerializeToString(),
            options,
            providers=list(dict.fromkeys((provider, CPU))),
            disabled_optimizers=deadly_rewrites(light),
        )
    except Exception as error:  # ONNX Runtime's exceptions share no base but Exception.
        raise ModelError(f"ONNX Runtime cannot load the model: {_clean(error)}") from error


@functools.cache
def _bound_memory() -> bool:
    """Gives ONNX Runtime, once, an allocator that refuses what this machine does not have.

    A few bytes of a file can ask for a tensor larger than any memory; the system would end the
    process in the midst of filling it. Says whether that worked (a program that uses this library
    may have set up an allocator of its own).
    """
    try:
        limit = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * MEMORY_SHARE
        where = ort.OrtMemoryInfo(
            "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
        )
        # 1: grow by what is asked for, not in powers of two.
        settings = ort.OrtArenaCfg({"max_mem": int(limit), "arena_extend_strategy": 1})
        ort.create_and_register_allocator(where, settings)
    except Exception:  # ONNX Runtime's exceptions share no base but Exception.
        return False
    return True


def run(
    proto: onnx.ModelProto,
    feeds: Mapping[str, Array],
    *,
    also: Sequence[str] = (),
    weights: Sequence[onnx.TensorProto] = (),
    optimize: bool = True,
) -> list[Array]:
    """Runs a model and returns its outputs in order.

    Args:
        proto: the model; it is not changed.
        feeds: its inputs by name.
        also: further tensors to return behind the outputs.
        weights: see `session`.
        optimize: see `session`.

    Raises:
        ModelError: the model cannot be loaded, or takes too long.
        RunError: it cannot be run on these inputs.
    """
    (outputs,) = run_each(proto, [feeds], also=also, weights=weights, optimize=optimize)
    return outputs


def run_each(
    proto: onnx.ModelProto,
    examples: Sequence[Mapping[str, Array]],
    *,
    also: Sequence[str] = (),
    weights: Sequence[onnx.TensorProto] = (),
    optimize: bool = True,
    only: Sequence[Collection[str]] = (),
) -> list[list[Array]]:
    """As `run`, on several examples: loading the weights costs more than running them.

    ``only`` says of each example which tensors are given, in their order; all where it is empty.
    """
    if is_long(proto, weights):
        wanted = [*(value.name for value in proto.graph.output), *also]
        inputs = [
            {name: ort.OrtValue.ortvalue_from_numpy(value) for name, value in feeds.items()}
            for feeds in examples
        ]
        found, _owners = run_in_stages(
            proto, inputs, wanted, weights=weights, optimize=optimize, only=only
        )
        return [[value.numpy().copy() for value in values] for values in found]
    runner = session(proto, weights, also=also, optimize=optimize, once=True)
    names = [output.name for output in runner.get_outputs()]
    return [
        _copied(bounded(functools.partial(runner.run, given, dict(feeds))))
        for feeds, given in zip(examples, each_of(names, only, len(examples)), strict=True)
    ]


def each_of(names: Sequence[str], only: Sequence[Collection[str]], count: int) -> list[list[str]]:
    """Which of some tensors are given, of so many examples each; all where ``only`` is empty."""
    return [[n for n in names if n in some] for some in only] if only else [list(names)] * count


def _copied(outputs: Sequence[Any]) -> list[Any]:
    """An output that is a weight belongs to the session, and would be lost with it."""
    return [value.copy() if isinstance(value, np.ndarray) else value for value in outputs]


def run_in_stages(
    proto: onnx.ModelProto,
    inputs: Sequence[Mapping[str, ort.OrtValue]],
    wanted: Sequence[str],
    *,
    weights: Sequence[onnx.TensorProto] = (),
    optimize: bool = True,
    in_order: bool = False,
    only: Sequence[Collection[str]] = (),
) -> tuple[list[list[ort.OrtValue]], list[ort.InferenceSession]]:
    """Runs a model stage by stage, with the weights of one stage at a time (`spa.graph.stages`).

    All examples pass a stage before the next one's weights are read.

    Args:
        proto: the model; it is not changed.
        inputs: of each example, its inputs by name.
        wanted: tensors to return.
        weights: see `session`.
        optimize: see `session`; rewrites do not cross from one stage to another.
        in_order: see `session`.
        only: see `run_each`; what is not given of an example is held no longer than needed.

    Returns:
        The tensors of each example, and the sessions, which may own some of them.

    Raises:
        ModelError: as in `run`.
    """
    owners: list[ort.InferenceSession] = []
    known = [dict(feeds) for feeds in inputs]
    light, large = without_weights(proto)
    given_out = each_of(wanted, only, len(inputs))
    parts = stages(light, [*large, *weights], wanted)
    last_taken = {name: i for i, stage in enumerate(parts) for name in stage.takes}
    for i, stage in enumerate(parts):
        if stage.gives:
            types = {name: known[0][name].element_type() for name in stage.takes}
            model = stage.model(light, types)
            owners.append(session(model, optimize=optimize, once=True, in_order=in_order))
            own = _weights_of(stage)
            for values in known:
                feeds = {name: values[name] for name in stage.inputs(light, values)}
                given = fetch(owners[-1], stage.gives, {**feeds, **own})
                values.update(zip(stage.gives, given, strict=True))
            del own
        for name in stage.last:
            for values in known:
                values.pop(name, None)
        for values, names in zip(known, given_out, strict=True):
            for name in set(wanted).intersection(values).difference(names):
                if last_taken.get(name, -1) <= i:
                    del values[name]
    for tensor in (*light.graph.initializer, *large):
        if tensor.name in wanted and tensor.name not in known[0]:
            value = ort.OrtValue.ortvalue_from_numpy(array_of(tensor))
            for values in known:
                values[tensor.name] = value
    return [
        [values[name] for name in names] for values, names in zip(known, given_out, strict=True)
    ], owners


def _weights_of(stage: Stage) -> dict[str, ort.OrtValue]:
    return {
        tensor.name: ort.OrtValue.ortvalue_from_numpy_with_onnx_type(
            np.ascontiguousarray(array_of(tensor)), tensor.data_type
        )
        for tensor in stage.weights
    }


def fetch(
    runner: ort.InferenceSession, names: Sequence[str], feeds: Mapping[str, ort.OrtValue]
) -> list[ort.OrtValue]:
    """Runs a session within limits, and gives its outputs as ONNX Runtime has them.

    Raises:
        ModelError: as in `run`.
    """
    values: list[ort.OrtValue] = bounded(
        lambda options: runner.run_with_ort_values(list(names), dict(feeds), options)
    )
    return values


def run_session(runner: ort.InferenceSession, feeds: Mapping[str, Array]) -> list[Array]:
    """Runs a session that is there already, as fast as it goes; errors as in `run`."""
    try:
        outputs: list[Array] = runner.run(None, dict(feeds))
    except Exception as error:  # ONNX Runtime's exceptions share no base but Exception.
        raise RunError(f"ONNX Runtime cannot run the model: {_clean(error)}") from error
    return outputs


def bounded(call: Callable[[ort.RunOptions], Any]) -> Any:
    """Makes a call that runs a model; ends it when it takes too long, or on Ctrl-C.

    Python sees no signal while ONNX Runtime works, so that works in a thread of its own.
    """
    options = ort.RunOptions()
    # The bounded allocator serves all sessions: memory goes back after a run, not with a session.
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    with ThreadPoolExecutor(max_workers=1) as pool:
        future = pool.submit(call, options)
        try:
            done, _ = wait([future], timeout=MAX_SECONDS)
        finally:
            options.terminate = not future.done()
    if not done:
        raise ModelError(
            f"The model did not finish one run on its example inputs within {MAX_SECONDS:g} s. "
            "Give smaller inputs, or look for a Loop that does not end."
        )
    try:
        return future.result()
    except Exception as error:  # ONNX Runtime's exceptions share no base but Exception.
        raise RunError(f"ONNX Runtime cannot run the model: {_clean(error)}") from error


def _clean(error: Exception) -> str:
    """ONNX Runtime's own sentence without its source paths and codes."""
    text = first_line(error)
    for mark in ("Status Message: ", " : FAIL : ", "INVALID_ARGUMENT : ", "INVALID_GRAPH : "):
        text = text.rpartition(mark)[2]
    return _PLACE.sub("", text)[:400]
