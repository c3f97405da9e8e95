"""timm's networks, with random weights: the smallest of every module, and then the next ones."""

from __future__ import annotations

from pathlib import Path

from experiments.bench.networks import LISTS, NETWORKS, Network
from experiments.bench.networks.smallest import SIZES, smallest_image
from experiments.bench.networks.waking import wake


@NETWORKS.register("timm/")
def timm(name: str) -> Network:
    """Builds a network by its name."""
    from spa.bridge.torchvision_shim import import_torchvision

    import_torchvision()
    import timm as library

    module = library.create_model(name, pretrained=False).eval()
    wake(module)
    channels, usual, _ = module.default_cfg["input_size"]
    fixed = module.default_cfg.get("fixed_input_size", False)
    sizes = () if fixed else tuple(size for size in SIZES if size < usual)
    family = type(module).__module__.rpartition(".")[2]
    return Network(family, module, (smallest_image(module, channels, (*sizes, usual)),))


def _names() -> tuple[str, ...]:
    return tuple(Path(__file__).with_suffix(".txt").read_text().split())


LISTS["timm"] = _names
