"""Settings checked against the dataclass that declares them, with one clear line for what is wrong.

    @dataclass(frozen=True)
    class Budget:
        epochs: Annotated[int, Field(ge=0)]
        optimizer: Literal["sgd", "adamw"] = "sgd"

    checked(Budget, {"epochs": 3, "optimizer": "sdg"}, "trainer.train")
    SettingError: unknown trainer.train.optimizer "sdg"; did you mean sgd? Known: adamw, sgd

pydantic does the checking; what it says is put into the words of this project.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from experiments.ground.registry import unknown
from spa.errors import SettingError

T = TypeVar("T")

_adapters: dict[type[Any], TypeAdapter[Any]] = {}
_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def checked(kind: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """Make a dataclass of plain values.

    Args:
        kind: the dataclass; its annotations say what holds.
        values: by the dataclass's names.
        where: what the values stand under, such as ``trainer.train``; "" for the top.

    Raises:
        SettingError: a value has no meaning, is missing, or is none of the dataclass's.
    """
    declared = {field.name: str(field.type) for field in fields(kind)}  # type: ignore[arg-type]
    for key, value in values.items():
        if key not in declared:
            raise stray(key, tuple(declared), where)
        if isinstance(value, bool) and "bool" not in declared[key]:
            raise SettingError(f"{_name(where, key)} is no true or false, but is {value}")
    try:
        made: T = adapter(kind).validate_python(dict(values))
    except ValidationError as error:
        raise _translated(error, where) from None
    return made


def adapter(kind: type[Any]) -> TypeAdapter[Any]:
    """Return what checks values of a type; made once, as that takes milliseconds."""
    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]


def stray(key: str, known: Sequence[str], where: str) -> SettingError:
    """Build the error for a setting that nobody declares."""
    has = f"it has {', '.join(known)}" if known else "it has none"
    return SettingError(f"{where} has no setting {key}; {has}")


def _translated(error: ValidationError, where: str) -> SettingError:
    found = error.errors()
    first = found[0]
    same = [each for each in found if each["loc"][:1] == first["loc"][:1]]
    key, value = _name(where, str(first["loc"][0])), first["input"]
    if first["type"] == "missing":
        return SettingError(f"{key} is needed, but is not given")
    if all(each["type"] == "literal_error" for each in same):
        return unknown(key, str(value), [name for each in same for name in _literals(each)])
    rules = list(dict.fromkeys(_rule(each) for each in same))
    return SettingError(f"{key} is {' or '.join(rules)}, but is {value!r}")


def _rule(error: Any) -> str:
    """What a value has to be, in words."""
    kind, context = error["type"], error.get("ctx", {})
    if "multiple_of" in context:
        return f"a multiple of {context['multiple_of']:g}"
    for bound, words in _BOUNDS.items():
        if bound in context:
            return f"{words} {context[bound]:g}"
    if kind == "literal_error":
        return " or ".join(_literals(error))
    for part, words in (
        *(("int", "a whole number"), ("float", "a finite number")),
        *(("finite", "a finite number"), ("bool", "true or false")),
        *(("string", "a text"), ("tuple", "a list"), ("none", "null")),
    ):
        if kind.startswith(part):
            return words
    return str(error["msg"])


def _literals(error: Any) -> list[str]:
    return re.findall("'([^']*)'", error["ctx"]["expected"])


def _name(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
