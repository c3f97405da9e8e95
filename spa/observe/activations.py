"""What tensors hold while a model runs, batch after batch; nothing is kept of earlier ones."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from spa.graph.model import Array, Model
from spa.graph.opened import Opened
from spa.observe.data import Data

# Bytes of the wanted tensors in one batch, and samples in it at most.
BUDGET = 2**28
MOST = 64


def activations(model: Model, data: Data, tensors: Sequence[str]) -> Iterator[dict[str, Array]]:
    """Runs the file on all samples, as ONNX Runtime runs it for users.

    Args:
        model: the model.
        data: its samples.
        tensors: what to give; outputs and inner tensors.

    Yields:
        Of every batch the tensors by name, each of its own shape.

    Raises:
        ModelError: ONNX Runtime refuses the model or a batch.
        SettingError: there are fewer samples than the model takes at once.
    """
    each = sum(4 * math.prod(model.shapes[name]) for name in tensors) // max(1, model.batch_size)
    opened = Opened(model.proto, tensors, optimize=False)
    for batch in data.fixed_batches(max(1, min(MOST, BUDGET // max(1, each)))):
        found = opened.run(batch.inputs)
        yield {name: found[name] for name in tensors}
