"""Reading a model file that may be hostile: every way it can be bad ends in one clear message."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError, EncodeError
from onnx.external_data_helper import load_external_data_for_tensor, uses_external_data

from spa.errors import ModelError
from spa.graph.deferred import defer, dtype_of, size_of
from spa.graph.file_range import FileRange, stamp
from spa.graph.nodes import subgraphs
from spa.graph.pieces import pieces, raw
from spa.graph.placing import settle
from spa.graph.skim import skim
from spa.graph.weightless import byte_size, is_handed_over, without_weights

# Protobuf itself refuses more; larger models keep their weights in external files.
MAX_PROTO_BYTES = 2**31 - 1
MAX_EXTERNAL_BYTES = 64 * 2**30
# Weights beyond this, in the file or beside it, are read when they are needed: held, they lie in
# memory several times over.
MAX_HELD_BYTES = 2**28


def read_model(path: str | Path) -> tuple[onnx.ModelProto, str]:
    """Reads an ONNX file and its external data.

    Large external data stay in their file, and are read from there weight by weight when they are
    needed (`spa.graph.deferred`); so do the weights of a large file.

    Args:
        path: the file; external data may lie only in the file's own folder or below.

    Returns:
        The model and the sha256 of the file.

    Raises:
        ModelError: the file is missing, a folder, empty, not ONNX, truncated, or points outside.
    """
    path = Path(path)
    _check_path(path)
    try:
        large = path.stat().st_size > MAX_HELD_BYTES
        skimmed = skim(path) if large else None
        data = path.read_bytes() if skimmed is None else skimmed.data
        digest, status = hashlib.sha256(b"" if skimmed else data), stamp(path.stat())
        if skimmed is not None:
            with path.open("rb") as file:
                status = stamp(os.fstat(file.fileno()))
                digest = hashlib.file_digest(file, "sha256")
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.") from error
    proto = parse_model(data, str(path))
    _load_external(proto, path)
    for number, (start, size) in (skimmed.places if skimmed else {}).items():
        _defer_inside(proto.graph.initializer[number], path, start, size, status)
    return proto, digest.hexdigest()


def _defer_inside(
    tensor: onnx.TensorProto, path: Path, start: int, size: int, status: tuple[int, ...]
) -> None:
    """Gives a weight that was left out its place in the file, or its bytes."""
    if is_handed_over(tensor):
        problem = wrong_size(tensor, size)
        if problem is not None:
            raise ModelError(f"{path} is not a valid ONNX model: {problem}")
        source = FileRange(path, start, dtype_of(tensor), tuple(tensor.dims), status)
        tensor.CopyFrom(defer(tensor.name, tensor.data_type, tensor.dims, source))
        return
    with path.open("rb") as file:
        file.seek(start)
        tensor.raw_data = file.read(size)


def parse_model(data: bytes, label: str) -> onnx.ModelProto:
    """Parses the bytes of an ONNX file; ``label`` names it in messages."""
    if not data:
        raise ModelError(f"{label} is empty (0 bytes); an ONNX model is needed.")
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError as error:
        raise ModelError(
            f"{label} is not an ONNX model, or is truncated: its {len(data)} bytes do not parse."
        ) from error
    if not proto.graph.node and not proto.graph.output:
        raise ModelError(f"{label} is not an ONNX model: it holds no graph ({len(data)} bytes).")
    if not all(isinstance(name, str) for name in names_in(proto.graph)):
        # Protobuf then gives bytes where text is promised.
        raise ModelError(f"{label} is damaged: a name in its graph is not valid UTF-8.")
    return proto


def free_name(stem: str, names: set[str]) -> str:
    """A name that is not among some names, to which it is added."""
    name, number = stem, 0
    while name in names:
        number += 1
        name = f"{stem}_{number}"
    names.add(name)
    return name


def names_in(graph: onnx.GraphProto) -> Iterator[str]:
    """Every name that a graph and its subgraphs are held together by."""
    for named in (graph.input, graph.output, graph.value_info, graph.initializer):
        yield from (value.name for value in named)
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        for attribute in node.attribute:
            yield attribute.name
            for sub in subgraphs(attribute):
                yield from names_in(sub)


def model_sha256(proto: onnx.ModelProto) -> str:
    """Hash of a model that did not come from a file: that of the file it would make.

    Over 2 GB, that of its graph and of the large weights' names and bytes, one after another.
    """
    digest = hashlib.sha256()
    try:
        if byte_size(proto) <= MAX_PROTO_BYTES:
            for piece in pieces(proto):
                digest.update(piece)
            return digest.hexdigest()
        light, large = without_weights(proto)
        digest.update(light.SerializeToString(deterministic=True))
        for tensor in large:
            digest.update(tensor.name.encode())
            digest.update(raw(tensor))
        return digest.hexdigest()
    except (EncodeError, ValueError) as error:
        raise ModelError(f"The model cannot be serialised: {error}") from error


def external_files(path: str | Path) -> list[Path]:
    """The files beside a readable model that hold its weights."""
    path = Path(path)
    _check_path(path)
    large = path.stat().st_size > MAX_HELD_BYTES
    skimmed = skim(path) if large else None
    data = _read_bytes(path) if skimmed is None else skimmed.data
    tensors = filter(uses_external_data, _model_tensors(parse_model(data, str(path))))
    folder = path.resolve().parent
    return sorted({(folder / _location(tensor)).resolve() for tensor in tensors})


def _location(tensor: onnx.TensorProto) -> str:
    return next((entry.value for entry in tensor.external_data if entry.key == "location"), "")


def _read_bytes(path: Path) -> bytes:
    _check_path(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.") from error


def _check_path(path: Path) -> None:
    settle(path)
    try:
        if path.is_dir():
            raise ModelError(f"{path} is a folder; name the .onnx file in it.")
        if not path.exists():
            raise ModelError(f"{path} does not exist.")
        if not path.is_file():
            raise ModelError(f"{path} is a device or pipe, not a file.")
        size = path.stat().st_size
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.") from error
    if size > MAX_PROTO_BYTES:
        raise ModelError(
            f"{path} has {size} bytes; a single ONNX file can have {MAX_PROTO_BYTES} at most. "
            "Save it with its weights as external data."
        )


def _load_external(proto: onnx.ModelProto, path: Path) -> None:
    folder = path.resolve().parent
    external = [tensor for tensor in _model_tensors(proto) if uses_external_data(tensor)]
    if not external:
        return
    total = 0
    for tensor in external:
        location = _location(tensor)
        try:
            target = (folder / location).resolve()
            there = target.is_file()
        except (OSError, ValueError) as error:
            raise ModelError(
                f'{path}: weight "{tensor.name}" names no file as its external data: '
                f"{location[:80]!r}."
            ) from error
        if not location or Path(location).is_absolute() or not target.is_relative_to(folder):
            raise ModelError(
                f'{path}: weight "{tensor.name}" points to external data at "{location}", outside '
                "the model's folder; SPA reads external data only inside it. Move the file there."
            )
        if not there:
            raise ModelError(
                f'{path}: external data file "{location}" of weight "{tensor.name}" is missing.'
            )
        total += _place(tensor, path)[1] or target.stat().st_size
        if total > MAX_EXTERNAL_BYTES:
            raise ModelError(f"{path}: its external data exceeds {MAX_EXTERNAL_BYTES} bytes.")
    count = len(proto.graph.initializer) if total > MAX_HELD_BYTES else 0
    try:
        for i, tensor in enumerate(_model_tensors(proto)):
            if not uses_external_data(tensor):
                continue
            if i < count and is_handed_over(tensor):
                tensor.CopyFrom(_deferred(tensor, folder, path))
            else:
                load_external_data_for_tensor(tensor, str(folder))
                tensor.ClearField("data_location")
                del tensor.external_data[:]
    except (onnx.checker.ValidationError, OSError, ValueError) as error:
        raise ModelError(
            f"{path}: its external data cannot be read: {first_line(error)}"
        ) from error


def _deferred(tensor: onnx.TensorProto, folder: Path, path: Path) -> onnx.TensorProto:
    """A tensor that is read from its file whenever it is needed."""
    file = (folder / _location(tensor)).resolve()
    status = file.stat()
    offset, length = _place(tensor, path)
    have = min(length or status.st_size, status.st_size - offset)
    problem = wrong_size(tensor, max(0, have))
    if problem is not None:
        raise ModelError(f"{path} is not a valid ONNX model: {problem}")
    source = FileRange(file, offset, dtype_of(tensor), tuple(tensor.dims), stamp(status))
    return defer(tensor.name, tensor.data_type, tensor.dims, source)


def wrong_size(tensor: onnx.TensorProto, have: int) -> str | None:
    """Says when a tensor's bytes are not what its type and shape need."""
    need = size_of(tensor)
    if have == need:
        return None
    return (
        f'initializer "{tensor.name}" of shape {list(tensor.dims)} needs {need} bytes, but '
        f"has {have}"
    )


def _place(tensor: onnx.TensorProto, path: Path) -> tuple[int, int]:
    """Where a weight's external data begin, and their bytes; 0 where they go on to the end."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    numbers = [entries.get(key) or "0" for key in ("offset", "length")]
    if not all(number.isdecimal() and len(number) < 19 for number in numbers):
        raise ModelError(
            f'{path}: weight "{tensor.name}" has no valid place in its external data (offset '
            f"{numbers[0][:40]!r}, length {numbers[1][:40]!r})."
        )
    return int(numbers[0]), int(numbers[1])


def _model_tensors(proto: onnx.ModelProto) -> list[onnx.TensorProto]:
    tensors = all_tensors(proto.graph)
    for function in proto.functions:
        tensors += all_tensors(onnx.GraphProto(node=function.node))
    return tensors


def all_tensors(graph: onnx.GraphProto) -> list[onnx.TensorProto]:
    """Every tensor that a graph holds: its initializers, then those of attributes and subgraphs."""
    tensors = list(graph.initializer)
    sparse = list(graph.sparse_initializer)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                tensors.append(attribute.t)
            tensors.extend(attribute.tensors)
            if attribute.HasField("sparse_tensor"):
                sparse.append(attribute.sparse_tensor)
            sparse.extend(attribute.sparse_tensors)
            for sub in subgraphs(attribute):
                tensors.extend(all_tensors(sub))
    for entry in sparse:
        tensors += [entry.values, entry.indices]
    return tensors


def first_line(error: BaseException) -> str:
    """The first line that says something, for one-paragraph messages."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
