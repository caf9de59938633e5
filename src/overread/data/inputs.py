"""What a model sees of a case: its image, its images in order as one sequence, or its measurements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from overread import io
from overread.data.manifest import Case, ImageRef
from overread.errors import InputError, UnreadableImage
from overread.image import Axes, Image, Source
from overread.preprocessing.colour import Grey
from overread.preprocessing.geometry import Resize
from overread.preprocessing.step import Step, prepare


class Images(Protocol):
    """Where images come from: the cache while training, the file itself while reading."""

    def get(self, ref: ImageRef, steps: Sequence[Step]) -> Image:
        """The image after `steps`."""
        ...


def input_of(case: Case, steps: Sequence[Step], images: Images) -> Image:
    """A case as one image, prepared.

    Several images are prepared each by itself and become the slices of one, in their order; such a sequence has no
    geometry. Measurements become the channels of an image of one pixel, so that steps that learn a number a channel,
    such as "z-score", learn one a measurement.

    Args:
        case: with images or measurements.
        steps: how they are prepared.
        images: where they come from.

    Returns:
        `(channel, row, column)`, `(channel, slice, row, column)`, or `(measurement, 1, 1)`.

    Raises:
        UnreadableImage: a file cannot be read.
        InputError: the images of a sequence differ in size or channels, or there is nothing to see.
    """
    if case.measurements:
        return prepare(measured(case), steps)
    if len(case.images) == 1:
        return images.get(case.images[0], steps)
    return _sequence(case.case_id, [images.get(ref, steps) for ref in case.images])


def as_read(case: Case) -> Image | None:
    """What a person is to see of a case: its images as they were read; None of a row of measurements.

    The images of a sequence that differ in size are fitted into that of the first, and shown in grey where only some
    have colours.

    Raises:
        UnreadableImage: a file cannot be read.
        InputError: images that are no sequence.
    """
    if not case.images:
        return None
    try:
        return input_of(case, (), FilesAsRead())
    except UnreadableImage:
        raise
    except InputError:
        height, width = io.read(case.images[0].path, item=case.images[0].item).shape[-2:]
        return input_of(case, (Grey(), Resize(height=height, width=width)), FilesAsRead())


class FilesAsRead:
    """Images straight from their files."""

    def get(self, ref: ImageRef, steps: Sequence[Step]) -> Image:
        """The image after `steps`; nothing is kept.

        Raises:
            UnreadableImage: the file cannot be read.
        """
        return prepare(io.read(ref.path, item=ref.item), steps)


def slices_of(image: Image, axes: Axes) -> NDArray[np.float32]:
    """The pixels with as many axes as a model takes: a flat image among sequences is a sequence of one slice.

    Raises:
        InputError: a volume, or a sequence, for a model of flat images, and anything but a table for one of tables.
    """
    if image.pixels.ndim == 3 and axes == 3:
        return image.pixels[:, None]
    if len(image.shape) != (axes or 2):
        raise InputError(
            f"{image.source.name}: this model takes flat images; this is a volume or a sequence of "
            f"{image.shape[0]} slices. Give single slices, or use a model for volumes."
        )
    return image.pixels


def measured(case: Case) -> Image:
    """The measurements of a case as an image of one pixel, `(measurement, 1, 1)`."""
    return Image(np.array(case.measurements, dtype=np.float32)[:, None, None], source=Source(case.case_id))


def _sequence(case_id: str, frames: Sequence[Image]) -> Image:
    if not frames:
        raise InputError(f"{case_id}: a sequence has at least one image; found none. Leave the case out.")
    shapes = sorted({(frame.channels, *frame.shape) for frame in frames})
    if len(shapes) > 1 or len(shapes[0]) != 3:
        raise InputError(
            f"{case_id}: the images of a sequence are flat and of one size and kind; found (channel, row, column) "
            f"{' and '.join(map(str, shapes[:4]))}. Add a 'resize' step with height and width, and 'grey' where some "
            "are in colour."
        )
    return Image(
        np.stack([frame.pixels for frame in frames], axis=1),
        units=frames[0].units,
        modality=frames[0].modality,
        source=Source(case_id),
        history=(f"{len(frames)} images in a sequence", *frames[0].history),
    )
