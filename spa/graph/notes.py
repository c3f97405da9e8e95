"""What a user should know of a model, kept in its metadata from where it was found out."""

from __future__ import annotations

import onnx

_KEY = "spa.note"


def add_note(proto: onnx.ModelProto, text: str) -> None:
    """Adds a sentence, in place."""
    proto.metadata_props.add(key=_KEY, value=text)


def notes_of(proto: onnx.ModelProto) -> tuple[str, ...]:
    """All sentences of a model."""
    return tuple(entry.value for entry in proto.metadata_props if entry.key == _KEY)
