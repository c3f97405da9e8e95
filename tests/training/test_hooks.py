"""Hooks of the training loop: each goes on to the same bits, and does what it says."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import spa
from spa.bridge import to_torch
from spa.training.feed import Batch, Feed
from spa.training.hooks import HOOKS, Hook, HookSpec, Moment, hook, made, names
from spa.training.how import Training
from spa.training.loop import fit
from spa.training.team import Stopped
from tests.graphs import classifier

EPOCHS, STEPS, BATCH = 2, 3, 8


@hook("test/shrinking")
class Shrinking(Hook):
    """Has all that a hook may have: a penalty, edits, and a state of its own."""

    def __init__(self, strength: float = 1e-2) -> None:
        self.strength, self.seen = strength, 0.0

    def penalty(self, at: Moment):
        return self.strength * sum(norms.sqrt().sum() for norms in at.norms().values())

    def stepped(self, at: Moment) -> None:
        self.seen += float(next(iter(at.weights().values())).detach().abs().sum())
        with torch.no_grad():
            for weight in at.weights().values():
                weight.mul_(1 - 1e-3 * np.tanh(self.seen))

    def epoch(self, at: Moment) -> None:
        self.seen /= 2

    def state(self):
        return {"seen": self.seen}

    def restore(self, state) -> None:
        self.seen = state["seen"]


def feed() -> Feed:
    def epoch(number: int) -> Iterator[Batch]:
        rng = np.random.default_rng(number)
        for _ in range(STEPS):
            yield (
                rng.standard_normal((BATCH, 3, 8, 8)).astype(np.float32),
                rng.integers(0, 5, BATCH),
            )

    return Feed(epoch, lambda epoch, step: 0.05, EPOCHS, STEPS, BATCH)


class Keeping:
    """Ends a training after so many steps; keeps its state."""

    def __init__(self, steps: int | None = None, state=None) -> None:
        self.left, self.state = steps, state

    def load(self):
        return copy.deepcopy(self.state)

    def due(self) -> bool:
        return False

    def stops(self) -> bool:
        if self.left is None:
            return False
        self.left -= 1
        return self.left == 0

    def save(self, state) -> None:
        self.state = copy.deepcopy(state)


def resumed(trained, steps: int):
    """Interrupts a training after each of its steps; it ends with the weights that it gives."""
    whole = trained()
    for step in range(1, steps + 1):
        keeper = Keeping(step)
        with pytest.raises(Stopped):
            trained(keeper)
        again = trained(Keeping(state=keeper.state))
        assert all(torch.equal(whole[key], again[key]) for key in whole), step
    return whole


def trained(specs, keeper=None):
    proto = classifier()
    net = to_torch(proto)
    torch.manual_seed(0)
    groups = spa.find_groups(spa.load(proto))
    fit(net, feed(), Training(), report=lambda row: None, keeper=keeper, hooks=specs, groups=groups)
    return {name: value.clone() for name, value in net.state_dict().items()}


def shown() -> str:
    """Registers the hook that CONTRIBUTING shows, as it stands there."""
    text = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
    (body,) = re.findall(r"^## A hook of the trainer\n(.*?)^##", text, re.DOTALL | re.MULTILINE)
    (code,) = re.findall(r"```python\n(.*?)```", body, re.DOTALL)
    exec(code, {"hook": hook, "Hook": Hook, "Moment": Moment, "Tensor": torch.Tensor, "Any": Any})
    return "fading"


# Hooks of methods, which other tests' imports register, need arguments and networks of their own.
LIBRARY = [name for name in names() if HOOKS.get(name).__module__.startswith("spa.")]


@pytest.mark.parametrize("name", [*LIBRARY, "test/shrinking", shown()])
def test_resumed_is_uninterrupted_to_the_bit(name):
    specs = [HookSpec(name)]
    whole = resumed(lambda keeper=None: trained(specs, keeper), EPOCHS * STEPS)
    plain = trained([])
    assert any(not torch.equal(whole[key], plain[key]) for key in whole)


def test_slimming_adds_the_sign_of_every_scale():
    """One step of plain SGD, with and without, differs by rate * strength * sign(gamma)."""
    one = Feed(feed().epoch, lambda epoch, step: 0.1, 1, 1, BATCH)
    one = Feed(lambda number: list(feed().epoch(number))[:1], one.rate, 1, 1, BATCH)
    nets = []
    for specs in ([], [HookSpec("slimming", {"strength": 0.5})]):
        net = to_torch(classifier())
        before = {k: v.detach().clone() for k, v in net.weights.items()}
        fit(net, one, Training(momentum=0.0), report=lambda row: None, hooks=specs)
        nets.append(net.weights)
    scales = {s.inputs[1] for s in net.steps if s.op == "BatchNormalization"}
    assert scales
    for key in before:
        gap = (nets[0][key] - nets[1][key]).detach()
        want = 0.1 * 0.5 * torch.sign(before[key]) if key in scales else torch.zeros_like(gap)
        torch.testing.assert_close(gap, want, atol=1e-6, rtol=1e-4)


def test_norms_are_those_of_the_coupled_sets():
    proto = classifier()
    groups = spa.find_groups(spa.load(proto))
    found = Moment(to_torch(proto), 1, 1, groups=groups).norms()
    want = spa.score(spa.load(proto), groups, "l2", normalize="none").by_group
    for key, values in want.items():
        np.testing.assert_allclose(found[key].detach().numpy(), values, rtol=1e-5)
        assert found[key].requires_grad


def test_what_cannot_be_made_says_so():
    with pytest.raises(spa.SettingError, match=r"Did you mean.*slimming"):
        made([HookSpec("sliming")])
    with pytest.raises(spa.SettingError, match="Hook slimming: .*strenth"):
        made([HookSpec("slimming", {"strenth": 1})])


@hook("test/watching")
class Watching(Hook):
    """Keeps the weights after every step."""

    seen: list[dict[str, torch.Tensor]]

    def begin(self, at: Moment) -> None:
        type(self).seen = [{k: v.clone() for k, v in at.net.state_dict().items()}]

    def stepped(self, at: Moment) -> None:
        self.seen.append({k: v.clone() for k, v in at.net.state_dict().items()})


def test_the_average_is_that_of_all_steps():
    """By hand: d is 0.1, 2/11, and then 0.2, as (1 + n) / (10 + n) is over that; statistics too."""
    found = trained([HookSpec("test/watching"), HookSpec("average", {"decay": 0.2})])
    start, *rest = Watching.seen
    assert len(rest) == EPOCHS * STEPS
    for key, mean in start.items():
        for step, after in enumerate(rest):
            decay = (0.1, 2 / 11, 0.2)[min(step, 2)]
            mean = decay * mean + (1 - decay) * after[key]
        torch.testing.assert_close(found[key], mean.to(found[key].dtype))
        assert found[key].dtype == start[key].dtype


def test_an_average_of_no_decay_is_the_last_step():
    assert all(
        map(
            torch.equal,
            trained([HookSpec("average", {"decay": 0.0})]).values(),
            trained([]).values(),
        )
    )
    with pytest.raises(spa.SettingError, match="decay of averaged weights is from 0 to below 1; 1"):
        made([HookSpec("average", {"decay": 1})])
