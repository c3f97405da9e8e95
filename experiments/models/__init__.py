"""Networks: a file per family. A factory takes (input_shape, classes) and gives a fresh nn.Module.

``input_shape`` is that of one sample. A network of several inputs takes ``input_shapes`` in its
place, one for each input by name.
A network that reads tokens takes ``vocabulary`` besides, how many there are.

Open families (``torchvision/``, ``onnx/``) take the rest of the name first. The members of
``onnx/`` are files, trained already, and come as a ModelProto; see `onnx_file`.

The same networks in other frameworks lie in ``keras/``, ``flax/`` and ``gluon/``, as functions of
the same names. Those files run in environments of their own and are never imported here.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.ground.registry import Registry, unknown

Shape = tuple[int, int, int]  # (C, H, W) of one picture
Factory = Callable[..., Any]

MODELS: Registry[Factory] = Registry("model", package="experiments.models")

FOLDERS = {"tensorflow": "keras", "jax": "flax", "mxnet": "gluon"}


def names() -> tuple[str, ...]:
    """List the networks without open families, sorted.

    Those of this package are read off the files, as torch is heavy.
    """
    decorator = re.compile(r'^@MODELS\.register\("([^"/]+)"\)$', re.MULTILINE)
    files = Path(__file__).parent.glob("*.py")
    found = {name for path in files for name in decorator.findall(path.read_text())}
    return tuple(sorted(found | {name for name in MODELS.own() if not name.endswith("/")}))


def takes_tokens(name: str) -> bool:
    """Whether a network reads tokens and nothing else.

    Raises:
        SettingError: there is no such network.
    """
    found = inspect.signature(MODELS.get(name)).parameters.get("vocabulary")
    return found is not None and found.default is found.empty


def takes_several(name: str) -> bool:
    """Whether a network reads several inputs.

    Raises:
        SettingError: there is no such network.
    """
    return "input_shapes" in inspect.signature(MODELS.get(name)).parameters


def takes_pictures(name: str) -> bool:
    """Whether a network reads pictures, or other floats of one shape (points).

    Raises:
        SettingError: there is no such network.
    """
    return not takes_tokens(name) and not takes_several(name)


def builder(framework: str, model: str) -> str:
    """What builds a network in a framework, as `spa.frameworks.Source` takes it.

    Raises:
        SettingError: there is no such framework, or it has no such network.

    Example:
        >>> builder("tensorflow", "resnet20")
        '.../keras/resnet.py:resnet20'
    """
    known = builders(framework)
    if model not in known:
        raise unknown(f"model in {framework}", model, known)
    return known[model]


def builders(framework: str) -> dict[str, str]:
    """What builds each network that a framework has.

    Raises:
        SettingError: there is no such framework.
    """
    named = [name for name in MODELS.names() if not name.endswith("/")]
    if framework == "pytorch":
        return {name: f"{MODELS.get(name).__module__}:{name}" for name in named}
    if framework not in FOLDERS:
        raise unknown("framework", framework, ["pytorch", *FOLDERS])
    return {
        part.name: f"{path}:{part.name}"
        for path in sorted((Path(__file__).parent / FOLDERS[framework]).glob("*.py"))
        for part in ast.parse(path.read_text()).body
        if isinstance(part, ast.FunctionDef) and part.name in named
    }
