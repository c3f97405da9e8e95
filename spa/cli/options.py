"""Options that several sub-commands share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from spa.errors import InputError


def add_model(parser: argparse.ArgumentParser, name: str = "model") -> None:
    """The ONNX file, and shapes for inputs that cannot be guessed."""
    parser.add_argument(name, metavar=f"{name.upper()}.onnx", help="the ONNX file")
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME=2x3x224x224",
        help="shape of an example input, where it cannot be guessed; may be repeated",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """``--json``, which every command takes."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def parse_inputs(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Reads ``name=2x3x224x224``.

    Raises:
        InputError: the text has another form.
    """
    shapes = {}
    for text in texts:
        name, equals, sizes = text.rpartition("=")
        try:
            shape = tuple(int(size) for size in sizes.lower().split("x")) if sizes else ()
        except ValueError:
            shape = None
        if not equals or not name or shape is None:
            raise InputError(
                f'--input "{text}" is not of the form name=2x3x224x224 (sizes joined by x).'
            )
        shapes[name] = shape
    return shapes
