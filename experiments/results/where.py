"""Which runs are meant: ``--where KEY=VALUE``, by the keys of result files.

    --where trainer=cpu                  nested keys have dots: --where code.commit=ae84c38111
    --where criterion=l1,snip            one of these
    --where trainer=cpu --where seed=0   both hold

A value is as a result file has it (``null``, ``true``, ``2.0`` or ``2``, text without quotes); a
hash may be cut short after three digits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from experiments.ground.registry import unknown
from experiments.results.frame import flat
from spa.errors import SettingError

Content = TypeVar("Content", bound=Mapping[str, Any])
# Asked for by key, a list of values that will do.
Conditions = Mapping[str, Sequence[str]]


def parse(arguments: Sequence[str]) -> dict[str, list[str]]:
    """Read the arguments.

    Raises:
        SettingError: one is not of the form KEY=VALUE, or a key comes twice.
    """
    out: dict[str, list[str]] = {}
    for text in arguments:
        key, equals, values = text.partition("=")
        if not (key and equals and values):
            raise SettingError(
                f'--where takes KEY=VALUE, but is given "{text}"; say --where trainer=cpu'
            )
        if key in out:
            raise SettingError(
                f"--where has {key} twice; separate its values by commas: "
                f"--where {key}={','.join(out[key])},{values}"
            )
        out[key] = values.split(",")
    return out


def select(results: Sequence[Content], conditions: Conditions) -> list[Content]:
    """Keep the results that meet all conditions.

    Raises:
        SettingError: no result has a key, or none is left.
    """
    if not conditions or not results:
        return list(results)
    contents = [flat(result) for result in results]
    left = list(range(len(results)))
    for key, values in conditions.items():
        if not any(key in content for content in contents):
            raise unknown("key of a result", key, {name for each in contents for name in each})
        met = [i for i in left if _meets(contents[i].get(key), values)]
        if not met:
            there = sorted({_text(contents[i].get(key)) for i in left})
            raise SettingError(
                f"no run is left by --where {key}={','.join(values)}: {key} is "
                f"{', '.join(there[:8])}{' ...' if len(there) > 8 else ''}"
            )
        left = met
    return [results[i] for i in left]


def select_all(
    results: Sequence[Content], unfinished: Sequence[Content], conditions: Conditions
) -> tuple[list[Content], list[Content]]:
    """Keep the results and the unfinished runs that are meant.

    Raises:
        SettingError: no result has a key, or no run is left.
    """
    found, lost = select(results, conditions), select_unfinished(unfinished, conditions)
    if not found and not lost:
        asked = " ".join(f"--where {key}={','.join(v)}" for key, v in conditions.items())
        raise SettingError(f"no run is left by {asked}: none is done, and none was to be like that")
    return found, lost


def select_unfinished(found: Sequence[Content], conditions: Conditions) -> list[Content]:
    """Drop the unfinished runs that are known not to be meant; their status has few keys."""
    out = []
    for status in found:
        content = flat(status)
        if all(key not in content or _meets(content[key], conditions[key]) for key in conditions):
            out.append(status)
    return out


def _meets(value: Any, wanted: Sequence[str]) -> bool:
    return any(_same(value, text) for text in wanted)


def _same(value: Any, text: str) -> bool:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(text) == value
        except ValueError:
            return False
    # A git commit, a sha256 or a run id.
    if isinstance(value, str) and re.fullmatch("[0-9a-f]{10}|[0-9a-f]{40}|[0-9a-f]{64}", value):
        return len(text) >= 3 and value.startswith(text)
    return text == _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
