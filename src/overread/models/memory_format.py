"""In which order the numbers of images and weights lie in memory: convolutions are quick in one and slow in another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeVar

if TYPE_CHECKING:  # a bundle is read without torch
    import torch
    from torch import Tensor, nn

    AnyModule = TypeVar("AnyModule", bound=nn.Module)

MemoryFormat = Literal["contiguous", "channels_last"]
"""Channel by channel, or all channels of a pixel (of a voxel) beside each other."""


def laid_out(tensor: Tensor, memory_format: MemoryFormat) -> Tensor:
    """The same numbers in this order in memory; the tensor itself where it has that order, or axes for one order only.

    Args:
        tensor: images `(case, channel, row, column)` or `(case, channel, slice, row, column)`, weights, or anything.
        memory_format: the order.
    """
    last = _channels_last(tensor)
    return tensor.contiguous(memory_format=last) if last and memory_format == "channels_last" else tensor.contiguous()


def lay_out(model: AnyModule, memory_format: MemoryFormat) -> AnyModule:
    """Bring the weights of a model into this order, in place."""
    import torch

    for parameter in model.parameters():
        last = _channels_last(parameter) if memory_format == "channels_last" else None
        # not `contiguous`: kernels of 1 x 1 have both orders, and only `to` gives them the strides that say which
        parameter.data = parameter.data.to(memory_format=last or torch.contiguous_format)
    return model


def format_of(tensor: Tensor) -> MemoryFormat:
    """The order that a tensor has; "contiguous" where it has both, or neither."""
    last = _channels_last(tensor)
    if last is None or tensor.is_contiguous() or not tensor.is_contiguous(memory_format=last):
        return "contiguous"
    return "channels_last"


def _channels_last(tensor: Tensor) -> torch.memory_format | None:
    import torch

    return {4: torch.channels_last, 5: torch.channels_last_3d}.get(tensor.ndim)
