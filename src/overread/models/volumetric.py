"""Residual networks for volumes, from MONAI."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

RESIDUAL = {"resnet10": (1, 1, 1, 1), "resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}
"""Name -> blocks of two convolutions in each of the four levels (He et al., CVPR 2016; Hara et al., CVPR 2018)."""

_PLANES = [64, 128, 256, 512]


def volumetric(name: str, *, channels: int, classes: int, width: float) -> nn.Module:
    """A residual network with kernels of 3 x 3 x 3 and one output a class.

    Args:
        name: of `RESIDUAL`.
        channels: of the volumes, 1 or 3.
        classes: how many outputs.
        width: share of the usual channels of each level.
    """
    from monai.networks.nets.resnet import ResNet  # takes seconds, and only volumes need it

    network: nn.Module = ResNet(
        "basic",
        list(RESIDUAL[name]),
        _PLANES,
        n_input_channels=channels,
        num_classes=classes,
        conv1_t_size=3,  # volumes are small: the first kernel of 7 x 7 x 7 and the pooling behind it would skip much
        conv1_t_stride=2,
        no_max_pool=True,
        widen_factor=width,
        bias_downsample=False,
    )
    return network


def levels_of(network: Any, volumes: Tensor) -> list[Tensor]:
    """The features of each level of a network from `volumetric`, finest first, at strides 2, 4, 8 and 16."""
    level = network.act(network.bn1(network.conv1(volumes)))
    levels = []
    for layer in (network.layer1, network.layer2, network.layer3, network.layer4):
        level = layer(level)
        levels.append(level)
    return levels
