"""OBD with the Fisher diagonal: half of w^2 times the mean over samples of (dL/dw)^2.

Of every single sample the gradient is squared: the square of a mini-batch's gradient is smaller by
about the batch's size, and Torch-Pruning 1.6's score is that of the last sample alone. Samples run
one by one, so that one sample's gradients and one running sum per weight are held, however many
samples there are; that takes one pass forth and back for each.

``empirical`` takes the data's labels, or any loss; ``true`` labels that the model draws from its
own class scores, which makes it the Fisher information, and the Hessian of a trained model in
expectation. The plan says which.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from spa.errors import SettingError
from spa.importance.criterion import Need, criterion
from spa.importance.values import Elements
from spa.importance.view import View
from spa.observe.gradients import Gradients


@dataclass(frozen=True)
class Hessian:
    """Options of the diagonal Hessian.

    Attributes:
        fisher: whose labels the gradients are of: the data's, or the model's own.
    """

    fisher: Literal["empirical", "true"] = "empirical"


@criterion(
    source="LeCun et al. 1990, Optimal Brain Damage, eq. 5; Fisher diagonal as in EigenDamage 2019",
    needs=Need.GRADIENTS | Need.TRAINED,
    normalize="none",
)
def hessian(view: View, how: Hessian) -> Elements:
    """Scores every parameter element by what the loss gains, to second order, when it is zeroed.

    Raises:
        SettingError: the true Fisher of a loss that is no cross-entropy.
    """
    # A single sample has no statistics of its own.
    loss = view.differentiated(statistics="stored")
    view.seen["fisher"] = how.fisher
    if how.fisher == "true" and view.seen["loss"] != "cross_entropy":
        raise SettingError(
            f"The true Fisher draws labels from class scores, and the loss is {view.seen['loss']}; "
            "use cross_entropy, or --option fisher=empirical."
        )
    squares: Gradients = {}
    for gradients in loss.each_sample(seed=view.seed if how.fisher == "true" else None):
        for name, gradient in gradients.items():
            square = np.square(gradient)
            if name in squares:
                squares[name] += square
            else:
                squares[name] = square
    # w^2 g^2: a weight twice times what is summed.
    twice = loss.weighted(loss.weighted(squares))
    return Elements({name: 0.5 * value / loss.samples for name, value in twice.items()})
