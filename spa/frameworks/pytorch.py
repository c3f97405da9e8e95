"""PyTorch: modules, as ``NAME.pt`` with what builds them and their state_dict.

It works in this process, as the bridge does.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pickle
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from spa.errors import FrameworkError, InputError, MissingExtra
from spa.frameworks.base import Array, Framework, Shape, Source
from spa.frameworks.workers.common import Refusal, fitting, taken
from spa.progress import Progress
from spa.pruning.result import Pruned
from spa.training.feed import Feed
from spa.training.how import Report, Training

if TYPE_CHECKING:
    from torch import nn

BATCH = 256


class PyTorch(Framework):
    """Builds, trains and runs modules; `spa.bridge.from_torch` exports them."""

    name = "pytorch"
    suffix = ".pt"
    gives_back = False

    def __init__(self, code: Sequence[str] = (), trust: bool = False) -> None:
        if importlib.util.find_spec("torch") is None:
            raise MissingExtra("torch", "torch", "Building PyTorch modules")
        super().__init__(code, trust)

    def build(
        self,
        source: Source,
        model: Path,
        shape: Shape,
        seed: int,
        weights: Path | None = None,
    ) -> None:
        """See `Framework.build`."""
        import torch

        torch.manual_seed(seed)
        self.allow(source.builder)
        about = {**asdict(source), "input_shape": tuple(shape)}
        net = _built(about)
        if weights is not None:
            _fill(net, weights)
        _save(net, about, model)

    def train(self, model: Path, out: Path, feed: Feed, training: Training, report: Report) -> None:
        """See `Framework.train`."""
        from spa.training.loop import fit

        net, about = self._load(model)
        with Progress("Training in pytorch", feed.epochs) as progress:

            def listen(row: dict[str, Any]) -> None:
                report(row)
                progress.advance()

            fit(net, feed, training, report=listen)
        _save(net, about, out)

    def predict(self, model: Path, x: Array) -> Array:
        """See `Framework.predict`."""
        import torch

        from spa.training.objective import everything

        net, _ = self._load(model)
        with torch.no_grad():
            parts = [
                everything(net(torch.from_numpy(np.ascontiguousarray(x[i : i + BATCH]))))[0]
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
            net = made(model, {})
        else:
            net, about = self._load(Path(model))
            shapes = [tuple(about["input_shape"])] if shapes is None else shapes
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
        documents: Mapping[str | Path, Any] | None = None,
    ) -> None:
        """Refuses: `spa.prune` itself gives modules back."""
        raise FrameworkError(
            "A module is given back by spa.prune(module, inputs=...).module; see docs/pruning.md."
        )

    def _load(self, path: Path) -> tuple[nn.Module, dict[str, Any]]:
        import torch

        try:
            stored = torch.load(path, weights_only=True)
            about, state = dict(stored["about"]), stored["state"]
            builder = str(about["builder"])
        except (OSError, KeyError, TypeError, RuntimeError, pickle.UnpicklingError) as error:
            raise FrameworkError(
                f"{path} is no model that SPA stored for PyTorch: {type(error).__name__}: {error}"
            ) from error
        self.check_allowed(builder, path)
        net = _built(about)
        net.load_state_dict(state)
        return net, about


def made(builder: str, arguments: Mapping[str, Any], **offered: Any) -> nn.Module:
    """Calls what ``module:function`` or ``path/to/file.py:function`` names.

    Args:
        builder: the name.
        arguments: what it is called with.
        **offered: what it is called with if it has parameters of these names.

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
    net = function(**taken(function, arguments, **offered))
    if not isinstance(net, nn.Module):
        raise FrameworkError(f"{builder} made a {type(net).__name__}, not a torch.nn.Module.")
    return net.eval()


def _module(place: str) -> Any:
    if place.partition(".")[0] == "torchvision":
        from spa.bridge.torchvision_shim import import_torchvision

        import_torchvision()
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


def _built(about: dict[str, Any]) -> nn.Module:
    return made(about["builder"], about["arguments"], input_shape=tuple(about["input_shape"]))


def _fill(net: nn.Module, weights: Path) -> None:
    """Puts the arrays of a file into a module; torch's counters of batches stay."""
    import torch

    state = {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    try:
        arrays = fitting(weights, {name: value.shape for name, value in state.items()})
    except Refusal as refusal:
        raise FrameworkError(f"pytorch (build): {refusal}") from refusal
    with torch.no_grad():
        for name, value in state.items():
            value.copy_(torch.from_numpy(arrays[name]))


def _save(net: nn.Module, about: dict[str, Any], path: Path) -> None:
    import torch

    torch.save({"about": about, "state": net.state_dict()}, path)
