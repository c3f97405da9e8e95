"""What can be chosen in OBSPA; what is None follows the network's family (`spa.obspa.family`)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from spa.errors import SettingError
from spa.importance.aggregate import NORMALIZATIONS
from spa.importance.criterion import names

BatchNorms = Literal["keep", "refresh", "relative", "analytic"]
TargetOutputs = Literal["dense", "own", "stream"]
Damping = float | Literal["oas", "held-out"]

# Ridge where nothing else is asked for.
SHARE = 0.01
DAMPINGS = ("oas", "held-out")
TARGETS = ("dense", "own", "stream")
BATCH_NORMS = ("keep", "refresh", "relative", "analytic")


@dataclass(frozen=True)
class Settings:
    """How channels are chosen and how the rest is refitted.

    In convolutional networks (digits and Fashion-MNIST, RF 2 to 6) ``l1`` ranks as well as the OBS
    score or better, and needs no inputs; the dense model's outputs as the target were worth 6 to 22
    points at RF 4 on residual networks; batch statistics make noise and inputs of other kinds
    usable and cost nothing on the task's own; damping from 0.1 % to 3 % is all the same. In
    transformers ``l1`` is ruinous, and the dense target with a small ridge worse than no refit.

    Attributes:
        selection: a criterion of `spa.importance`; one that looks at data sees the calibration
            inputs (``obs`` is the OBS score). None: ``l1``, or ``obs`` in a transformer.
        normalize: how its scores are made comparable between groups. None: ``mean``.
        shares: a criterion whose scores say how much every group loses, where the selection only
            ranks within groups; None: the selection's own.
        shares_normalize: how those are made comparable. None: that criterion's own.
        target_outputs: what a layer's refitted outputs should equal: those of the ``dense`` model
            on its own inputs (asymmetric least squares), its ``own`` before the removal, or what
            brings the residual ``stream`` that it adds to back to the dense model's (as ``own``
            where a layer adds to none). None: ``dense``, or ``stream`` in a transformer.
        refit: whether weights are refitted at all; without, channels are chosen and cut, and batch
            norms treated, the same way.
        intercept: whether what a refit leaves of the mean goes into a bias, or a batch norm's mean.
        damping: the ridge: share of the Hessian's mean diagonal; ``oas``, by shrinkage of the
            covariance; or ``held-out``, what does best on a quarter of the inputs that the fit has
            not seen. None: 1 %; in a transformer ``held-out`` on given inputs, 100 % on others.
        token_weights: whether positions count less where the stream that a layer adds to is larger.
            None: in a transformer.
        batch_norms: ``keep`` delivers the stored statistics; ``refresh`` replaces them by those of
            the calibration inputs; ``relative`` moves them by what the pruning moved;
            ``analytic`` moves them by what closed-form moments say, without inputs.
        batch_statistics: whether batch norms normalise with the statistics that the calibration
            inputs have in the dense model, while inputs of layers are collected. What is delivered
            is a matter of ``batch_norms`` alone.
        rounds: times that channels are scored, refitted and taken away; scores are renewed.
        greedy: whether the channels of every group are chosen again by exact losses, a tenth of
            them at a time; how many go of each is as selected.
        swaps: rounds of a local search in every group after the selection: the cheapest channels
            to give up are exchanged for the best of those that went, while the loss falls.
        samples: calibration inputs that are made, or taken from the given ones.
        columns: positions (sample and place) that go into one layer's Hessian, at most.
        memory: GiB that activations may take; None is a quarter of what is free.
        device: where products and nodes are computed, as torch names it.
        seed: for noise, for the start of a synthesis and for the choice of positions.
    """

    selection: str | None = None
    normalize: str | None = None
    shares: str | None = None
    shares_normalize: str | None = None
    target_outputs: TargetOutputs | None = None
    refit: bool = True
    intercept: bool = True
    damping: Damping | None = None
    token_weights: bool | None = None
    batch_norms: BatchNorms = "keep"
    batch_statistics: bool = True
    rounds: int = 1
    greedy: bool = False
    swaps: int = 0
    samples: int = 256
    columns: int = 12_000
    memory: float | None = None
    device: str = "cpu"
    seed: int = 0

    @property
    def share(self) -> float:
        """The ridge as a share of the mean diagonal, where it is, or has to be, a fixed one."""
        return SHARE if self.damping is None or isinstance(self.damping, str) else self.damping

    def __post_init__(self) -> None:
        for name in ("selection", "shares"):
            _one_of(name, getattr(self, name), (None, *names()))
        for name in ("normalize", "shares_normalize"):
            _one_of(name, getattr(self, name), (None, *NORMALIZATIONS))
        _one_of("target_outputs", self.target_outputs, (None, *TARGETS))
        _one_of("batch_norms", self.batch_norms, BATCH_NORMS)
        damping = self.damping
        if isinstance(damping, str):
            _one_of("damping", damping, DAMPINGS)
        elif damping is not None and not 0.0 < damping < math.inf:
            raise SettingError(
                f"damping must be a positive number, {' or '.join(DAMPINGS)}; {damping:g} was "
                "given."
            )
        for name, least in (("samples", 1), ("columns", 1), ("rounds", 1), ("swaps", 0)):
            if getattr(self, name) < least:
                raise SettingError(
                    f"{name} must be {least} or more; {getattr(self, name)} was given."
                )


def _one_of(name: str, value: object, known: tuple[object, ...]) -> None:
    if value not in known:
        listed = ", ".join(str(each) for each in known if each is not None)
        raise SettingError(f'{name} must be one of {listed}; "{value}" was given.')
