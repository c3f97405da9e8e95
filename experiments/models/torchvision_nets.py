"""Networks of torchvision, the named ones with a stem that fits the pictures.

`torchvision/<name>` is any of its classifiers, or of its networks for segmentation, as it is; only
what cannot work is changed: the first convolution takes as many channels as the pictures have, and
pictures below 32 pixels are enlarged inside a classifier by repeating pixels. Networks for
segmentation have no auxiliary head, and their backbones are fresh too.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from experiments.ground.registry import unknown
from experiments.models import MODELS, Shape

SMALL = 64  # below this many pixels the stem keeps the resolution
LEAST = 32  # what torchvision's own classifiers need, most of them


@MODELS.register("resnet18")
def resnet18(input_shape: Shape, classes: int) -> nn.Module:
    """ArXiv 1512.03385; on small pictures a 3x3 stem without pool."""
    return _resnet("resnet18", input_shape, classes)


@MODELS.register("resnet50")
def resnet50(input_shape: Shape, classes: int) -> nn.Module:
    """ArXiv 1512.03385; on small pictures a 3x3 stem without pool."""
    return _resnet("resnet50", input_shape, classes)


@MODELS.register("mobilenet_v2")
def mobilenet_v2(input_shape: Shape, classes: int) -> nn.Module:
    """ArXiv 1801.04381; on small pictures fewer strides, the first ones left out."""
    # (expansion, channels, blocks, stride) of each stage
    stages = [
        *([1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 3, 2], [6, 64, 4, 2]),
        *([6, 96, 3, 1], [6, 160, 3, 2], [6, 320, 1, 1]),
    ]
    side = min(input_shape[1:])
    if side < SMALL:
        stages[1][3] = 1
        if side < 16:
            stages[2][3] = 1
    models = _torchvision_models()
    net = models.MobileNetV2(num_classes=classes, inverted_residual_setting=stages)
    if side < SMALL:
        net.features[0][0].stride = (1, 1)
    return _take_channels(net, input_shape[0])


@MODELS.register("densenet121")
def densenet121(input_shape: Shape, classes: int) -> nn.Module:
    """ArXiv 1608.06993; on small pictures a 3x3 stem without pool."""
    net = _torchvision_models().densenet121(weights=None, num_classes=classes)
    if min(input_shape[1:]) < SMALL:
        net.features.conv0 = _stem(input_shape[0], net.features.conv0.out_channels)
        net.features.pool0 = nn.Identity()
    return _take_channels(net, input_shape[0])


@MODELS.register("torchvision/")
def torchvision_net(name: str, input_shape: Shape, classes: int) -> nn.Module:
    """Build any classifier of torchvision, or network for segmentation, with fresh weights."""
    models = _torchvision_models()
    known, maps = (models.list_models(module=m) for m in (models, models.segmentation))
    if name not in (*known, *maps):
        raise unknown("torchvision model", name, [*known, *maps])
    options: dict[str, object] = {"weights": None, "num_classes": classes}
    if name in maps:
        net = models.get_model(name, weights_backbone=None, aux_loss=None, **options)
        return MapAlone(_take_channels(net, input_shape[0]))
    factor = -(-LEAST // min(input_shape[1:]))
    if name in ("googlenet", "inception_v3"):  # the training-only heads have no place in a file
        options |= {"aux_logits": False, "init_weights": True}
    if name.startswith("vit_"):
        options["image_size"] = input_shape[1] * factor
    net = _take_channels(models.get_model(name, **options), input_shape[0])
    return nn.Sequential(nn.Upsample(scale_factor=factor), net) if factor > 1 else net


class MapAlone(nn.Module):
    """A network for segmentation that gives its map of scores, out of a dictionary."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """pictures: (N, C, H, W) -> (N, classes, H, W)."""
        found: torch.Tensor = self.network(pictures)["out"]
        return found


def _torchvision_models() -> Any:
    from spa.bridge.torchvision_shim import import_torchvision

    return import_torchvision().models


def _resnet(name: str, shape: Shape, classes: int) -> nn.Module:
    net = getattr(_torchvision_models(), name)(weights=None, num_classes=classes)
    if min(shape[1:]) < SMALL:
        net.conv1 = _stem(shape[0], net.conv1.out_channels)
        net.maxpool = nn.Identity()
    return _take_channels(net, shape[0])


def _stem(in_chs: int, out_chs: int) -> nn.Conv2d:
    conv = nn.Conv2d(in_chs, out_chs, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


def _take_channels(net: nn.Module, channels: int) -> nn.Module:
    """Replace the first convolution when it takes another number of channels."""
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            if module.in_channels == channels:
                return net
            fresh = nn.Conv2d(
                channels,
                module.out_channels,
                cast(tuple[int, int], module.kernel_size),
                cast(tuple[int, int], module.stride),
                cast(tuple[int, int], module.padding),
                bias=module.bias is not None,
            )
            owner, _, attribute = name.rpartition(".")
            setattr(net.get_submodule(owner), attribute, fresh)
            return net
    return net
