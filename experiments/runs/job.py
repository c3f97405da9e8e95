"""What a run gives to its method: the dense file, its settings, its data, its way to train."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.config.settings import Settings
from experiments.data import Dataset, calibration_inputs
from experiments.data.base import Inputs
from experiments.ground.seeds import generator, whole
from experiments.methods import Array, Given, Job, Loss, TorchNetwork
from experiments.models.network import tensors, with_weights
from experiments.results.schema import Seen
from experiments.tasks import loss_of_arrays
from experiments.training.budget import Budget
from experiments.training.loop import prepare
from experiments.training.trainer import Trainer
from spa import Limits, Target
from spa.errors import SettingError
from spa.latency.machine import Machine

if TYPE_CHECKING:
    import onnx
    from torch import nn

    from experiments.runs.folder import RunFolder
    from spa.training.hooks import HookSpec


@dataclass(frozen=True)
class Source:
    """Where a run's job gets from what a method asks for, read only when it asks.

    Attributes:
        rows: of all trainings of the method, an epoch each.
        seen: which data the method has looked at.
    """

    settings: Settings
    data: Dataset
    folder: RunFolder
    trainer: Trainer
    rows: list[dict[str, Any]] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)

    def note(self, kind: str, source: str, samples: int) -> None:
        """Have the record say that data were looked at."""
        self.seen.append({"kind": kind, "source": source, "samples": samples})


@dataclass(frozen=True)
class RunJob(Job):
    """The job of a run of the harness."""

    source: Source | None = None

    @property
    def _source(self) -> Source:
        assert self.source is not None
        return self.source

    def module(self) -> TorchNetwork:
        """See `Job.module`."""
        settings, data = self._source.settings, self._source.data
        if settings.framework != "pytorch" or settings.model.startswith("onnx/"):
            raise SettingError(
                f"method={settings.method} prunes torch modules, but model={settings.model} "
                f"(framework={settings.framework}) is none; use a network of framework=pytorch"
            )
        return TorchNetwork(with_weights(settings.model, data, self.dense), tensors(data))

    def labelled(self, samples: int) -> tuple[Given, Array]:
        """See `Job.labelled`."""
        train = self._source.data.train
        rng = generator(self._source.settings.seed, "gradient samples")
        index = np.sort(rng.permutation(len(train))[:samples])
        self._source.note("labelled", "train", len(index))
        x, y = train.take(index)
        return self._named(x), y

    def noise(self, kind: str, samples: int) -> Any:
        """See `Job.noise`."""
        self._source.note("noise", kind, samples)
        return super().noise(kind, samples)

    def loss(self) -> Loss:
        """See `Job.loss`."""
        return loss_of_arrays(self._source.data)

    def inputs(self) -> Given | str:
        """See `Job.inputs`."""
        settings, seen = self._source.settings, self.calibration
        if seen is None:
            return super().inputs()
        self._source.note("calibration", seen.calibration, seen.calibration_samples)
        found = calibration_inputs(
            seen.calibration,
            self._source.data,
            seen.calibration_samples,
            settings.seed,
            settings.place.data_root,
        )
        return found if isinstance(found, str) else self._named(found)

    def _named(self, inputs: Inputs) -> Given:
        """A single input goes by any name: the file may call it otherwise than the data set."""
        return next(iter(inputs.values())) if len(inputs) == 1 else inputs

    def train(
        self,
        net: nn.Module,
        model: onnx.ModelProto,
        budget: Budget,
        *,
        stream: str,
        hooks: Sequence[HookSpec] = (),
    ) -> nn.Module:
        """See `Job.train`."""
        it = self._source

        def report(row: dict[str, Any]) -> None:
            it.rows.append(row)
            it.folder.log(row)

        it.note("training", "train", len(it.data.train))
        start = hashlib.sha256(model.SerializeToString()).hexdigest()
        return it.trainer.train(
            net,
            it.data,
            budget,
            stream=stream,
            folder=it.folder.path,
            of=f"{stream} {start}",
            report=report,
            model=model,
            hooks=hooks,
            dense=self.dense,
        )


def job(dense: Path, source: Source, target: Target | None = None) -> RunJob:
    """Return the job of a run.

    Args:
        dense: the file to prune.
        source: where the rest comes from.
        target: what to reach; None: what the run is asked for.
    """
    settings = source.settings
    return RunJob(
        dense,
        target or Target(**settings.asked),
        seed=whole(settings.seed, "method"),
        limits=settings.limits or Limits(),
        scoring=settings.scoring,
        calibration=settings.calibrating,
        machine=Machine(threads=settings.latency["threads"], batch=settings.latency["batch"]),
        device=str(prepare(settings.place.device, settings.place.threads)),
        source=source,
    )
