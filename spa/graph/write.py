"""Writing results so that a reader never sees half a file: temporary files, then renames.

Several files of one result are all written before the first of them is renamed, so a full disk or
an interruption leaves what was there before.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import onnx
from google.protobuf.message import EncodeError

from spa.errors import OutputError
from spa.graph.deferred import is_deferred
from spa.graph.pieces import pieces, raw
from spa.graph.read import all_tensors
from spa.graph.weightless import byte_size, copy_lacking

# Above this protobuf cannot hold the weights, and they go to a file beside the model.
MAX_INLINE_BYTES = 2**31 - 2**20
# What has fewer elements stays in the model's own file: shapes, axes, scales.
SMALL_TENSOR = 256
# External weights start at multiples of this, so that runtimes can map them into memory.
ALIGNMENT = 4096


def check_writable(path: str | Path) -> None:
    """Finds out before the work whether a result can be written there.

    Raises:
        OutputError: the path is a folder or a device, or its folder is missing or read-only.
    """
    with _temporary(Path(path)):
        pass


def write_text(path: str | Path, text: str) -> None:
    """Writes a text file in one step.

    Raises:
        OutputError: it cannot be written.
    """
    with _replacing(Path(path)) as temporary, _told(path):
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, document: Any) -> None:
    """Writes a JSON file in one step; see `write_text`."""
    write_text(path, _json(document))


def write_model(
    path: str | Path, proto: onnx.ModelProto, documents: Mapping[str | Path, Any] | None = None
) -> None:
    """Writes a model in one step; over 2 GB its weights go to ``<name>.data`` beside it.

    Up to 2 GB, the bytes are those whose sha256 SPA reports for the model.

    Args:
        path: the file.
        proto: the model.
        documents: JSON files that belong to it, by path; all files appear, or none.

    Raises:
        OutputError: it cannot be written.
    """
    path = Path(path)
    with contextlib.ExitStack() as stack:
        # The last one entered is renamed first: the model appears when all else is there.
        main = stack.enter_context(_replacing(path))
        if byte_size(proto) >= MAX_INLINE_BYTES:
            data = path.with_name(path.name + ".data")
            file = stack.enter_context(_replacing(data))
            with _told(data):
                proto = _move_weights(proto, file, data.name)
        for where, document in (documents or {}).items():
            file = stack.enter_context(_replacing(Path(where)))
            with _told(where):
                file.write_text(_json(document), encoding="utf-8")
        with _told(path):
            parts = pieces(proto)
            main.write_bytes(next(parts))
            with main.open("ab") as stream:
                stream.writelines(parts)


def save(proto: onnx.ModelProto, path: str | Path) -> None:
    """Writes a model, as `onnx.save` does, whatever its size.

    A model that was read from more than 256 MiB of external data does not hold its weights;
    `onnx.save` cannot write it.

    Raises:
        OutputError: it cannot be written.
    """
    write_model(path, proto)


def _json(document: Any) -> str:
    return json.dumps(document, indent=1) + "\n"


def _move_weights(proto: onnx.ModelProto, data: Path, location: str) -> onnx.ModelProto:
    """Writes the weights to a file and returns a copy of the model that refers to it."""
    moved = {tensor.name for tensor in proto.graph.initializer if _is_moved(tensor)}
    copy = copy_lacking(proto, moved)
    with data.open("wb") as file:
        for old, new in zip(proto.graph.initializer, copy.graph.initializer, strict=True):
            if old.name in moved:
                new.dims.extend(old.dims)
                new.data_type = old.data_type
                new.doc_string = old.doc_string
                _move(old, new, file, location)
        for tensor in all_tensors(copy.graph):  # those of attributes and of subgraphs
            if _is_moved(tensor):
                _move(tensor, tensor, file, location)
    return copy


def _is_moved(tensor: onnx.TensorProto) -> bool:
    there = tensor.HasField("raw_data") or is_deferred(tensor)
    return there and math.prod(tensor.dims) >= SMALL_TENSOR


def _move(old: onnx.TensorProto, new: onnx.TensorProto, file: BinaryIO, location: str) -> None:
    file.seek(-file.tell() % ALIGNMENT, os.SEEK_CUR)
    offset, length = file.tell(), file.write(raw(old))
    new.ClearField("raw_data")
    del new.external_data[:]
    new.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        new.external_data.add(key=key, value=str(value))


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary file that takes the target's place once the block has ended well."""
    with _temporary(path) as temporary:
        yield temporary
        with _told(path):
            os.replace(temporary, _real(path))


@contextlib.contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """A temporary file in the target's folder, gone afterwards unless it was renamed."""
    with _told(path):
        target = _real(path)
        if target.is_dir():
            raise OutputError(f"{path} is a folder; name the file to write.")
        if target.exists() and not target.is_file():
            raise OutputError(f"{path} is a device or pipe; name a file to write.")
        if not target.parent.is_dir():
            raise OutputError(f"{path} cannot be written: there is no folder {target.parent}.")
        if target.exists() and not os.access(target, os.W_OK):
            raise OutputError(f"{path} cannot be written: the file is read-only.")
        # The name says nothing of the target's, which may be as long as names can be.
        handle, name = tempfile.mkstemp(prefix=".spa-", suffix=".tmp", dir=target.parent)
    try:
        # Temporary files are private; what a user writes follows the umask.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(handle, 0o666 & ~umask)
        os.close(handle)
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


@contextlib.contextmanager
def _told(path: str | Path) -> Iterator[None]:
    """Says which file an error of the system, or of protobuf, is about."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error
    except (EncodeError, ValueError) as error:
        raise OutputError(f"{path} cannot be written: {error}.") from error


def _real(path: Path) -> Path:
    """Where the bytes go: a link's target is replaced, not the link."""
    return Path(os.path.realpath(path))
