"""The trainings of one run: kept while they go, ended when asked to, shared by processes.

Every training of a torch module in the harness goes through here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.ground.progress import Progress
from experiments.training.budget import Budget
from experiments.training.checkpoints import Checkpoint
from experiments.training.interrupts import Interrupted, Interrupts
from spa.errors import SpaError

if TYPE_CHECKING:
    import onnx
    from torch import nn

    from experiments.data import Dataset
    from experiments.training.team import Processes
    from spa.training.hooks import HookSpec

STATE = "checkpoint.pt"


@dataclass(frozen=True)
class Trainer:
    """How this run trains, whatever it trains.

    Attributes:
        seed: the run's.
        device: ``auto``, ``cpu`` or ``cuda``.
        threads: of torch; None: as many as there are cores.
        every: seconds between two states that are kept.
        team: the processes that train together, of which this is the first; None when alone.
    """

    seed: int
    device: str
    threads: int | None
    every: float
    progress: Progress
    interrupts: Interrupts
    team: Processes | None = None

    @property
    def processes(self) -> int:
        """How many processes train together."""
        return 1 if self.team is None else self.team.size

    def train(
        self,
        net: nn.Module,
        data: Dataset,
        budget: Budget,
        *,
        stream: str,
        folder: Path,
        of: str,
        report: Callable[[dict[str, Any]], None],
        model: onnx.ModelProto | None = None,
        hooks: Sequence[HookSpec] = (),
        dense: Path | None = None,
    ) -> nn.Module:
        """Train a network in place, from where an interrupted training was, if there was one.

        Args:
            net: takes the data set's inputs, and gives what its task's loss takes.
            data: on whose training split, and for whose task, it is trained.
            budget: how long, and how.
            stream: name of this use of the run's seed, ``dense`` or ``finetune``.
            folder: where its state is kept.
            of: what the training starts from, such as a hash.
            report: takes one dict an epoch.
            model: the file that the network was made of; None for the run's fresh network.
            hooks: what happens besides (`spa.training.hooks`).
            dense: the dense file, which a budget that distills has the network learn from.

        The state stays until `forget`: what came of the training is not written yet.

        Raises:
            Interrupted: the run was asked to end; the state is kept.
        """
        import onnx

        from experiments.training.loop import fit, prepare
        from spa.training.team import Stopped

        device = prepare(self.device, self.threads)
        teacher = onnx.load(dense) if budget.distill and dense is not None else None
        with self.interrupts.gently() as asked:
            if self.team is not None:
                files = {"model": _content(model), "teacher": _content(teacher)}
                self.team.same({**files, "budget": budget, "stream": stream, "hooks": hooks})
            checkpoint = Checkpoint(
                folder / STATE,
                of,
                every=self.every,
                stops=asked,
                progress=self.progress,
            )
            try:
                fit(
                    net,
                    data,
                    budget,
                    seed=self.seed,
                    stream=stream,
                    device=device,
                    report=report,
                    progress=self.progress,
                    keeper=checkpoint,
                    team=self.team,
                    model=model,
                    hooks=hooks,
                    teacher=teacher,
                )
            except Stopped:
                self.progress.say(f"asked to end; going on from {checkpoint.path} the next time")
                raise Interrupted from None
            except SpaError:  # for all processes
                raise
            except BaseException:
                if self.team is not None:
                    self.team.in_step = False
                raise
            if asked():  # since the last step
                raise Interrupted
        return net


def _content(model: onnx.ModelProto | None) -> bytes | None:
    return None if model is None else model.SerializeToString()


def forget(folder: Path) -> None:
    """Remove a training's state, when what came of it is written."""
    (folder / STATE).unlink(missing_ok=True)
