"""The dense model that a pruned one is compared with."""

from __future__ import annotations

import onnx

from spa.coupling.couple import Cut
from spa.coupling.zeros import contracted_parameters
from spa.graph.model import Model
from spa.pruning.parameters import rewrite_parameters, zero_slices


def zeroed(model: Model, cut: Cut) -> onnx.ModelProto:
    """The dense model with the removed slices of contracting operators' weights set to zero."""
    return rewrite_parameters(model, cut, zero_slices, only=contracted_parameters(model))
