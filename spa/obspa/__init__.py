"""OBSPA: pruning without fine-tuning.

    result = spa.obspa.prune("resnet18.onnx", rf=2.0)            # no data at all
    result = spa.obspa.prune("resnet18.onnx", rf=2.0, calibration=images)

Channels are ranked on the dense model. Then every layer that loses inputs is refitted by least
squares, in topological order, so that it goes on computing what it did; only then are the channels
cut out. Activations come from ONNX Runtime; only inputs made from batch norm statistics, criteria
with gradients and other devices than the CPU need PyTorch.
"""

from spa.obspa.prune import prune
from spa.obspa.settings import Settings

__all__ = ["Settings", "prune"]
