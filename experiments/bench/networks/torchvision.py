"""torchvision's classification, segmentation and detection networks, with random weights."""

from __future__ import annotations

from typing import Any

from experiments.bench.networks import LISTS, NETWORKS, Network
from experiments.bench.networks.smallest import SIZES, smallest_image

# Builders that take an argument for weights of a part, which would be fetched.
_BACKBONES = ("segmentation", "detection")


@NETWORKS.register("torchvision/")
def torchvision(name: str) -> Network:
    """Builds a network by the name of its builder."""
    from spa.bridge.torchvision_shim import import_torchvision

    models = import_torchvision().models
    kind = models.get_model_builder(name).__module__.split(".")[2]
    extra = {"weights_backbone": None} if kind in _BACKBONES else {}
    if name in ("googlenet", "inception_v3"):
        extra = {"init_weights": False, "aux_logits": False}
    module = models.get_model(name, weights=None, **extra).eval()
    if kind == "segmentation":
        module = _map_alone(module)
    return Network(kind, module, (smallest_image(module, 3, SIZES),))


def _names() -> tuple[str, ...]:
    from spa.bridge.torchvision_shim import import_torchvision

    models = import_torchvision().models
    found = (*models.list_models(module=models), *models.list_models(module=models.segmentation))
    return tuple(sorted(found))


LISTS["torchvision"] = _names


def _map_alone(network: Any) -> Any:
    """A segmentation network that gives its map alone, out of a dictionary."""
    from torch import Tensor, nn

    class MapAlone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: Tensor) -> Tensor:
            result: Tensor = self.network(images)["out"]
            return result

    return MapAlone().eval()
