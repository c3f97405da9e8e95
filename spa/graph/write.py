"""Writing results so that a reader never sees half a file, or files that do not belong together.

Over 2 GB a model's weights lie beside it. They never replace a file that is there: the new model
names the new file, takes the old model's place in one step, and only then what the old one alone
has read goes. So whenever the process ends, the old model is there with its weights, or the new.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import onnx

from spa.errors import ModelError, OutputError
from spa.graph.deferred import is_deferred
from spa.graph.pieces import pieces, raw
from spa.graph.placing import check_writable, placing, real, told
from spa.graph.read import all_tensors, external_files
from spa.graph.weightless import byte_size, copy_lacking

__all__ = ["check_writable", "save", "write_json", "write_model", "write_text"]

# Above this protobuf cannot hold the weights, and they go to a file beside the model.
MAX_INLINE_BYTES = 2**31 - 2**20
# What has fewer elements stays in the model's own file: shapes, axes, scales.
SMALL_TENSOR = 256
# External weights start at multiples of this, so that runtimes can map them into memory.
ALIGNMENT = 4096


def write_text(path: str | Path, text: str) -> None:
    """Writes a text file in one step.

    Raises:
        OutputError: it cannot be written.
    """
    with placing() as files:
        temporary = files.add(path)
        with told(path):
            temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, document: Any) -> None:
    """Writes a JSON file in one step; see `write_text`."""
    write_text(path, as_json(document))


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
    old = _weights_of(path)
    with placing() as files:
        main = files.add(path)
        for where, document in (documents or {}).items():
            temporary = files.add(where)
            with told(where):
                temporary.write_text(as_json(document), encoding="utf-8")
        if byte_size(proto) >= MAX_INLINE_BYTES:
            data = _free_place(path)
            temporary = files.add(data)
            with told(data):
                proto = _move_weights(proto, temporary, data.name)
        with told(path):
            parts = pieces(proto)
            main.write_bytes(next(parts))
            with main.open("ab") as stream:
                stream.writelines(parts)
    for file in old:
        if not _is_read_by_others(file, but=real(path)):
            file.unlink(missing_ok=True)


def save(proto: onnx.ModelProto, path: str | Path) -> None:
    """Writes a model, as `onnx.save` does, whatever its size.

    A model that was read from more than 256 MiB of external data does not hold its weights;
    `onnx.save` cannot write it.

    Raises:
        OutputError: it cannot be written, or is no ``ModelProto``.
    """
    if not isinstance(proto, onnx.ModelProto):
        raise OutputError(
            f"spa.save writes an ONNX model, such as result.model; a {type(proto).__name__} was "
            "given. A torch module's weights are saved by torch.save(module.state_dict(), path)."
        )
    if Path(path).suffix.lower() in FOREIGN:
        raise OutputError(f"spa.save writes ONNX; name a file that ends in .onnx, not {path}.")
    write_model(path, proto)


# Endings that promise another format than ONNX.
FOREIGN = frozenset({
    ".ckpt", ".csv", ".engine", ".h5", ".hdf5", ".joblib", ".json", ".keras", ".mlmodel",
    ".msgpack", ".npy", ".npz", ".ort", ".params", ".pb", ".pkl", ".pt", ".pt2", ".pth",
    ".safetensors", ".tflite", ".torchscript", ".txt", ".yaml", ".yml", ".zip",
})  # fmt: skip


def as_json(document: Any) -> str:
    """The text of a JSON file."""
    return json.dumps(document, indent=1) + "\n"


def _free_place(path: str | Path) -> Path:
    """A name for weights beside a model's file that nothing has: ``<name>.data`` if it is free.

    Beside the file itself where ``path`` is a link to it: there runtimes and readers look.
    """
    target = real(path)
    number, place = 0, target.with_name(f"{target.name}.data")
    while os.path.lexists(place):
        number += 1
        place = target.with_name(f"{target.name}.{number}.data")
    return place


def _weights_of(path: str | Path) -> list[Path]:
    """Weights that `write_model` put beside the model that a file holds now."""
    target = real(path)
    name = re.compile(rf"{re.escape(target.name)}(\.[0-9]+)?\.data")
    try:
        files = external_files(target) if target.is_file() else []
    except (ModelError, OSError, ValueError):  # no model at all
        return []
    return [f for f in files if f.parent == target.parent and name.fullmatch(f.name)]


def _is_read_by_others(file: Path, but: Path) -> bool:
    """Whether another model in a file's folder names it: copies of a model share its weights."""
    name = os.fsencode(file.name)
    for other in file.parent.iterdir():
        if other == but or other.suffix.lower() != ".onnx":
            continue
        try:
            with (
                other.open("rb") as stream,
                mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as view,
            ):
                if view.find(name) >= 0:
                    return True
        except ValueError:  # an empty file
            continue
        except OSError:  # one that cannot be read may read it
            return True
    return False


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
