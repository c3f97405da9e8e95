"""Options of a criterion: the fields of its frozen dataclass, given by name."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from spa.errors import SettingError

_SWITCHES = {"true": True, "false": False}


def made(kind: type[Any], given: Mapping[str, Any], who: str) -> Any:
    """Makes the dataclass.

    Args:
        kind: the dataclass.
        given: values, or texts of them, by name.
        who: whose options they are, for messages.

    Raises:
        SettingError: a name that it does not have, or a value of another type.
    """
    known = {field.name for field in dataclasses.fields(kind)}
    for name in given:
        if name not in known:
            has = f"it has {', '.join(sorted(known))}" if known else "it has none"
            raise SettingError(f'{who} has no option "{name}"; {has}.')
    hints = typing.get_type_hints(kind)
    return kind(**{name: _value(hints[name], value, f"{who}: option {name}")
                   for name, value in given.items()})  # fmt: skip


def read(texts: Sequence[str], option: str) -> dict[str, str]:
    """Reads ``NAME=VALUE`` texts of a command line.

    Raises:
        SettingError: a text has another form, or a name comes twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or name in found:
            raise SettingError(f'{option} takes NAME=VALUE, each name once; "{text}" was given.')
        found[name] = value
    return found


def _value(hint: Any, value: Any, what: str) -> Any:
    if typing.get_origin(hint) is Literal:
        choices = typing.get_args(hint)
        if value not in choices:
            raise SettingError(f'{what} is one of {", ".join(choices)}; "{value}" was given.')
        return value
    if hint is bool:
        switch = _SWITCHES.get(str(value).lower())
        if switch is None:
            raise SettingError(f'{what} is true or false; "{value}" was given.')
        return switch
    if hint in (int, float) and not isinstance(value, bool):
        try:
            number = hint(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number) or (hint is int and number != float(value)):
            kind = "a whole number" if hint is int else "a finite number"
            raise SettingError(f'{what} is {kind}; "{value}" was given.')
        return number
    if isinstance(value, hint):
        return value
    raise SettingError(f'{what} is of type {hint.__name__}; "{value}" was given.')
