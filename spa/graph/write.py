"""Writing results so that a reader never sees half a file: temporary file, then rename."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx

from spa.errors import OutputError

# Above this protobuf cannot hold the weights, and they go to a file beside the model.
MAX_INLINE_BYTES = 2**31 - 2**20


def check_writable(path: str | Path) -> None:
    """Finds out before the work whether a result can be written there.

    Raises:
        OutputError: the path is a folder, or its folder is missing or read-only.
    """
    path = Path(path)
    if path.is_dir():
        raise OutputError(f"{path} is a folder; name the file to write.")
    if not path.parent.is_dir():
        raise OutputError(f"{path} cannot be written: the folder {path.parent} does not exist.")
    with _temporary(path):
        pass


def write_text(path: str | Path, text: str) -> None:
    """Writes a text file in one step.

    Raises:
        OutputError: it cannot be written.
    """
    with _temporary(Path(path)) as temporary:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)


def write_json(path: str | Path, document: Any) -> None:
    """Writes a JSON file in one step; see `write_text`."""
    write_text(path, json.dumps(document, indent=1) + "\n")


def write_model(path: str | Path, proto: onnx.ModelProto) -> None:
    """Writes a model in one step; over 2 GB its weights go to ``<name>.data`` beside it.

    The bytes are those whose sha256 SPA reports for the model.

    Raises:
        OutputError: it cannot be written.
    """
    path = Path(path)
    size = proto.ByteSize()
    with _temporary(path) as temporary:
        if size < MAX_INLINE_BYTES:
            temporary.write_bytes(proto.SerializeToString(deterministic=True))
        else:
            copy = onnx.ModelProto()
            copy.CopyFrom(proto)
            data = path.with_name(path.name + ".data")
            data.unlink(missing_ok=True)
            onnx.save_model(copy, str(temporary), save_as_external_data=True, location=data.name)
        os.replace(temporary, path)


@contextlib.contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """A temporary file in the target's folder, gone afterwards unless it was renamed."""
    name = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        # Temporary files are private; what a user writes follows the umask.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(handle, 0o666 & ~umask)
        os.close(handle)
        yield Path(name)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        if name is not None:
            Path(name).unlink(missing_ok=True)
