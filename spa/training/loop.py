"""The loop that trains torch modules: fresh ones, and what the bridge makes of an ONNX file."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from spa.errors import SettingError
from spa.training.feed import Array, Feed
from spa.training.hooks import Hook, HookSpec, Moment, made
from spa.training.how import Report, Training
from spa.training.objective import Objective, everything, labels
from spa.training.teacher import Teacher
from spa.training.team import Stopped, Team, led

if TYPE_CHECKING:
    from spa.coupling.groups import Groups


class Keeper(Protocol):
    """Keeps the state of a training, so that it can go on after an interruption."""

    def load(self) -> dict[str, Any] | None:
        """The state that was kept last; None where there is none."""

    def due(self) -> bool:
        """Whether the state should be kept now; asked after every step."""

    def stops(self) -> bool:
        """Whether the training should be kept and ended now; asked after every step."""

    def save(self, state: dict[str, Any]) -> None:
        """Keeps a state: tensors, numbers and texts in dicts and lists."""


def fit(
    net: nn.Module,
    feed: Feed,
    training: Training,
    *,
    device: torch.device | None = None,
    report: Report,
    on_step: Callable[[int, int], None] = lambda epoch, step: None,
    keeper: Keeper | None = None,
    team: Team | None = None,
    hooks: Sequence[HookSpec] = (),
    groups: Groups | None = None,
    objective: Objective | None = None,
    teacher: Teacher | None = None,
) -> nn.Module:
    """Trains a network in place.

    Args:
        net: what the objective takes the outputs of. Of the feed's inputs it gets those that it
            names (as a module of `spa.bridge` does), else all in their order.
        feed: what it is trained on.
        training: how.
        device: where; the CPU where left out.
        report: takes one dict an epoch: epoch, loss, accuracy (of the training batches, in train
            mode; where the objective has guesses), lr, seconds. After an interruption it gets those
            of before again.
        on_step: called with the epoch's and the batch's number, both from 0, after each step.
        keeper: keeps the state (only the leader has one); a training that goes on from it ends
            with the same weights, to the last bit where the operators are deterministic.
        team: with whom; each process calls this with the same arguments, and all of them leave it
            at the same point, by an error too; but for one in a step itself.
        hooks: what happens besides (`spa.training.hooks`), in this order.
        groups: the coupled sets of the network's file, for hooks that ask for their norms.
        objective: what for; where left out, as a classifier.
        teacher: whose answers it learns besides.

    Returns:
        The same module, on the CPU and in eval mode.

    Raises:
        SettingError: the loss is no longer finite, or there is a teacher but no classes.
        Stopped: the keeper ended it, or the leader could not go on.
    """
    team = team or Team()
    objective = objective or labels(training.label_smoothing)
    net.to(device)
    if teacher is not None:
        if objective.scores is None:
            raise SettingError("A teacher's scores of classes are compared; here are no classes.")
        teacher.net.to(device)
    optimizer = _optimizer(net, training)
    at = _At()
    kept = team.same(keeper is not None)
    state = team.same(keeper.load() if keeper is not None else None)
    watching = made(hooks)
    if state is not None:
        at = _restore(state, net, optimizer, team.leads)
        for each, its_state in zip(watching, state.get("hooks", []), strict=True):
            each.restore(its_state)
        for old in at.rows:
            led(team, partial(report, old))
    moment = Moment(net, feed.epochs, feed.steps, groups=groups)
    for each in watching:
        each.begin(moment)
    trained = team.wrap(net)
    while at.epoch < feed.epochs:
        started, rate = time.monotonic(), 0.0
        net.train()
        for x, y in feed.after(at.epoch, at.step):
            rate = feed.rate(at.epoch, at.step)
            for group in optimizer.param_groups:
                group["lr"] = rate
            mine, weight = team.share(len(y))
            inputs = [_tensor(each[mine], device) for each in arguments(net, x)]
            targets = _tensor(y[mine], device)
            outputs = everything(trained(*inputs))
            if teacher is None:
                loss = objective.loss(outputs, targets)
            else:
                loss = teacher.loss(objective, inputs, outputs, targets)
            moment.epoch, moment.step, moment.rate = at.epoch, at.step, rate
            whole = loss * weight
            if watching:
                # Gradients are summed over the team, so each part of it adds its share.
                penalty = sum((each.penalty(moment) for each in watching), 0.0)
                whole = whole + penalty * (weight * len(targets))
            optimizer.zero_grad(set_to_none=True)
            whole.backward()  # type: ignore[no-untyped-call]
            for each in watching:
                each.gradients(moment)
            if training.clip is not None:
                nn.utils.clip_grad_norm_(net.parameters(), training.clip)
            optimizer.step()
            for each in watching:
                each.stepped(moment)
            at.loss += float(loss.detach())
            at.correct += objective.right(outputs, targets)
            at.seen += len(targets)
            on_step(at.epoch, at.step)
            at.step += 1
            if kept and at.step < feed.steps:
                at.seconds += time.monotonic() - started
                started = time.monotonic()
                _keep(keeper, team, at, net, optimizer, watching)
        for each in watching:
            each.epoch(moment)
        at.seconds += time.monotonic() - started
        loss_sum, correct, seen = team.total([at.loss, at.correct, at.seen])
        row: dict[str, Any] = {
            "epoch": at.epoch + 1,
            "loss": loss_sum / seen,
            **({} if objective.guess is None else {"accuracy": correct / seen}),
            "lr": rate,
            "seconds": at.seconds,
        }
        if not math.isfinite(row["loss"]):
            raise SettingError(
                f"The loss is {row['loss']} after epoch {at.epoch + 1}; a smaller learning rate "
                f"than {rate:g} may help."
            )
        led(team, partial(report, row))
        at = _At(at.epoch + 1, rows=[*at.rows, row])
        if kept:  # after the last epoch too: it may have been asked to end in the last step
            _keep(keeper, team, at, net, optimizer, watching)
    for each in watching:
        each.end(moment)
    return net.to("cpu").eval()


@dataclass
class _At:
    """How far a training is.

    Attributes:
        epoch: the one that is under way, from 0.
        step: its next batch.
        loss: summed over the samples of this epoch that this process saw, `seen` of them; and
            `correct`, the shares of them that were told right.
        seconds: that this epoch has taken.
        rows: what was reported of the epochs before.
    """

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    correct: float = 0.0
    seen: int = 0
    seconds: float = 0.0
    rows: list[dict[str, Any]] = field(default_factory=list)


def _keep(
    keeper: Keeper | None,
    team: Team,
    at: _At,
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    hooks: Sequence[Hook],
) -> None:
    """Keeps the whole team's sums with the leader's weights, if it is time; all have the same."""
    asked = (keeper.due(), keeper.stops()) if keeper is not None else None
    due, stops = team.same(asked)
    if not due and not stops:
        return
    loss, correct, seen = team.total([at.loss, at.correct, at.seen])

    def save() -> None:
        assert keeper is not None
        so_far = replace(at, loss=loss, correct=correct, seen=int(seen))
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        keeper.save({
            "at": asdict(so_far),
            "net": net.state_dict(),
            "optimizer": optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": cuda,
            "hooks": [each.state() for each in hooks],
        })  # fmt: skip

    led(team, save)
    if stops:
        raise Stopped


def _restore(
    state: dict[str, Any], net: nn.Module, optimizer: torch.optim.Optimizer, leads: bool
) -> _At:
    net.load_state_dict(state["net"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random"])
    if len(state["random_cuda"]) == torch.cuda.device_count() > 0:
        torch.cuda.set_rng_state_all(state["random_cuda"])
    at = _At(**state["at"])
    return at if leads else replace(at, loss=0.0, correct=0.0, seen=0)


def arguments(net: nn.Module, x: Array | Mapping[str, Array]) -> list[Array]:
    """What a module is called with.

    Raises:
        SettingError: the data lack an input that it names.
    """
    if not isinstance(x, Mapping):
        return [x]
    names = getattr(net, "input_names", None)
    if names is None or len(x) == len(names) == 1:  # one input goes by any name
        return list(x.values())
    missing = [name for name in names if name not in x]
    if missing:
        raise SettingError(
            f"The network takes {', '.join(names)}, but the data have {', '.join(x)}; there is no "
            f"{missing[0]}."
        )
    return [x[name] for name in names]


def _tensor(array: Array, device: torch.device | None) -> torch.Tensor:
    return torch.from_numpy(array).to(device, non_blocking=True)


def _optimizer(net: nn.Module, training: Training) -> torch.optim.Optimizer:
    weights = [weight for weight in net.parameters() if weight.requires_grad]
    # The feed sets the learning rate of every step.
    if training.optimizer == "adamw":
        return torch.optim.AdamW(weights, weight_decay=training.weight_decay)
    return torch.optim.SGD(
        weights, lr=1.0, momentum=training.momentum, weight_decay=training.weight_decay
    )
