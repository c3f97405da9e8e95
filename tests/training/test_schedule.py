"""Learning rates: the curves, by hand."""

from __future__ import annotations

import pytest

from spa.errors import SettingError
from spa.training.schedule import Schedule


def rates(schedule: Schedule, *epochs: float) -> list[float]:
    return [schedule.rate(epoch) for epoch in epochs]


def test_cosine_falls_to_nothing_after_warm_up():
    found = rates(Schedule(1.0, 10, warmup=2), 0, 1, 2, 6, 10)
    assert found == pytest.approx([0.1 / 2.1, 1.1 / 2.1, 1, 0.5, 0])


def test_multistep_falls_at_each_milestone():
    found = rates(Schedule(0.1, 200, "multistep", (120, 150, 180)), 0, 119.9, 120, 150, 199)
    assert found == pytest.approx([0.1, 0.1, 0.01, 0.001, 0.0001])
    halved = rates(Schedule(1.0, 4, "multistep", (2,), gamma=0.5, warmup=1), 0.9, 1, 2)
    assert halved == pytest.approx([1 / 1.1, 1, 0.5])


def test_constant_stays():
    assert rates(Schedule(0.1, 3, "constant"), 0, 2.5) == [0.1, 0.1]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"kind": "cosin"}, r"no schedule \"cosin\". Did you mean cosine"),
        ({"kind": "multistep"}, "multistep schedule needs milestones"),
        ({"kind": "multistep", "milestones": (0, 3)}, "Milestones are epochs, 1 or more; 0"),
        ({"gamma": 0.0}, "gamma of a schedule must be above 0"),
        ({"warmup": -1}, "warm-up must be 0 epochs or more; -1"),
    ],
)
def test_what_has_no_meaning_is_refused(wrong, said):
    with pytest.raises(SettingError, match=said):
        Schedule(0.1, 10, **wrong)
