"""Image and Geometry: pixels that know where they lie and what they mean."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from overread.errors import InputError

Pixels = NDArray[np.float32]
Affine = NDArray[np.float64]
Axes = Literal[0, 2, 3]
"""What kind of thing a model takes: 2 flat images, 3 volumes and sequences, 0 rows of measurements."""


def _read_only(array: NDArray[np.generic]) -> None:
    array.setflags(write=False)


def _identity() -> Affine:
    return np.eye(4)


@dataclass(frozen=True, eq=False)
class Geometry:
    """Where an image lies in the patient.

    Args:
        affine: `(4, 4)`, takes (column, row, slice, 1) to (x, y, z, 1) in patient millimetres, LPS (x to the
            patient's left, y to the back, z to the head). An index is the *centre* of a voxel
            (DICOM PS3.3 C.7.6.2.1.1).

    Raises:
        InputError: where the affine is not finite, or two axes fall together (no volume).
    """

    affine: Affine

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise InputError(f"An affine is a finite 4 x 4 matrix; found shape {affine.shape} with {affine.tolist()}.")
        if not np.isclose(affine[3], (0, 0, 0, 1)).all() or not 1e-12 <= abs(np.linalg.det(affine[:3, :3])) < np.inf:
            raise InputError(f"An affine must span a volume; found {affine.tolist()}.")
        _read_only(affine)
        object.__setattr__(self, "affine", affine)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxel centres along (column, row, slice), in mm."""
        column, row, slice_ = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(column), float(row), float(slice_)

    @property
    def orientation(self) -> str:
        """The patient direction nearest to that of (column, row, slice), such as "LPS".

        >>> Geometry(np.diag([-1.0, 1.0, 2.0, 1.0])).orientation
        'RPS'
        """
        letters = []
        for axis in self.affine[:3, :3].T:
            patient_axis = int(np.abs(axis).argmax())
            letters.append(("LR", "PA", "SI")[patient_axis][int(axis[patient_axis] < 0)])
        return "".join(letters)

    @property
    def sides(self) -> tuple[str, str] | None:
        """The letters of (column, row) as DICOM writes them (PS3.3 C.7.6.1.1.1): H for the head, F for the feet.

        None where both are nearest to one axis of the patient, as in a plane that lies askew to all three.

        >>> Geometry(np.array([[0, 0, 1, 0], [1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])).sides
        ('P', 'F')
        """
        letters = self.orientation.replace("S", "H").replace("I", "F")
        axes = [next(axis for axis in ("LR", "AP", "HF") if letter in axis) for letter in letters[:2]]
        return None if axes[0] == axes[1] else (letters[0], letters[1])


@dataclass(frozen=True)
class Source:
    """What an image was read from, without its path or a patient's name."""

    name: str
    sha256: str | None = None
    instance_uids: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Image:
    """Pixels with their meaning; every step returns a new one with one more line of history.

    Args:
        pixels: float32 `(channel, row, column)` or `(channel, slice, row, column)`, finite, read-only.
        geometry: where the pixels lie; None where the file does not say (nothing is invented).
        units: "HU", "stored" (what the file holds, no known unit) or "normalised".
        modality: DICOM modality such as "CT", or None.
        source: what the image was read from.
        history: the steps that were applied, oldest first.
        sides: the sides of the patient to which the columns and the rows count, such as ("L", "F"), each one of
            L, R, A, P, H, F; None where that is not known. Where there is a geometry, they follow from it.
        window: (centre, width) in which the file asks to be shown, in `units`; None where it does not say.
        to_original: `(4, 4)`, takes an index (column, row, slice, 1) of these pixels to the index in the image as
            it was read. The identity for an image fresh from a file.
        original_shape: (row, column) or (slice, row, column) of the image as it was read.

    Raises:
        InputError: for a wrong number of axes, an empty axis, or pixels that are not finite.
    """

    pixels: Pixels
    geometry: Geometry | None = None
    units: str = "stored"
    modality: str | None = None
    source: Source = field(default_factory=lambda: Source("memory"))
    history: tuple[str, ...] = ()
    window: tuple[float, float] | None = None
    sides: tuple[str, str] | None = None
    to_original: Affine = field(default_factory=_identity)
    original_shape: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        pixels = np.array(self.pixels, dtype=np.float32, order="C")
        if pixels.ndim not in (3, 4) or 0 in pixels.shape:
            raise InputError(
                f"{self.source.name}: an image is (channel, row, column) or (channel, slice, row, column) with at "
                f"least one of each; found shape {pixels.shape}."
            )
        if not np.isfinite(pixels).all():
            raise InputError(f"{self.source.name}: an image holds finite numbers; found NaN or infinity in it.")
        _read_only(pixels)
        to_original = np.array(self.to_original, dtype=np.float64)
        _read_only(to_original)
        object.__setattr__(self, "pixels", pixels)
        object.__setattr__(self, "to_original", to_original)
        if self.geometry is not None:
            object.__setattr__(self, "sides", self.geometry.sides)
        if not self.original_shape:
            object.__setattr__(self, "original_shape", pixels.shape[1:])

    @property
    def shape(self) -> tuple[int, ...]:
        """(row, column) or (slice, row, column)."""
        return self.pixels.shape[1:]

    @property
    def channels(self) -> int:
        """How many channels there are: 1 for grey, 3 for colour."""
        return int(self.pixels.shape[0])

    def with_pixels(
        self,
        pixels: NDArray[np.floating],
        *,
        by: str,
        units: str | None = None,
        index_map: Affine | None = None,
    ) -> Image:
        """The image after one step.

        Args:
            pixels: the new pixels, same axes as before.
            by: what was done, one line for the history.
            units: what the new numbers mean, where that changed.
            index_map: `(4, 4)`, takes (column, row, slice, 1) of the new pixels to that of these; needed when
                pixels moved. Geometry moves along.
        """
        geometry, to_original, sides = self.geometry, self.to_original, self.sides
        if index_map is not None:
            steps = np.asarray(index_map)[:2, :2]
            if not (np.diag(steps) > 0).all() or np.abs(steps - np.diag(np.diag(steps))).any():
                sides = None  # mirrored or turned: the geometry, if there is one, says them anew
            geometry = None if geometry is None else Geometry(geometry.affine @ index_map)
            to_original = to_original @ index_map
        elif pixels.shape[1:] != self.pixels.shape[1:]:
            raise ValueError(f"'{by}' changed the shape {self.shape} to {pixels.shape[1:]} and gave no index_map")
        return replace(
            self,
            pixels=pixels,
            geometry=geometry,
            sides=sides,
            to_original=to_original,
            units=units or self.units,
            window=self.window if units in (None, self.units) else None,
            history=(*self.history, by),
        )
