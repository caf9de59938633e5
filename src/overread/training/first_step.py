"""What a model fails at before anything was learned, told as what does not fit in the recipe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from overread.errors import OverreadError, RecipeError

_AXES = {4: "case, channel, row, column", 5: "case, channel, slice, row, column"}
_MACHINE = (OSError, MemoryError, torch.OutOfMemoryError, torch.AcceleratorError)
_SINGLE = "Expected more than 1 value per channel"  # how torch's batch norms begin, flat and volumetric


@contextmanager
def first_step(images: Tensor, *, batch_size: int) -> Iterator[None]:
    """A model is asked for the first time, with images that may not fit it; nothing else may be done inside.

    A library's own words are told, which is safe because who sees tensors only can quote no patient's name.

    Args:
        images: as in `Batch`.
        batch_size: that the recipe asks for.

    Raises:
        RecipeError: the model fails, and the machine is not the reason.
    """
    try:
        yield
    except (OverreadError, *_MACHINE):
        raise
    except Exception as error:  # a network that images do not fit fails in any way
        if batch_size == 1 and _SINGLE in str(error):
            raise RecipeError(
                "training.batch_size: the batch norms of this network compare the values of a channel, and with one "
                f"case a batch there is a single one ({error}). Set it to 2 or more. Nothing was learned yet."
            ) from error
        sides = " x ".join(map(str, images.shape))
        raise RecipeError(
            f"model: it cannot take a batch of {sides} ({_AXES[images.ndim]}): {type(error).__name__}: {error}. Choose "
            "another network in [model], or make the images fit it, such as larger ones by a 'resize' step. Nothing "
            "was learned yet."
        ) from error
