"""Layers that give what timm's give, in less time on a CPU; how much is measured in `benchmarks/training_step.py`."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from overread.lean_import import without_compiler

with without_compiler():
    from timm.layers.conv2d_same import Conv2dSame
    from timm.layers.norm_act import FrozenBatchNormAct2d
    from timm.layers.padding import pad_same
    from torchvision.ops import FrozenBatchNorm2d

_TILE = 3  # oneDNN has quick code for the gradient of a 3 x 3 kernel, and no more than plain loops for larger ones


def quicken(network: nn.Module) -> None:
    """Exchange slow layers of a network, in place, for quick ones with the same weights under the same names.

    These are depthwise convolutions with kernels of 5 x 5 and more, and frozen batch norms. Answers and gradients
    differ by rounding. Layers of other classes stay, also those that inherit from these, because they compute
    something of their own; hooks of exchanged layers are lost.
    """
    for name, layer in list(network.named_modules()):
        quick: nn.Module | None = None
        if type(layer) in (nn.Conv2d, Conv2dSame) and _is_large_depthwise(layer):
            quick = DepthwiseConv2d.of(layer)
        elif type(layer) in (FrozenBatchNorm2d, FrozenBatchNormAct2d):
            quick = FrozenNorm(layer)
        if quick is not None:
            parent, _, own = name.rpartition(".")
            setattr(network.get_submodule(parent), own, quick)


class FrozenNorm(FrozenBatchNormAct2d):
    """A batch norm whose numbers stay as they are, in one pass over the image instead of two, and its activation.

    Args:
        layer: the frozen norm whose numbers and activation it takes over.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, layer: FrozenBatchNorm2d | FrozenBatchNormAct2d) -> None:
        numbers = dict(layer.named_buffers(recurse=False))
        super().__init__(len(numbers["weight"]), layer.eps, apply_act=False)
        for name, buffer in numbers.items():
            setattr(self, name, buffer)
        self.drop, self.act = getattr(layer, "drop", nn.Identity()), getattr(layer, "act", nn.Identity())

    def forward(self, images: Tensor) -> Tensor:
        """`(batch, channel, row, column)` in and out."""
        normed = functional.batch_norm(
            images, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
        )
        answer: Tensor = self.act(self.drop(normed))
        return answer


def _is_large_depthwise(layer: nn.Conv2d) -> bool:
    rows, columns = layer.kernel_size
    return (
        layer.groups == layer.in_channels == layer.out_channels
        and rows == columns > _TILE
        and rows % 2 == 1
        and layer.dilation == (1, 1)
        and layer.bias is None
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
    )


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution without bias, with an odd square kernel."""

    same = False
    """Whether it pads as TensorFlow does, by as much as the size of its input asks for."""

    @classmethod
    def of(cls, layer: nn.Conv2d) -> Self:
        """One that shares its weights with `layer`."""
        channels, size, stride, padding = layer.in_channels, layer.kernel_size, layer.stride, layer.padding
        assert not isinstance(padding, str)
        new = cls(
            channels,
            channels,
            (size[0], size[1]),
            (stride[0], stride[1]),
            (padding[0], padding[1]),
            groups=channels,
            bias=False,
            device="meta",  # weights of its own would be thrown away, and draw random numbers
        )
        new.weight = layer.weight
        new.same = isinstance(layer, Conv2dSame)
        return new

    def forward(self, images: Tensor) -> Tensor:
        """`(batch, channel, row, column)` in and out."""
        weight = self.weight
        if self.same:
            images = pad_same(images, list(self.kernel_size), list(self.stride))
        if images.device.type != "cpu" or not (torch.is_grad_enabled() and weight.requires_grad):
            return functional.conv2d(images, weight, None, self.stride, self._pads, 1, self.groups)
        if torch.is_autocast_enabled("cpu"):
            kind = torch.get_autocast_dtype("cpu")
            images, weight = images.to(kind), weight.to(kind)
        answer: Tensor = _Depthwise.apply(images, weight, self.stride, self._pads)
        return answer

    @property
    def _pads(self) -> tuple[int, int]:
        if self.same:
            return 0, 0
        assert not isinstance(self.padding, str)
        return self.padding[0], self.padding[1]


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, stride: tuple[int, int], pads: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.stride, ctx.pads = stride, pads
        return functional.conv2d(images, weight, None, stride, pads, 1, len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        images, weight = ctx.saved_tensors
        of_images, of_weight = ctx.needs_input_grad[:2]
        return (
            _gradients(given, images, weight, ctx.stride, pads=ctx.pads, wanted=(True, False))[0]
            if of_images
            else None,
            _weight_gradient(given, images, weight, ctx.stride, ctx.pads) if of_weight else None,
            None,
            None,
        )


def _weight_gradient(
    given: Tensor, images: Tensor, weight: Tensor, stride: tuple[int, int], pads: tuple[int, int]
) -> Tensor:
    """The gradient in tiles of 3 x 3 that overlap: a place in it depends on no other place of the kernel."""
    padded = functional.pad(images, (pads[1], pads[1], pads[0], pads[0])) if any(pads) else images
    rows, columns = ((size - 1) * step + _TILE for size, step in zip(given.shape[2:], stride, strict=True))
    gradient, tile = torch.empty_like(weight), weight.new_empty(len(weight), 1, _TILE, _TILE)
    places = range(0, weight.shape[2] - _TILE + 1, _TILE - 1)
    for top in places:
        for left in places:
            seen = padded[:, :, top : top + rows, left : left + columns]
            seen = seen.contiguous(memory_format=torch.channels_last)
            gradient[:, :, top : top + _TILE, left : left + _TILE] = _gradients(
                given, seen, tile, stride, pads=(0, 0), wanted=(False, True)
            )[1]
    return gradient


def _gradients(
    given: Tensor,
    images: Tensor,
    weight: Tensor,
    stride: tuple[int, int],
    *,
    pads: tuple[int, int],
    wanted: tuple[bool, bool],
) -> tuple[Tensor, Tensor, Tensor]:
    gradients: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        given, images, weight, None, stride, pads, (1, 1), False, (0, 0), len(weight), (*wanted, False)
    )
    return gradients
