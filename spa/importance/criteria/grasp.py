"""GraSP: keep what keeps the gradient's norm (Wang et al., Picking Winning Tickets, 4.2).

The paper removes the weights with the largest -w * (H g), g the gradient and H the Hessian of the
loss at a temperature of 200; so w * (H g) is what is worth keeping. Scores have both signs.
"""

from __future__ import annotations

import numpy as np

from spa.graph.model import Model
from spa.importance.registry import Context, ElementScores, criterion

TEMPERATURE = 200.0


@criterion("element", normalize="none")
def grasp(model: Model, context: Context) -> ElementScores:
    """Scores every parameter element by w * (H g)."""
    from spa.importance.gradients import hessian_gradient_products

    products = hessian_gradient_products(model, context, TEMPERATURE)
    return {
        name: model.array(model.root(name)).astype(np.float64) * product
        for name, product in products.items()
    }
