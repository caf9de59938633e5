"""The `[data]` and `[augmentation]` sections of a recipe."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

_Zoom = Annotated[float, Field(ge=0.1, le=10)]


Balance = Literal["none", "weights", "sampling"]
"""What is done where classes are unequally common (see `TrainingSection`)."""


class DataSection(BaseModel):
    """How the data set is parted.

    Args:
        scheme: "k-fold": every case is tested once, by a model that never saw its patient. "repeated-k-fold": the
            same several times with other folds; the answers to a case are averaged. "nested-k-fold": the same parts as
            "k-fold", and inside the training part of each `[search]` chooses settings. "leave-one-site-out": every
            site is tested by a model that learned from the others. "hold-out": one part is held out. "official":
            the data set's own `val` split is held out, `train` is trained on.
        folds: how many, for "k-fold", "nested-k-fold" and each repeat of "repeated-k-fold".
        inner_folds: in how many parts each training part is parted to choose settings, for "nested-k-fold".
        repeats: how often every case is tested, for "repeated-k-fold".
        held_out: which share, for "hold-out".
        validation: share of the *training* part that chooses the epoch; it is never part of what is reported.
            0 makes none; training.keep is then "last".
        near_copies: "together": images that show nearly the same picture (with and without callipers, or mirrored,
            say) are on one side, like identical ones. "apart": only identical ones are, and a pair on both sides is a
            warning, which compares with numbers on parts that were made so. "official" leaves all where they are.
        truth: "given": the data set's own labels or marks are learned. "images": the images themselves are, which a
            model shall give back without their noise; labels and marks are not looked at.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scheme: Literal["k-fold", "repeated-k-fold", "nested-k-fold", "leave-one-site-out", "hold-out", "official"] = (
        "k-fold"
    )
    folds: Annotated[int, Field(ge=2, le=50)] = 5
    inner_folds: Annotated[int, Field(ge=2, le=20)] = 3
    repeats: Annotated[int, Field(ge=2, le=20)] = 3
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.2
    validation: Annotated[float, Field(ge=0, lt=0.9)] = 0.15
    near_copies: Literal["together", "apart"] = "together"
    truth: Literal["given", "images"] = "given"


SETS: dict[str, dict[str, Any]] = {
    "none": {},
    "light": {"shift": 0.05, "zoom": (0.95, 1.05), "brightness": 0.05, "contrast": 0.1},
    # patients turn and breathe, tubes and screens differ; the heart is on one side, so nothing is mirrored. What is
    # turned, moved or made smaller shows edges without a picture: only as wide as a collimator leaves them
    "radiograph": {
        "rotation_degrees": 7.0,
        "shift": 0.05,
        "zoom": (0.95, 1.15),
        "brightness": 0.1,
        "contrast": 0.2,
        "noise": 0.02,
    },
    # there is no up and down under a microscope; stains and lamps differ. Nothing is made smaller: around a stained
    # section there is light, and the edge would be filled with its darkest colour
    "microscopy": {
        "flip": True,
        "flip_vertical": True,
        "quarter_turns": True,
        "zoom": (1.0, 1.25),
        "brightness": 0.1,
        "contrast": 0.3,
    },
    "volume": {
        "rotation_degrees": 15.0,
        "tilt_degrees": 15.0,
        "shift": 0.06,
        "zoom": (0.9, 1.15),
        "brightness": 0.05,
        "contrast": 0.1,
    },
}
"""Sets of settings by name; a recipe may name one and change single settings of it."""


class AugmentationSection(BaseModel):
    """How training images are varied; image, masks and boxes move together.

    Args:
        set: the settings to begin with: "none", "light", "radiograph", "microscopy" or "volume"; the others below
            change single ones of it.
        flip: mirror left and right, half of the time.
        flip_vertical: mirror up and down, half of the time.
        flip_slices: of volumes, reverse the order of the slices, half of the time.
        quarter_turns: turn by 0, 90, 180 or 270 degrees.
        rotation_degrees: turn by up to this angle, either way.
        tilt_degrees: of volumes, turn out of the plane of the slices by up to this angle, about rows and columns.
        shift: move by up to this share of the size.
        zoom: (low, high), enlarge by a factor drawn between them; each in [0.1, 10].
        crop: side in pixels, in [32, 4096], of a random square that is cut out (after the zoom); None keeps the whole
            image.
        brightness: add up to this share of the image's own range.
        contrast: stretch by a factor between 1 - contrast and 1 + contrast.
        noise: standard deviation of added noise, as a share of the image's own range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    set: Literal["none", "light", "radiograph", "microscopy", "volume"] = "none"
    flip: bool = False
    flip_vertical: bool = False
    flip_slices: bool = False
    quarter_turns: bool = False
    rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 0.0
    tilt_degrees: Annotated[float, Field(ge=0, le=180)] = 0.0
    shift: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    zoom: tuple[_Zoom, _Zoom] = (1.0, 1.0)
    crop: Annotated[int, Field(ge=32, le=4096)] | None = None
    brightness: Annotated[float, Field(ge=0, le=1)] = 0.0
    contrast: Annotated[float, Field(ge=0, le=1)] = 0.0
    noise: Annotated[float, Field(ge=0, le=1)] = 0.0

    @model_validator(mode="before")
    @classmethod
    def _from_set(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        name, zoom = given.get("set"), given.get("zoom")
        first = SETS.get(name, {}) if isinstance(name, str) else {}
        return first | given | ({"zoom": tuple(zoom)} if isinstance(zoom, list) else {})  # JSON has lists only

    @field_validator("zoom")
    @classmethod
    def _ordered(cls, zoom: tuple[float, float]) -> tuple[float, float]:
        if zoom[0] > zoom[1]:
            raise ValueError(f"the lower factor comes first; found {list(zoom)}")
        return zoom
