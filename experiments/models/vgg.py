"""VGG-16 and -19 with batch norm, and a small plain relative for digits.

Simonyan and Zisserman (arXiv 1409.1556). On small pictures the head is one Linear after a global
average, as usual on CIFAR, and a pool is left out where there is nothing left to halve.
"""

from __future__ import annotations

import torch
from torch import nn

from experiments.models import MODELS, Shape
from experiments.models.resnet_cifar import conv_bn

# Channels of the convolutions of each stage; a stage ends with a pool.
VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
VGG19 = ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4)
SMALL = ((32, 32), (64, 64), (128, 128))
IMAGENET = 64  # pictures from this many pixels on get the network's full head


class Vgg(nn.Module):
    """Stages of convolutions and pools, then ``head`` on the flattened map."""

    def __init__(self, features: nn.Sequential, head: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.head = head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (N, C, H, W) -> (N, classes)."""
        return self.head(torch.flatten(self.features(x), 1))


def stages(
    plan: tuple[tuple[int, ...], ...], shape: Shape, smallest: int
) -> tuple[list[nn.Module], Shape]:
    """Build the stages, pooling while the map stays at least ``smallest`` pixels wide.

    Returns:
        the layers, and the shape (C, H, W) of what they give.
    """
    layers: list[nn.Module] = []
    chs, h, w = shape
    for widths in plan:
        for width in widths:
            layers += [*conv_bn(chs, width, 3), nn.ReLU()]
            chs = width
        if min(h, w) // 2 >= smallest:
            layers.append(nn.MaxPool2d(2))
            h, w = h // 2, w // 2
    return layers, (chs, h, w)


def _vgg(plan: tuple[tuple[int, ...], ...], shape: Shape, classes: int) -> nn.Module:
    layers, (chs, h, w) = stages(plan, shape, smallest=1)
    if min(shape[1:]) < IMAGENET:
        pooled = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1))
        return _initialise(Vgg(pooled, nn.Linear(chs, classes)))
    head = nn.Sequential(
        *(nn.Linear(chs * h * w, 4096), nn.ReLU(), nn.Dropout()),
        *(nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout()),
        nn.Linear(4096, classes),
    )
    return _initialise(Vgg(nn.Sequential(*layers), head))


def _initialise(net: nn.Module) -> nn.Module:
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return net


@MODELS.register("vgg16_bn")
def vgg16_bn(input_shape: Shape, classes: int) -> nn.Module:
    """13 convolutions; 15 million parameters on small pictures."""
    return _vgg(VGG16, input_shape, classes)


@MODELS.register("vgg19_bn")
def vgg19_bn(input_shape: Shape, classes: int) -> nn.Module:
    """16 convolutions; 20 million parameters on small pictures."""
    return _vgg(VGG19, input_shape, classes)


@MODELS.register("vgg_small")
def vgg_small(input_shape: Shape, classes: int) -> nn.Module:
    """6 convolutions and one Linear on the flattened map; 0.3 million parameters on 8x8."""
    layers, (chs, h, w) = stages(SMALL, input_shape, smallest=2)
    return _initialise(Vgg(nn.Sequential(*layers), nn.Linear(chs * h * w, classes)))
