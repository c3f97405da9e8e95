"""Distillation: the loss by hand; its gradients; what does not count; what is left as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from spa.bridge import to_torch
from spa.errors import SettingError
from spa.training.feed import Feed
from spa.training.how import Training
from spa.training.loop import fit
from spa.training.objective import IGNORED, Objective, labels
from spa.training.teacher import Teacher, divergence
from tests.graphs import classifier
from tests.training.test_hooks import EPOCHS, STEPS, Keeping, feed, resumed


class Says(nn.Module):
    """Gives its input: the scores are what one says they are."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x):
        return x * self.factor


def probabilities(scores, temperature):
    raised = np.exp(np.array(scores) / temperature)
    return raised / raised.sum()


def test_the_loss_by_hand():
    x, targets = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([1, 1])
    teacher = Teacher(Says(3.0), weight=0.25, temperature=2.0)
    found = teacher.loss(labels(), [x], (x,), targets)
    hard = soft = 0.0
    for scores in x.tolist():
        hard -= np.log(probabilities(scores, 1)[1])
        p, q = probabilities([3 * s for s in scores], 2), probabilities(scores, 2)
        soft += 4 * (p * np.log(p / q)).sum()
    assert float(found) == pytest.approx(0.75 * hard + 0.25 * soft, rel=1e-5)


def test_gradients_are_those_of_soft_targets():
    """T^2 KL has the gradient T (q - p) of the scores (Hinton et al. 2015, eq. 2, times T^2)."""
    scores = torch.tensor([[1.0, -1.0, 0.5]], requires_grad=True)
    wanted, t = torch.tensor([[0.0, 2.0, 1.0]]), 3.0
    divergence(scores, wanted, t).sum().backward()
    want = t * ((scores / t).softmax(-1) - (wanted / t).softmax(-1))
    torch.testing.assert_close(scores.grad, want.detach())


def test_places_that_do_not_count_are_not_compared():
    objective = Objective(lambda outputs, targets: outputs[0].sum() * 0, None, lambda out: out[0])
    x = torch.randn(2, 3, 4)  # two samples of three places
    targets = torch.tensor([[1, 2, IGNORED], [IGNORED] * 3])
    found = Teacher(Says(2.0), 1.0, 1.0).loss(objective, [x], (x,), targets)
    want = divergence(x[0, :2], 2 * x[0, :2], 1.0).mean()
    torch.testing.assert_close(found, want)


def test_a_teacher_stays_as_it_was_and_is_learned_from():
    """With the whole weight on a teacher, targets do not matter, and the networks come closer."""
    teacher, students = to_torch(classifier(seed=1)), []
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    x = torch.randn(16, 3, 8, 8)
    for shift in (0, 1):

        def epoch(number, shift=shift):
            for x, y in feed().epoch(number):
                yield x, (y + shift) % 5

        net = to_torch(classifier())
        apart = [float(divergence(net(x), teacher.eval()(x), 4.0).sum().detach())]
        fit(
            net,
            Feed(epoch, lambda epoch, step: 0.01, 20, STEPS, 8),
            Training(),
            report=lambda row: None,
            teacher=Teacher(teacher, weight=1.0),
        )
        apart.append(float(divergence(net(x), teacher(x), 4.0).sum().detach()))
        assert apart[1] < 0.5 * apart[0]
        students.append(net.state_dict())
    assert all(torch.equal(students[0][key], students[1][key]) for key in students[0])
    assert all(torch.equal(value, teacher.state_dict()[key]) for key, value in before.items())
    assert not teacher.training
    assert all(weight.grad is None for weight in teacher.parameters())


def test_resumed_is_uninterrupted_to_the_bit():
    def trained(keeper=None):
        net, teacher = to_torch(classifier()), Teacher(to_torch(classifier(seed=1)))
        torch.manual_seed(0)
        fit(net, feed(), Training(), report=lambda row: None, keeper=keeper, teacher=teacher)
        return net.state_dict()

    resumed(trained, EPOCHS * STEPS)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"weight": 1.5}, "weight of a distillation is from 0, for none, to 1; 1.5"),
        ({"temperature": 0.0}, "temperature of a distillation must be above 0 and finite; 0"),
    ],
)
def test_what_has_no_meaning_is_refused(wrong, said):
    with pytest.raises(SettingError, match=said):
        Teacher(nn.Identity(), **wrong)


def test_what_has_no_classes_has_no_teacher():
    objective = Objective(lambda outputs, targets: outputs[0].square().sum())
    with pytest.raises(SettingError, match="here are no classes"):
        fit(
            to_torch(classifier()),
            feed(),
            Training(),
            report=lambda row: None,
            objective=objective,
            keeper=Keeping(),
            teacher=Teacher(to_torch(classifier())),
        )
