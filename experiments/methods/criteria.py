"""What a criterion declares of itself, asked from the library."""

from __future__ import annotations

from typing import Any

from spa.importance import criterion


def names() -> tuple[str, ...]:
    """List the criteria, sorted."""
    return criterion.names()


def sees_data(name: str) -> bool:
    """Whether a criterion looks at samples of the data set.

    Raises:
        SettingError: there is no such criterion.
    """
    return criterion.get(name).needs.sees_data


def settings_of(name: str) -> type[Any]:
    """Return the dataclass of a criterion's own settings.

    Raises:
        SettingError: there is no such criterion.
    """
    return criterion.get(name).options


def function(name: str) -> Any:
    """Return the function of a criterion, for what its docstring says.

    Raises:
        SettingError: there is no such criterion.
    """
    return criterion.get(name).function
