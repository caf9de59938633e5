"""The contract of a cleaning step, and how a chain of them is applied, fitted and written down."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field

from overread.catalogue import Catalogue
from overread.errors import InputError
from overread.image import Image

Intensity = Annotated[float, Field(ge=-1e12, le=1e12)]
"""A value of a pixel as a recipe may name it; beyond, float32 arithmetic with it gives nothing but one value."""


class Step(BaseModel, ABC):
    """One step of preprocessing; its fields are its settings in the recipe.

    A step never changes its input, gives the same output for the same input, and says through
    `Image.with_pixels(..., index_map=...)` where pixels moved, so that geometry, masks and boxes can follow.

    A step that learns from data keeps what it learned in optional fields (None until fitted), so that the fitted
    step is saved with the bundle like any other setting.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @abstractmethod
    def __call__(self, image: Image) -> Image:
        """The image after this step."""

    makes_channels: ClassVar[int | None] = None
    """How many channels an image has after it, whichever it had; None where they stay."""

    @property
    def learns(self) -> bool:
        """Whether the step must still be fitted before it can be applied."""
        return False

    @property
    def takes_rows(self) -> bool:
        """Whether it treats each channel by itself, as a row needs it, whose channels are different measurements."""
        return False

    def fit(self, images: Iterable[Image]) -> Self:  # noqa: ARG002
        """A step with its numbers learned from training images; the same step where there is nothing to learn."""
        return self


steps: Catalogue[type[Step]] = Catalogue("cleaning step", "overread.preprocessing")


def settings_of(step: Step) -> dict[str, Any]:
    """A step as its table in a recipe: its name, and what differs from the defaults (fitted numbers too).

    `step_from(settings_of(step)) == step`, and the table is plain JSON.
    """
    return {"step": _name_of(step), **step.model_dump(mode="json", exclude_defaults=True)}


def history_line(step: Step) -> str:
    """A step in one line for an image's history, such as "window centre=40.0 width=400.0"."""
    settings = settings_of(step)
    return " ".join([settings.pop("step"), *(f"{key}={value}" for key, value in settings.items())])


def prepare(image: Image, chain: Iterable[Step]) -> Image:
    """The image after all steps of a chain, in order.

    Raises:
        InputError: from a step that the image does not fit, or that was not fitted.
    """
    for step in chain:
        image = step(image)
    return image


def learns(chain: Iterable[Step]) -> bool:
    """Whether any step of a chain must still be fitted."""
    return any(step.learns for step in chain)


def fit_steps(chain: Sequence[Step], images: Callable[[], Iterable[Image]]) -> tuple[Step, ...]:
    """A chain in which every step has learned what it needs, each from images prepared by the steps before it.

    Images are streamed: once for each step that learns, never all of them in memory. Hand in the recipe's own steps
    for every fold: a step that is fitted already keeps its numbers.

    Args:
        chain: the steps, in order.
        images: makes the *training* images, as read; called once for each step that learns.

    Raises:
        InputError: where there is no image to learn from.
    """
    fitted: tuple[Step, ...] = ()
    for step in chain:
        done = fitted
        fitted = (*fitted, step.fit(prepare(image, done) for image in images()) if step.learns else step)
    return fitted


def require_volume(image: Image, step: Step) -> None:
    """Refuse a flat image for a step whose settings speak of slices.

    Raises:
        InputError: for a flat image.
    """
    if len(image.shape) != 3:
        raise InputError(
            f"{image.source.name}: the step '{_name_of(step)}' is told what to do with slices; found a flat image of "
            f"(row, column) {image.shape}. Leave 'slices' out, or give it volumes."
        )


def _name_of(step: Step) -> str:
    for name in steps:
        if steps.get(name) is type(step):
            return name
    raise ValueError(f"{type(step).__name__} is not in the catalogue of cleaning steps")
