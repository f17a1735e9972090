"""The paper's network (A.3): ResNet-18, for small images and for large ones."""

from __future__ import annotations

from torch import nn
from torchvision.models import resnet18 as imagenet_resnet18

LARGEST_SMALL = 64  # pixels; the stem for ImageNet would leave 2 x 2 of a 64 x 64 image


def resnet18(classes: int, resolution: int) -> nn.Module:
    """Return an untrained ResNet-18.

    Up to 64 pixels its stem is one 3 × 3 convolution that keeps the resolution, as is usual for CIFAR; above it is
    ImageNet's, which divides it by four.
    """
    network: nn.Module = imagenet_resnet18(weights=None, num_classes=classes)
    if resolution <= LARGEST_SMALL:
        network.conv1 = nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
        network.maxpool = nn.Identity()
    return network
