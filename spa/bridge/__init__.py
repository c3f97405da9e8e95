"""ONNX to a trainable torch module and back, and torch modules to ONNX.

proto = from_torch(module, example)   # batch norm alive, parameter names kept
net = to_torch(proto)                 # trains like any nn.Module
proto2 = to_onnx(net, proto)          # present values, by name
"""

import importlib.util

from spa.errors import MissingExtra

for _package in ("torch", "torchvision", "onnx2torch", "onnxscript"):
    if importlib.util.find_spec(_package) is None:
        raise MissingExtra(_package, "torch", "The bridge to PyTorch")

from spa.bridge.exporting import from_torch  # noqa: E402
from spa.bridge.onnx_module import OnnxModule, Step  # noqa: E402
from spa.bridge.reading import to_torch  # noqa: E402
from spa.bridge.writing import to_onnx  # noqa: E402

__all__ = ["OnnxModule", "Step", "from_torch", "to_onnx", "to_torch"]
