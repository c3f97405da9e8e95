"""PyTorch: modules, as ``NAME.pt`` with what builds them and their state_dict.

It works in this process, as the bridge does.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pickle
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from spa.errors import FrameworkError, InputError
from spa.frameworks.base import Array, Framework, Report, Shape, Source, Training
from spa.frameworks.feed import Feed
from spa.progress import Progress
from spa.pruning.prune import Pruned

if TYPE_CHECKING:
    from torch import nn

BATCH = 256


class PyTorch(Framework):
    """Builds, trains and runs modules; `spa.bridge.from_torch` exports them."""

    name = "pytorch"
    suffix = ".pt"

    def build(self, source: Source, model: Path, shape: Shape, seed: int) -> None:
        """See `Framework.build`."""
        import torch

        torch.manual_seed(seed)
        arguments = {**source.arguments, "input_shape": tuple(shape)}
        _save(made(source.builder, arguments), Source(source.builder, arguments), model)

    def train(self, model: Path, out: Path, feed: Feed, training: Training, report: Report) -> None:
        """See `Framework.train`."""
        from spa.frameworks.loop import fit

        net, source = _load(model)
        with Progress("Training in pytorch", feed.epochs) as progress:

            def listen(row: dict[str, Any]) -> None:
                report(row)
                progress.advance()

            fit(net, feed, training, report=listen)
        _save(net, source, out)

    def predict(self, model: Path, x: Array) -> Array:
        """See `Framework.predict`."""
        import torch

        from spa.frameworks.loop import first

        net, _ = _load(model)
        with torch.no_grad():
            parts = [
                first(net(torch.from_numpy(np.ascontiguousarray(x[i : i + BATCH]))))
                for i in range(0, len(x), BATCH)
            ]
        return np.asarray(torch.cat(parts).numpy())

    def export(
        self,
        model: Path | str,
        shapes: Sequence[Shape] | None = None,
        *,
        channels_first: bool = False,
    ) -> onnx.ModelProto:
        """See `Framework.export`; a model may be ``module:function`` too."""
        import torch

        from spa.bridge import from_torch

        if isinstance(model, str) and not Path(model).is_file():
            net, known = made(model, {}), {}
        else:
            net, source = _load(Path(model))
            known = dict(source.arguments)
        if shapes is None and "input_shape" in known:
            shapes = [tuple(known["input_shape"])]
        if shapes is None:
            raise InputError(
                "A PyTorch module does not say what it takes; give the shape of one example of "
                "each input, such as 3x224x224."
            )
        generator = torch.Generator().manual_seed(0)
        return from_torch(
            net, tuple(torch.randn(2, *shape, generator=generator) for shape in shapes)
        )

    def give_back(
        self,
        model: Path,
        out: Path,
        dense: onnx.ModelProto,
        pruned: Pruned,
        shapes: Sequence[Shape] | None = None,
        *,
        channels_first: bool = False,
    ) -> None:
        """See `Framework.give_back`; the file holds what `rebuild` needs beside the state_dict."""
        raise FrameworkError(
            "A module is given back by spa.prune(module, inputs=...).module; see the README."
        )


def made(builder: str, arguments: dict[str, Any]) -> nn.Module:
    """Calls what ``module:function`` or ``path/to/file.py:function`` names.

    Raises:
        FrameworkError: there is no such thing, or it makes no module.
    """
    from torch import nn

    place, _, name = builder.rpartition(":")
    if not place:
        raise FrameworkError(f'"{builder}" names no function; write module:function.')
    sys.path.insert(0, os.getcwd())
    try:
        function = getattr(_module(place), name, None)
    except ImportError as error:
        raise FrameworkError(f'"{place}" cannot be imported: {error}.') from error
    finally:
        sys.path.remove(os.getcwd())
    if not callable(function):
        raise FrameworkError(f'{place} has no function "{name}".')
    net = function(**arguments)
    if not isinstance(net, nn.Module):
        raise FrameworkError(f"{builder} made a {type(net).__name__}, not a torch.nn.Module.")
    return net.eval()


def _module(place: str) -> Any:
    if not place.endswith(".py"):
        return importlib.import_module(place)
    path = Path(place)
    if not path.is_file():
        raise ImportError(f"there is no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _save(net: nn.Module, source: Source, path: Path) -> None:
    import torch

    torch.save({"source": asdict(source), "state": net.state_dict()}, path)


def _load(path: Path) -> tuple[nn.Module, Source]:
    import torch

    try:
        stored = torch.load(path, weights_only=True)
        source = Source(**stored["source"])
        state = stored["state"]
    except (OSError, KeyError, TypeError, RuntimeError, pickle.UnpicklingError) as error:
        raise FrameworkError(
            f"{path} is no model that SPA stored for PyTorch: {type(error).__name__}: {error}"
        ) from error
    net = made(source.builder, dict(source.arguments))
    net.load_state_dict(state)
    return net, source
