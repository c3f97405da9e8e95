"""The four verbs that every framework answers to: build, train, export, predict."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx

from spa.errors import FrameworkError
from spa.frameworks.workers.common import full_place, not_allowed
from spa.pruning.result import Pruned
from spa.training.feed import Feed
from spa.training.how import Report, Training

Array = npt.NDArray[Any]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Source:
    """Code that makes a network.

    Attributes:
        builder: ``package.module:function`` or ``path/to/file.py:function``. It is called with the
            arguments, and with ``input_shape``, in the framework's own layout, if it has a
            parameter of that name; in Flax also with ``rngs``.
        arguments: JSON-ready keyword arguments.
    """

    builder: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


class Framework(ABC):
    """A framework. Its models are files or folders in its own format.

    Some models say which code builds them, or has their layers. That code is run where it was named
    by whoever uses this class, and never because a file asks for it.

    Args:
        code: modules and files (.py) that may be run; `build` adds the one that it is given.
        trust: run graphs that do more than compute, such as writing files.
    """

    name: str
    #: End of a model's file name, which `build` and `train` expect of their output.
    suffix: str
    #: Whether `give_back` can write a smaller model.
    gives_back = True

    def __init__(self, code: Sequence[str] = (), trust: bool = False) -> None:
        self.trust = trust
        self.code = {full_place(text) for text in code}

    def allow(self, builder: str) -> None:
        """Lets the code of a builder be run."""
        self.code.add(full_place(builder.rpartition(":")[0]))

    def check_allowed(self, builder: str, model: Path | str) -> None:
        """Refuses code that a file asks for.

        Raises:
            FrameworkError: nobody named it.
        """
        if full_place(builder.rpartition(":")[0]) not in self.code:
            raise FrameworkError(not_allowed(builder, model))

    @abstractmethod
    def build(
        self,
        source: Source,
        model: Path,
        shape: Shape,
        seed: int,
        weights: Path | None = None,
    ) -> None:
        """Makes an untrained network.

        Args:
            source: what makes it.
            model: where it is written.
            shape: of one input, (C, H, W) for pictures, whatever the framework's own layout.
            seed: of its weights.
            weights: a file (.npz) of all of its weights and statistics instead, in the
                framework's layout and by its names: of a state_dict, ``LAYER/kernel`` in Keras,
                paths of the state in Flax (``blocks/layers/0/kernel``), names of
                ``save_parameters`` in Gluon.

        Raises:
            FrameworkError: the builder fails, or the weights are not those of the network.
        """

    @abstractmethod
    def train(self, model: Path, out: Path, feed: Feed, training: Training, report: Report) -> None:
        """Trains a classifier in the framework's own way; inputs are (N, C, H, W)."""

    @abstractmethod
    def predict(self, model: Path, x: Array) -> Array:
        """The first output for inputs (N, C, H, W)."""

    @abstractmethod
    def export(
        self,
        model: Path | str,
        shapes: Sequence[Shape] | None = None,
        *,
        channels_first: bool = False,
    ) -> onnx.ModelProto:
        """Writes a model as ONNX, and holds that to the model's own outputs.

        Args:
            model: the model; a name of code that makes one (``module:function``) where the
                framework's models are code.
            shapes: of one example of each input, without the batch; as the framework has them, or
                (C, H, W) with ``channels_first``. None where the model knows.
            channels_first: make pictures (N, C, H, W) in the file, where the framework has them
                otherwise.

        Raises:
            FrameworkError: the exporter fails, or what it wrote is not what the model computes.
        """

    @abstractmethod
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
        """Writes the framework's own model, as small as its pruned ONNX file.

        Args:
            model: the dense model.
            out: where the smaller one is written.
            dense: the dense model's export. (Another export may name weights otherwise.)
            pruned: what `spa.prune` made of that.
            shapes: as in `export`.
            channels_first: as in `export`.
            documents: JSON files that belong to it, by path; all files appear, or none.

        Raises:
            FrameworkError: the model cannot be made smaller in its framework; nothing is written.
        """
