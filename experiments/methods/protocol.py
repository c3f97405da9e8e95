"""What a method of pruning is: a function from a job to an outcome, registered under its own name.

    @method(needs=Need.TRAINED | Need.LIMITS, settings=Mine, source="Author et al. 2026, eq. 3")
    def mine(job: Job, how: Mine) -> Outcome:
        return Outcome(smaller(onnx.load(job.dense), how.strength))

`needs` says which of a run's settings the method uses; those, and the fields of its own settings,
make the run's id. All that a method must give back is the smaller model: what it costs, reaches
and how wide it is, is measured from the files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Flag, auto
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy.typing as npt
from pydantic import Field

import spa
from experiments.ground.registry import Registry
from experiments.methods import criteria
from experiments.training.budget import Budget
from spa import Limits, Plan, Proof, Target
from spa.errors import SettingError
from spa.latency.machine import Machine
from spa.observe.data import data_for

if TYPE_CHECKING:
    import onnx
    from torch import nn

    from spa.training.hooks import HookSpec

Array = npt.NDArray[Any]
# Inputs (n, ...) of a network: the only one, or all by name.
Given = Array | Mapping[str, Array]
# The quantities that follow from which channels go, by keyword; others are measured.
COUNTED = ("rf", "rp", "ratio", "bytes")
# Of a network's outputs and arrays of targets; see `experiments.tasks`.
Loss = Callable[[tuple[Any, ...], Any], Any]


class Need(Flag):
    """What a method takes of a run, besides the dense file and the target."""

    NONE = 0
    TRAINED = auto()  # it makes no sense on fresh weights
    LIMITS = auto()  # scope, round_to, min_channels, max_ratio, include, exclude
    CRITERION = auto()  # criterion, aggregate, normalize, and data where the criterion sees them
    CALIBRATION = auto()  # calibration, calibration_samples, bn_refresh
    MODULE = auto()  # it prunes the torch module, not the file


@dataclass(frozen=True)
class Scoring:
    """What ranks channels.

    Attributes:
        criterion: its name.
        options: its own settings, a dataclass.
        aggregate: how slices are folded; None: the criterion's own.
        normalize: how groups are made comparable; None: the criterion's own.
        criterion_data: what it sees, if it sees any data: samples of ``train``, or ``noise`` or
            ``uniform``, on which a network's own answers are its targets.
        gradient_samples: how many of them.
    """

    criterion: str
    options: Any = None
    aggregate: str | None = None
    normalize: str | None = None
    criterion_data: Literal["train", "noise", "uniform"] = "train"
    gradient_samples: Annotated[int, Field(ge=1)] = 256


@dataclass(frozen=True)
class Calibration:
    """What refitting looks at.

    Attributes:
        calibration: no data: ``bn``, ``noise`` or ``uniform``; data: ``id`` or ``ood``.
        calibration_samples: how many inputs.
        bn_refresh: whether batch norms get the statistics of these inputs, or are moved.
    """

    calibration: Literal["bn", "noise", "uniform", "id", "ood"] = "bn"
    calibration_samples: Annotated[int, Field(ge=2)] = 256
    bn_refresh: bool | Literal["relative"] = False


@dataclass(frozen=True)
class TorchNetwork:
    """A torch network with dense weights, in eval mode.

    Attributes:
        inputs: an example.
        batched: whether its inputs begin with a batch; a detector takes one image.
    """

    net: nn.Module
    inputs: tuple[Any, ...]
    batched: bool = True


@dataclass(frozen=True)
class Job:
    """What a method is given: a network, what to reach, and what it may see.

    A job of the benchmarks has a file and perhaps a module, but no data: what it cannot give, it
    refuses. A run of the harness gives everything (`experiments.runs.job`).

    Attributes:
        dense: the ONNX file to prune.
        target: what to reach.
        seed: for whatever the method draws.
        limits: what holds whatever the scores say.
        scoring: what ranks channels; of methods that need a criterion.
        calibration: what refitting looks at; of methods that need it.
        device: where tensors live, as torch names it.
        given: shapes or arrays by input name that `spa.load` needs, where it cannot guess them.
        machine: what a target of latency is measured on, as the run's own latency is.
    """

    dense: Path
    target: Target
    seed: int = 0
    limits: Limits = field(default_factory=Limits)
    scoring: Scoring | None = None
    calibration: Calibration | None = None
    device: str = "cpu"
    given: Mapping[str, Any] = field(default_factory=dict)
    machine: Machine = field(default_factory=Machine)

    def module(self) -> TorchNetwork:
        """Return the torch network with the dense weights, which the method may not change.

        Raises:
            SettingError: there is none.
        """
        raise SettingError(f"{self.dense.name} came as a file, so there is no torch module of it")

    def seen(self) -> Any:
        """Return what the criterion sees, as `spa.prune` takes it; None where it sees no data.

        Raises:
            SettingError: there is no data.
        """
        scoring = self.scoring
        if scoring is None or not criteria.sees_data(scoring.criterion):
            return None
        if scoring.criterion_data == "train":
            return self.labelled(scoring.gradient_samples)
        return self.noise(scoring.criterion_data, scoring.gradient_samples)

    def noise(self, kind: str, samples: int) -> Any:
        """Return noise that the network takes, as `spa.prune` takes it.

        Args:
            kind: one of `spa.observe.data.NOISE`.
            samples: how many.
        """
        model = spa.load(self.dense, self.given or None)
        return data_for(model, kind, samples=samples, seed=self.seed)

    def labelled(self, samples: int) -> tuple[Given, Array]:
        """Return training samples: inputs, and targets (n, ...).

        Raises:
            SettingError: there is no data.
        """
        raise SettingError(f"there is no data for {self.dense.name}, but {samples} are asked for")

    def loss(self) -> Loss | None:
        """Return what gradients are of; None: as the library does, where labels fit."""
        return None

    def inputs(self) -> Given | str:
        """Return the calibration's inputs, or the name of a data-free kind.

        Raises:
            SettingError: there is no data.
        """
        raise SettingError(f"there are no calibration inputs for {self.dense.name}")

    def train(
        self,
        net: nn.Module,
        model: onnx.ModelProto,
        budget: Budget,
        *,
        stream: str,
        hooks: Sequence[HookSpec] = (),
    ) -> nn.Module:
        """Train a network in place, as a run's own trainings are; its epochs count as such.

        Args:
            net: what `spa.bridge.to_torch` made of ``model``.
            model: the file.
            budget: how long, and how.
            stream: the method's name of this training, to draw by.
            hooks: what happens besides (`spa.training.hooks`).

        Raises:
            SettingError: there is no data.
        """
        raise SettingError(f"there is no data to train {self.dense.name} on")


@dataclass(frozen=True)
class Outcome:
    """What a method made.

    Attributes:
        model: the smaller network.
        plan: what went, where the method made a plan of SPA's.
        proof: that nothing else changed.
        reconstructed: the dense-shaped model that the plan was applied to, where weights changed.
        seconds: what the method itself took; None: all that its call took, but for trainings.
        details: what else it says of itself.
        notes: sentences for people.
    """

    model: onnx.ModelProto
    plan: Plan | None = None
    proof: Proof | None = None
    reconstructed: onnx.ModelProto | None = None
    seconds: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class NoSettings:
    """Of what has no settings of its own."""


@dataclass(frozen=True)
class Method:
    """A registered method.

    Attributes:
        needs: which of a run's settings it uses.
        settings: the dataclass of its own settings; conf, the command line and the run's id come
            from its fields.
        source: where it is described.
        targets: the keywords of the quantities that it can be asked for; None: all that there are.
    """

    name: str
    run: Callable[[Job, Any], Outcome]
    needs: Need
    settings: type
    source: str
    targets: tuple[str, ...] | None

    @property
    def made_in(self) -> str:
        """The module that registered it."""
        return self.run.__module__

    def __call__(self, job: Job, how: Any = None) -> Outcome:
        """Prune; its own settings are the defaults where they are left out."""
        return self.run(job, self.settings() if how is None else how)


METHODS: Registry[Method] = Registry("method", package="experiments.methods")

Function = Callable[[Job, Any], Outcome]


def method(
    *,
    needs: Need = Need.NONE,
    settings: type = NoSettings,
    source: str,
    targets: tuple[str, ...] | None = COUNTED,
) -> Callable[[Function], Function]:
    """Register the decorated function as a method, under its own name."""

    def decorate(run: Function) -> Function:
        made = Method(run.__name__, run, needs, settings, source, targets)
        METHODS.register(made.name)(made)
        return run

    return decorate


def plain(settings: Any) -> dict[str, Any]:
    """Return what was chosen in a dataclass of settings; None is the default, and left out."""
    return {} if settings is None else {k: v for k, v in vars(settings).items() if v is not None}
