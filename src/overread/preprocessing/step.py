"""The contract of a cleaning step: an image in, a new image out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Self

from pydantic import BaseModel, ConfigDict

from overread.catalogue import Catalogue
from overread.image import Image


class Step(BaseModel, ABC):
    """One step of preprocessing; its fields are its settings in the recipe.

    A step never changes its input, gives the same output for the same input, and says through
    `Image.with_pixels(..., index_map=...)` where pixels moved, so that geometry, masks and boxes can follow.

    A step that learns from data keeps what it learned in optional fields (None until fitted), so that the fitted
    step is saved with the bundle like any other setting.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    @abstractmethod
    def __call__(self, image: Image) -> Image:
        """The image after this step."""

    @property
    def learns(self) -> bool:
        """Whether the step must be fitted before it can be applied."""
        return False

    def fit(self, images: Iterable[Image]) -> Self:  # noqa: ARG002
        """A step with its numbers learned from training images; the same step where there is nothing to learn."""
        return self


steps: Catalogue[type[Step]] = Catalogue("cleaning step", "overread.preprocessing")
