"""Deep-learning frameworks: build, train, export and predict in each, by the same verbs."""

from __future__ import annotations

from spa.errors import SettingError, unknown
from spa.frameworks.base import Framework, Source, Training
from spa.frameworks.feed import Feed
from spa.frameworks.jax import JAX
from spa.frameworks.mxnet import MXNet
from spa.frameworks.pytorch import PyTorch
from spa.frameworks.tensorflow import TensorFlow

__all__ = ["FRAMEWORKS", "Feed", "Framework", "Source", "Training", "framework"]

FRAMEWORKS: dict[str, type[Framework]] = {
    kind.name: kind for kind in (JAX, MXNet, PyTorch, TensorFlow)
}


def framework(name: str) -> Framework:
    """A framework by its name.

    Raises:
        SettingError: there is no such framework.
    """
    if name not in FRAMEWORKS:
        raise SettingError(unknown("framework", name, FRAMEWORKS))
    return FRAMEWORKS[name]()
