"""Every error that SPA raises on purpose.

SpaError
├── ModelError            the file or module cannot be read, checked or run
│   └── RunError          it loads, but does not run on these inputs
├── InputError            example inputs are missing, or do not fit the model
├── SettingError          a target, ratio, criterion or option has no meaning
├── InfeasibleTarget      the target is out of reach; carries what is reachable (exit code 2)
├── PlanError             a plan does not fit the model, or would tear coupled channels apart
├── VerificationError     the pruned model is not what the plan promises
├── BridgeError           a graph cannot be turned into a trainable PyTorch module, or back
├── FrameworkError        a framework's environment is missing, or its worker failed
├── MissingExtra          an optional package is needed; carries the extra's name
└── OutputError           a result cannot be written

A message names the quantity, the rule, the numbers and the way out, in one paragraph.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class SpaError(Exception):
    """Base of the tree. The command prints the message alone and exits with ``exit_code``."""

    exit_code = 1


class ModelError(SpaError):
    """The model cannot be read, checked or run."""


class RunError(ModelError):
    """The model loads, but does not run on these inputs."""


class InputError(SpaError):
    """Example inputs are missing, or do not fit the model."""


class SettingError(SpaError):
    """A target, ratio, criterion or option has no meaning."""


class InfeasibleTarget(SpaError):
    """The target is out of reach.

    Attributes:
        quantity: ``"rf"``, ``"rp"`` or ``"ratio"``.
        asked: the value that was asked.
        reachable: the largest value that the limits in force allow.
    """

    exit_code = 2

    def __init__(self, message: str, *, quantity: str, asked: float, reachable: float) -> None:
        super().__init__(message)
        self.quantity = quantity
        self.asked = asked
        self.reachable = reachable


class PlanError(SpaError):
    """A plan does not fit the model, or would tear coupled channels apart."""


class VerificationError(SpaError):
    """The pruned model is not what the plan promises."""


class BridgeError(SpaError):
    """A graph cannot be turned into a trainable PyTorch module, or back.

    Attributes:
        path: of the part of a module that stands in the way, where one is known.
    """

    def __init__(self, message: str, path: str | None = None) -> None:
        super().__init__(message)
        self.path = path


class FrameworkError(SpaError):
    """A framework's environment is missing, or its worker failed."""


class MissingExtra(SpaError):
    """An optional package is needed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs {package}, which is not installed; "
            f"install it with: {_how_to_install(extra)}"
        )
        self.package = package
        self.extra = extra


def _how_to_install(extra: str) -> str:
    """A command that works where this package lies: in a checkout, or installed from one."""
    checkout = Path(__file__).resolve().parents[1]
    if not (checkout / "pyproject.toml").is_file():
        return f'pip install ".[{extra}]" (in a checkout of SPA)'
    constraints = checkout / "constraints" / "constraints.txt"
    held = f'-c "{constraints}" ' if constraints.is_file() else ""
    return f'pip install {held}"{checkout}[{extra}]"'


class OutputError(SpaError):
    """A result cannot be written."""


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """A message for a name that is not there, with near matches."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=2, cutoff=0.5)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return f'There is no {what} "{name}".{hint} Known: {", ".join(known)}.'
