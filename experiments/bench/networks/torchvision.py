"""torchvision's classification, segmentation and detection networks, with random weights."""

from __future__ import annotations

from typing import Any

from experiments.bench.networks import LISTS, NETWORKS, Network
from experiments.bench.networks.smallest import SIZES, smallest_image
from experiments.bench.networks.waking import wake

# Builders that take an argument for weights of a part, which would be fetched.
_BACKBONES = ("segmentation", "detection")
# Detectors scale their image to this size, but for the SSDs, which have one of their own. Without
# learned weights no box is likely, so all are; few are enough.
_PIXELS = 64
_DETECTION = {
    "rcnn": {
        "min_size": _PIXELS, "max_size": _PIXELS, "rpn_pre_nms_top_n_test": 50,
        "rpn_post_nms_top_n_test": 10, "box_score_thresh": 0.0, "box_detections_per_img": 5,
    },
    "ssd": {"score_thresh": 0.0, "topk_candidates": 20, "detections_per_img": 5},
    "": {
        "min_size": _PIXELS, "max_size": _PIXELS, "score_thresh": 0.0, "topk_candidates": 20,
        "detections_per_img": 5,
    },
}  # fmt: skip


@NETWORKS.register("torchvision/")
def torchvision(name: str) -> Network:
    """Builds a network by the name of its builder."""
    from spa.bridge.torchvision_shim import import_torchvision

    models = import_torchvision().models
    kind = models.get_model_builder(name).__module__.split(".")[2]
    extra: dict[str, Any] = {"weights_backbone": None} if kind in _BACKBONES else {}
    if name in ("googlenet", "inception_v3"):
        extra = {"init_weights": False, "aux_logits": False}
    if kind == "detection":
        extra |= next(settings for part, settings in _DETECTION.items() if part in name)
    module = models.get_model(name, weights=None, **extra).eval()
    wake(module)
    if kind == "detection":
        _spread_scores(module)
        return _detector(module)
    if kind == "segmentation":
        module = _map_alone(module)
    return Network(kind, module, (smallest_image(module, 3, SIZES),))


def _names() -> tuple[str, ...]:
    from spa.bridge.torchvision_shim import import_torchvision

    models = import_torchvision().models
    parts = (models, models.segmentation, models.detection)
    return tuple(sorted(name for part in parts for name in models.list_models(module=part)))


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


def _spread_scores(network: Any) -> None:
    """Makes classes differ: fresh scores are so close that rounding would put boxes in order."""
    import torch

    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "classification_head" in name and weight.dim() == 4:
                weight *= 10


def _detector(network: Any) -> Network:
    """A detector that takes one image (3, H, W), and gives boxes, labels and the rest in a row."""
    import torch
    from torch import Tensor, nn

    class OneImage(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, image: Tensor) -> tuple[Tensor, ...]:
            (found,) = self.network([image])
            return tuple(found.values())

    class Backbone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network.backbone

        def forward(self, images: Tensor) -> tuple[Tensor, ...]:
            return tuple(self.network(images).values())

    def backbone() -> Network:
        module = Backbone().eval()
        return Network("detection, backbone", module, (smallest_image(module, 3, SIZES),))

    image = torch.rand(3, _PIXELS, _PIXELS)
    return Network("detection", OneImage().eval(), (image,), batched=False, instead=backbone)
