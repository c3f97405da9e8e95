"""Networks with learned weights that packages carry, and the structures that onnx carries.

They were exported by Paddle, TensorFlow, PyTorch and Caffe2; `experiments.bench.carried` has them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from experiments.bench import carried as files
from experiments.bench.networks import LISTS, NETWORKS, Network
from experiments.ground.registry import unknown

_LIGHT = (
    "bvlc_alexnet", "densenet121", "inception_v1", "inception_v2", "resnet50", "shufflenet",
    "squeezenet", "vgg19", "zfnet512",
)  # fmt: skip
_SILERO = (
    "silero_vad", "silero_vad_16k_op15", "silero_vad_16k_sequence", "silero_vad_half",
    "silero_vad_op18_ifless", "silero_vad_openvino_16k",
)  # fmt: skip


@NETWORKS.register("carried/")
def carried(name: str) -> Network:
    """Reads a network by its name here."""
    if name not in _READERS:
        raise unknown("network", name, _READERS)
    return _READERS[name]()


def _basic_pitch() -> Network:
    return Network("sound", proto=files.basic_pitch())


def _silero(name: str) -> Network:
    proto = files.silero_vad(name)
    return Network("sound", proto=proto, given=files.silero_inputs(proto))


def _rapidocr(kind: str) -> Network:
    return Network("text in pictures", proto=files.rapidocr(kind))


def _light(name: str) -> Network:
    return Network("filled weights", proto=files.light(name))


def _torch(build: Callable[[], object], size: int) -> Network:
    import torch

    return Network("learned classifier", build(), (torch.randn(2, 3, size, size),))


_READERS: dict[str, Callable[[], Network]] = {
    "basic_pitch": _basic_pitch,
    **{f"rapidocr_{kind}": partial(_rapidocr, kind) for kind in ("det", "cls", "rec")},
    **{name: partial(_silero, name) for name in _SILERO},
    **{f"light_{name}": partial(_light, name) for name in _LIGHT},
    "efficientnet_lite0": partial(_torch, files.efficientnet_lite0, 224),
    "squeezenet": partial(_torch, files.squeezenet, 227),
}


def _names() -> tuple[str, ...]:
    return tuple(_READERS)


LISTS["carried"] = _names
