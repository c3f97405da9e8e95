"""Deep-learning frameworks: build, train, export and predict in each, by the same verbs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spa.errors import SettingError, unknown
from spa.frameworks.base import Framework, Source
from spa.frameworks.jax import JAX
from spa.frameworks.mxnet import MXNet
from spa.frameworks.pytorch import PyTorch
from spa.frameworks.tensorflow import TensorFlow
from spa.training.feed import Feed
from spa.training.how import Training

__all__ = [
    "FRAMEWORKS",
    "Feed",
    "Framework",
    "Source",
    "Training",
    "framework",
    "framework_of",
    "is_builder",
]

FRAMEWORKS: dict[str, type[Framework]] = {
    kind.name: kind for kind in (JAX, MXNet, PyTorch, TensorFlow)
}


def framework(name: str, code: Sequence[str] = (), trust: bool = False) -> Framework:
    """A framework by its name.

    Args:
        name: one of `FRAMEWORKS`.
        code: modules and files (.py) that may be run where a model's file asks for them.
        trust: run graphs that do more than compute, such as writing files.

    Raises:
        SettingError: there is no such framework.
    """
    if name not in FRAMEWORKS:
        raise SettingError(unknown("framework", name, FRAMEWORKS))
    return FRAMEWORKS[name](code, trust)


def framework_of(model: str) -> str | None:
    """Whose model a path or a name of code is; None where it does not show (an ONNX file too)."""
    path = Path(model)
    for name, kind in FRAMEWORKS.items():
        if model.endswith(kind.suffix):
            return name
    if (path / "saved_model.pb").is_file():
        return "tensorflow"
    return "pytorch" if is_builder(model) else None


def is_builder(model: str) -> bool:
    """Whether that is a name of code (``module:function``), and no path."""
    path = Path(model)
    return ":" in path.name and not path.exists()
