"""timm's networks, with random weights: the smallest of every module, and then the next ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments.bench.networks import LISTS, NETWORKS, Network
from experiments.bench.networks.smallest import SIZES, smallest_image
from experiments.bench.networks.waking import wake


@NETWORKS.register("timm/")
def timm(name: str) -> Network:
    """Builds a network by its name."""
    from spa.bridge.torchvision_shim import import_torchvision

    import_torchvision()
    import timm as library

    config = library.get_pretrained_cfg(name)
    channels, usual, _ = config.input_size
    if config.fixed_input_size:
        module, image = _for_half_size(name, channels, usual)
    else:
        module = library.create_model(name, pretrained=False).eval()
        sizes = [size for size in SIZES if size < usual]
        image = smallest_image(module, channels, [*sizes, usual])
    wake(module)
    return Network(type(module).__module__.rpartition(".")[2], module, (image,))


def _for_half_size(name: str, channels: int, usual: int) -> tuple[Any, Any]:
    """A network whose image has one size, built for half of it where that is possible."""
    import timm as library

    try:
        module = library.create_model(name, pretrained=False, img_size=usual // 2).eval()
        return module, smallest_image(module, channels, [usual // 2])
    except (AssertionError, RuntimeError, TypeError, ValueError):
        module = library.create_model(name, pretrained=False).eval()
        return module, smallest_image(module, channels, [usual])


def _names() -> tuple[str, ...]:
    return tuple(Path(__file__).with_suffix(".txt").read_text().split())


LISTS["timm"] = _names
