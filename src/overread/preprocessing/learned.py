"""A step that asks a trained denoiser; the pipeline opens it, because no step knows what a bundle is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Protocol, Self

from pydantic import Field

from overread.errors import InputError
from overread.image import Image
from overread.preprocessing.step import Step, steps


class Denoiser(Protocol):
    """A trained model that takes noise away."""

    @property
    def bundle_id(self) -> str:
        """Twelve hex digits that change with anything in it."""
        ...

    @property
    def name(self) -> str:
        """What to call it."""
        ...

    @property
    def seen(self) -> frozenset[str]:
        """Digests of the images that it learned from (see `Bundle.seen`)."""
        ...

    @property
    def worsens(self) -> tuple[str, ...]:
        """What it was measured to make worse, in words."""
        ...

    def __call__(self, image: Image) -> Image:
        """The image without what it takes for noise, in the image's own units and grid."""
        ...


opened: dict[str, Denoiser] = {}
"""Denoisers that can be asked, by the path that a recipe names and by their bundle_id."""


@steps.add("denoise-learned")
class DenoiseLearned(Step):
    """Take away what a model, trained with `[data] truth = "images"`, takes for noise.

    The image keeps its units: the denoiser finds the scale of each image by itself. It is given images at this place
    of the chain, so that the steps which prepared its own images are to stand before it.

    Args:
        bundle: path of the denoiser's bundle, or of its run.
        bundle_id: which denoiser that is, filled in before training; another one is then refused.
    """

    bundle: Annotated[str, Field(min_length=1)]
    bundle_id: Annotated[str, Field(pattern="^[0-9a-f]{12}$")] | None = None

    @property
    def learns(self) -> bool:
        """Whether it is not yet known which denoiser is meant."""
        return self.bundle_id is None

    def fit(self, images: Iterable[Image]) -> Self:
        """The step with the denoiser that its path leads to.

        Raises:
            InputError: where there is no image, no opened denoiser, or one that does not take these images.
        """
        first = next(iter(images), None)
        if first is None:
            raise InputError("'denoise-learned' is fitted to training images; found no image.")
        if self.bundle not in opened:
            raise InputError(f"'denoise-learned': '{self.bundle}' was not opened. Train through overread.pipeline.")
        found = self.made_with(opened[self.bundle])
        found(first)
        return found

    def made_with(self, denoiser: Denoiser) -> Self:
        """The step with this denoiser and no other.

        Raises:
            InputError: where the step names another one.
        """
        if self.bundle_id not in (None, denoiser.bundle_id):
            raise InputError(
                f"'denoise-learned': '{self.bundle}' holds the denoiser {denoiser.bundle_id}; this step was made with "
                f"{self.bundle_id}. Put that one back, or leave bundle_id out to use the other."
            )
        return self.model_copy(update={"bundle_id": denoiser.bundle_id})

    @property
    def denoiser(self) -> Denoiser:
        """The denoiser.

        Raises:
            InputError: where the step was not fitted, or its denoiser was not opened.
        """
        if self.bundle_id is None:
            raise InputError(
                "'denoise-learned' needs to know which denoiser it was made with; found none. Fit it to the training "
                "images first."
            )
        if self.bundle_id not in opened:
            raise InputError(
                f"'denoise-learned': the denoiser {self.bundle_id} was not opened. Use the model through "
                "overread.pipeline, which opens it."
            )
        return opened[self.bundle_id]

    def __call__(self, image: Image) -> Image:
        """The image with less noise.

        Raises:
            InputError: for a step that was not fitted, or an image that the denoiser does not take.
        """
        return image.with_pixels(self.denoiser(image).pixels, by=f"denoise-learned {self.bundle_id}")
