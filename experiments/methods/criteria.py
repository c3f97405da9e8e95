"""What a criterion declares of itself, asked from the library.

JOIN: `spa.importance.registry.get(name)` is to declare ``needs`` and ``settings``; until it does,
the two functions below are the only place of the harness that knows criteria by name.
"""

from __future__ import annotations

from typing import Any

from experiments.methods.protocol import NoSettings

_SEES_DATA = frozenset({"grasp", "snip"})  # JOIN: needs & (DATA | GRADIENTS | ACTIVATIONS)


def names() -> tuple[str, ...]:
    """List the criteria, sorted."""
    import spa.importance.criteria  # noqa: F401  (fills the registry)
    from spa.importance import registry

    return registry.names()


def sees_data(name: str) -> bool:
    """Whether a criterion looks at samples of the data set.

    Raises:
        SettingError: there is no such criterion.
    """
    found = _registered(name)
    needs = getattr(found, "needs", None)
    return name in _SEES_DATA if needs is None else bool(needs)


def settings_of(name: str) -> type:
    """Return the dataclass of a criterion's own settings.

    Raises:
        SettingError: there is no such criterion.
    """
    declared: type = getattr(_registered(name), "settings", NoSettings)
    return declared


def _registered(name: str) -> Any:
    names()
    from spa.importance import registry

    return registry.get(name)
