"""OBSPA: pruning without fine-tuning.

    result = spa.obspa.prune("resnet18.onnx", rf=2.0)            # no data at all
    result = spa.obspa.prune("resnet18.onnx", rf=2.0, calibration=images)

Channels are ranked on the dense model. Then every layer that loses inputs is refitted by least
squares, in topological order, so that it goes on computing what it did; only then are the channels
cut out.
"""

import importlib.util

from spa.errors import MissingExtra

if importlib.util.find_spec("torch") is None:
    raise MissingExtra("torch", "torch", "OBSPA")

from spa.obspa.prune import prune  # noqa: E402
from spa.obspa.settings import Settings  # noqa: E402

__all__ = ["Settings", "prune"]
