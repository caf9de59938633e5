"""The `[data]` and `[augmentation]` sections of a recipe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

_Zoom = Annotated[float, Field(ge=0.1, le=10)]


class DataSection(BaseModel):
    """How the data set is parted.

    Args:
        scheme: "k-fold": every case is tested once, by a model that never saw its patient. "hold-out": one
            part is held out. "official": the data set's own `val` split is held out, `train` is trained on.
        folds: how many, for "k-fold".
        held_out: which share, for "hold-out".
        validation: share of the *training* part that chooses the epoch; it is never part of what is reported.
            0 keeps the last epoch.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scheme: Literal["k-fold", "hold-out", "official"] = "k-fold"
    folds: Annotated[int, Field(ge=2, le=50)] = 5
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.2
    validation: Annotated[float, Field(ge=0, lt=0.9)] = 0.15


class AugmentationSection(BaseModel):
    """How training images are varied; image, masks and boxes move together.

    Args:
        flip: mirror left and right, half of the time.
        flip_vertical: mirror up and down, half of the time.
        quarter_turns: turn by 0, 90, 180 or 270 degrees.
        rotation_degrees: turn by up to this angle, either way.
        shift: move by up to this share of the size.
        zoom: (low, high), enlarge by a factor drawn between them; each in [0.1, 10].
        crop: side in pixels, in [32, 4096], of a random square that is cut out (after the zoom); None keeps the whole
            image.
        brightness: add up to this share of the image's own range.
        contrast: stretch by a factor between 1 - contrast and 1 + contrast.
        noise: standard deviation of added noise, as a share of the image's own range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    flip: bool = False
    flip_vertical: bool = False
    quarter_turns: bool = False
    rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 0.0
    shift: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    zoom: tuple[_Zoom, _Zoom] = (1.0, 1.0)
    crop: Annotated[int, Field(ge=32, le=4096)] | None = None
    brightness: Annotated[float, Field(ge=0, le=1)] = 0.0
    contrast: Annotated[float, Field(ge=0, le=1)] = 0.0
    noise: Annotated[float, Field(ge=0, le=1)] = 0.0

    @field_validator("zoom")
    @classmethod
    def _ordered(cls, zoom: tuple[float, float]) -> tuple[float, float]:
        if zoom[0] > zoom[1]:
            raise ValueError(f"the lower factor comes first; found {list(zoom)}")
        return zoom
