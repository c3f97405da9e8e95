"""Where a layer's output joins a residual stream.

    stream = earlier + layer(x)

The layer can then be fitted so that the sum is what the dense model has there, which repairs what
earlier layers lost of the stream too. Biases and what changes no value may stand between.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spa.graph.model import Array, Model
from spa.graph.nodes import Node
from spa.observe.layers import LinearLayer

_SAME = ("Identity", "Dropout", "Cast")
# Share by which the stream's size at the first position may move without a remark.
MOVED = 0.1


@dataclass(frozen=True)
class Joint:
    """An addition that joins a layer's output to a stream.

    Attributes:
        earlier: the stream before it.
        joined: the stream behind it.
    """

    earlier: str
    joined: str


def find_joint(model: Model, layer: LinearLayer) -> Joint | None:
    """The addition that a layer's output goes into; None where it goes elsewhere, or to several."""
    name = layer.node.outputs[0]
    while True:
        uses = model.graph.uses.get(name, ())
        if len(uses) != 1 or name in model.graph.captured:
            return None
        reader: Node = model.graph.nodes[uses[0].node]
        if reader.op == "Add":
            other = reader.inputs[1 - uses[0].position]
            if other not in model.constants:
                same = model.shapes.get(other) == model.shapes.get(reader.outputs[0])
                return Joint(other, reader.outputs[0]) if same else None
        elif reader.op not in _SAME or uses[0].position:
            return None
        name = reader.outputs[0]


def row_weights(stream: Array) -> npt.NDArray[np.float64]:
    """How much every position counts: less, the larger the stream that is added to; (rows,).

    A few positions of language models are a thousand times as large as all others, and would be all
    that least squares sees.
    """
    flat = stream.reshape(-1, stream.shape[-1]).astype(np.float64)
    squares = np.square(flat).mean(axis=1)
    return np.asarray(1.0 / np.maximum(squares, np.finfo(np.float32).tiny))


def scaled_weights(
    streams: Iterable[Array], which: Sequence[npt.NDArray[np.int64]]
) -> list[npt.NDArray[np.float64]]:
    """Weights of some positions of every batch, one on the average."""
    found = [row_weights(x)[some] for x, some in zip(streams, which, strict=True)]
    together = np.concatenate(found)
    # A position where the stream is next to nothing would outweigh all others.
    together = np.minimum(together, 100 * np.median(together))
    mean = max(float(together.mean()), np.finfo(np.float64).tiny)
    ends = np.cumsum([len(some) for some in found])
    return np.split(together / mean, ends[:-1])


def first_position(stream: Array) -> float:
    """Sum of squares at the first position of all samples; x: (N, T, C)."""
    return float(np.square(stream[:, 0].astype(np.float64)).sum())
