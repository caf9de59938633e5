"""The `[inference]` section of a recipe."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class InferenceSection(BaseModel):
    """How a trained model is asked, while it is measured and ever after.

    Args:
        mirrored: show the model every image and its mirror image, and join what it says: scores are averaged, marks
            of one place become one (see `inference.merging`). Sensible where `augmentation.flip` is.
        turned: show it all of these turned by one, two and three quarters besides; also of volumes, about the axis of
            their slices. Sensible where `augmentation.quarter_turns` is. With `mirrored` it is asked eight times.
        views: show it so many varied copies of every image besides, varied as `[augmentation]` varies training images,
            and average; for labels only. The same copies of the same image, whenever it is asked about.
        one_class_a_place: of marks of several classes at one place (IoU of 0.5 or more) keep the surest; for marks
            only. Right where a lesion is of one class: else one spot is shown, and counted, as two lesions.
        average_folds: a reading asks the networks of all folds, and joins what they say. False asks that of the first
            fold alone, in a fraction of the time, and mostly for a little worse.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mirrored: bool = False
    turned: bool = False
    views: Annotated[int, Field(ge=0, le=64)] = 0
    one_class_a_place: bool = False
    average_folds: bool = True
