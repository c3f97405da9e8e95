"""Options that several sub-commands share."""

from __future__ import annotations

import argparse
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spa.errors import InputError, SettingError
from spa.frameworks import FRAMEWORKS
from spa.graph.model import Array
from spa.graph.read import first_line
from spa.observe.data import NOISE, Given

_FORM = (
    "an .npz file with arrays x (inputs, the first axis is the batch) and y (integer labels, one "
    "per input) is needed."
)
_DIGITS = re.compile("[0-9]{1,18}")


def add_model(
    parser: argparse.ArgumentParser, name: str = "model", text: str = "the ONNX file"
) -> None:
    """The model, and shapes for inputs that cannot be guessed."""
    parser.add_argument(name, metavar=f"{name.upper()}.onnx", help=text)
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME=2x3x224x224",
        help="shape of an example input, where it cannot be guessed; may be repeated",
    )


def add_code(parser: argparse.ArgumentParser) -> None:
    """``--code``, which some models of frameworks need."""
    parser.add_argument(
        "--code",
        action="append",
        default=[],
        metavar="FILE.py",
        help="a file or module that builds the model or has its layers, and may be run; repeatable",
    )


def add_trust(parser: argparse.ArgumentParser) -> None:
    """``--trust``, for graphs that do more than compute."""
    parser.add_argument(
        "--trust",
        action="store_true",
        help="run a saved model's graph even if it writes files or runs code",
    )


def add_framework(parser: argparse.ArgumentParser) -> None:
    """``--framework``, for models that are code, or have a name that says nothing."""
    parser.add_argument(
        "--framework", choices=sorted(FRAMEWORKS), help="whose model it is, where it is in doubt"
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """``--json``, which every command takes."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def parse_inputs(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Reads ``name=2x3x224x224``.

    Raises:
        InputError: the text has another form.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for text in texts:
        name, _, sizes = text.rpartition("=")
        parts = sizes.lower().split("x") if sizes else []
        # Eighteen digits fit every integer type that a size may meet on its way.
        if not name or not all(_DIGITS.fullmatch(part) for part in parts):
            raise InputError(
                f'--input "{text}" is not of the form name=2x3x224x224 (sizes joined by x).'
            )
        if name in shapes:
            raise InputError(f'--input gives a shape for "{name}" twice.')
        shapes[name] = tuple(int(part) for part in parts)
    return shapes


def parse_shapes(texts: Sequence[str]) -> list[tuple[int, ...]]:
    """Reads ``3x224x224``.

    Raises:
        InputError: the text has another form.
    """
    return [parse_inputs([f"shape={text}"])["shape"] for text in texts]


def read_labelled(option: str, path: str | None) -> tuple[Array, Array] | None:
    """Arrays x (N, ...) of numbers and y (N,) of integers, of the file that an option names.

    Raises:
        SettingError: it cannot be read, or holds something else.
    """
    if path is None:
        return None
    arrays = _arrays(option, path, ("x", "y"))
    x, y = arrays["x"], arrays["y"]
    if x.ndim < 1 or y.shape != x.shape[:1] or not y.size:
        raise SettingError(f"{option} {path} has x of {x.shape} and y of {y.shape}; {_FORM}")
    if y.dtype.kind not in "iu":
        raise SettingError(f"{option} {path} has x of {x.dtype} and y of {y.dtype}; {_FORM}")
    return x, y


def read_data(option: str, text: str | None) -> Given | None:
    """Samples for criteria: noise by its name, or a file's arrays.

    A file holds x, or arrays by the names of the model's inputs; and y, the targets, if the
    criterion wants them.

    Raises:
        SettingError: the file cannot be read, or holds something else than numbers.
    """
    if text is None or text in NOISE:
        return text
    arrays = _arrays(option, text)
    targets = arrays.pop("y", None)
    if not arrays:
        raise SettingError(f"{option} {text} holds no inputs; {_FORM}")
    inputs = arrays["x"] if set(arrays) == {"x"} else arrays
    return inputs if targets is None else (inputs, targets)


def _check_archive(option: str, path: Path) -> None:
    """Refuses what is no file, and an archive that unpacks to more than this machine has free.

    Raises:
        SettingError: saying how much that is.
    """
    if path.exists() and not path.is_file():
        raise SettingError(f"{option} {path} is a folder, device or pipe; {_FORM}")
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return  # reading it says what is wrong
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size > free:
        raise SettingError(
            f"{option} {path} has {path.stat().st_size:,} bytes and unpacks to {size:,}; this "
            f"machine has {free:,} free. Give fewer samples."
        )


def _arrays(option: str, path: str, names: Sequence[str] | None = None) -> dict[str, Array]:
    """A file's arrays by name, or some of them: finite numbers.

    Raises:
        SettingError: it cannot be read, or holds something else.
    """
    _check_archive(option, Path(path))
    try:
        with np.load(Path(path), allow_pickle=False) as held:
            arrays = {name: np.asarray(held[name]) for name in names or held.files}
    # A .npy file gives an array, which is no context; a damaged archive fails in its own ways.
    except (
        OSError, KeyError, ValueError, EOFError, TypeError, AttributeError, NotImplementedError,
        OverflowError, RuntimeError, SyntaxError, struct.error, UnicodeError,
        zipfile.BadZipFile, zlib.error,
    ) as error:  # fmt: skip
        raise SettingError(
            f"{option} {path} cannot be read ({first_line(error)}); {_FORM}"
        ) from error
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub":
            raise SettingError(f"{option} {path} has {name} of {array.dtype}; {_FORM}")
        if not np.isfinite(array).all():
            raise SettingError(f"{option} {path} has values in {name} that are not finite; {_FORM}")
    return arrays
