"""DICOM: one frame with its values, its colours and its place in the patient."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from overread.errors import InputError, UnreadableImage
from overread.image import Geometry, Image, Source
from overread.io.dicom_pixels import quoted, stored_pixels
from overread.io.reader import Reader, as_float32, damaged, readers, refuse_giant
from overread.provenance import file_digest

if TYPE_CHECKING:
    from pydicom import Dataset

MAX_INFLATED_BYTES = 2**30
"""Most bytes that a deflated data set may become."""

_INVERSE = "MONOCHROME1"
_WITHOUT_PIXELS = ("SR", "KO", "PR", "DOC", "ECG", "REG", "FID", "RTPLAN", "RTRECORD", "RTSTRUCT", "RWV", "SEG")
"""Modalities (PS3.3 C.7.3.1.1.1) that may come without pixels and stand in a message; a header can hold a name."""


@readers.add("dicom")
class Dicom(Reader):
    """A DICOM file (PS3.10) with one frame."""

    @staticmethod
    def recognises(head: bytes) -> bool:
        """Whether "DICM" stands after the 128-byte preamble (PS3.10 7.1)."""
        return head[128:132] == b"DICM"

    @staticmethod
    def read(path: Path, item: str | None) -> Image:
        """The image: grey with the rescale applied, or RGB.

        Units are "HU" for a CT whose rescale gives them. The geometry is None unless the file says position,
        orientation, pixel spacing *and* slice spacing or thickness: an affine needs the third direction, and nothing
        is made up. MONOCHROME1 is inverted, so that bright is bright for every step and model.

        Raises:
            UnreadableImage: for several frames, a transfer syntax that is not decoded, pixels that are cut short, and
                headers that contradict themselves.
        """
        if item is not None:
            raise UnreadableImage(f"{path.name}: a DICOM file of one frame has no items; found '{item}' asked of it.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's warnings may quote values, and so an identity
            dataset = _dataset(path)
            _require_one_frame(path, dataset)
            return _image(path, dataset)


def _dataset(path: Path) -> Dataset:
    from pydicom import dcmread
    from pydicom.filereader import read_file_meta_info
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    try:
        if read_file_meta_info(path).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            _require_bounded(path)
        return dcmread(path)
    except UnreadableImage:
        raise
    except Exception as error:
        raise damaged(path, error) from error


def _require_bounded(path: Path) -> None:
    """Refuse a deflated data set that grows without end."""
    import zlib

    with open(path, "rb") as file:
        head = file.read(144)
        # PS3.10 7.1: group length (0002,0000), UL, counts the bytes of the file meta information behind it.
        file.seek(144 + int.from_bytes(head[140:144], "little"))
        inflate, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while chunk := inflate.unconsumed_tail or file.read(2**16):
            total += len(inflate.decompress(chunk, 2**24))
            if total > MAX_INFLATED_BYTES:
                raise UnreadableImage(
                    f"{path.name}: its deflated content grows beyond {MAX_INFLATED_BYTES:,} bytes. This is no image."
                )


def _require_one_frame(path: Path, dataset: Dataset) -> None:
    if "PixelData" not in dataset:
        if _announces_pixels(dataset):
            raise UnreadableImage(
                f"{path.name}: the header announces an image; the file ends before its pixels. It is cut short: fetch "
                "it again from where it came from."
            )
        raise UnreadableImage(
            f"{path.name}: expected a DICOM image; found one without pixels (modality: "
            f"{quoted(dataset.get('Modality'), _WITHOUT_PIXELS)}). Leave it out."
        )
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1 or "SharedFunctionalGroupsSequence" in dataset:
        raise UnreadableImage(
            f"{path.name}: expected one frame; found a multi-frame object with {frames}. Split it into single frames: "
            "multi-frame objects are not read yet."
        )
    shape = (int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0), int(dataset.get("SamplesPerPixel") or 1))
    refuse_giant(path, shape)


def _announces_pixels(dataset: Dataset) -> bool:
    """Whether it was meant to hold pixels as integers; parametric maps keep theirs elsewhere (PS3.3 C.7.6.24)."""
    from pydicom.uid import UID

    meta = getattr(dataset, "file_meta", None) or {}
    kind = UID(str(dataset.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID") or ""))
    elsewhere = "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset
    return not elsewhere and ("Image Storage" in kind.name or "Rows" in dataset)


def _image(path: Path, dataset: Dataset) -> Image:
    stored, history = stored_pixels(path, dataset)
    window, units = None, "stored"
    if stored.ndim == 2:
        values, units, rescaled = _modality_values(path, dataset, stored)
        window = _window(dataset)
        values, window, inverted = _bright_is_bright(path, dataset, values, units=units, window=window)
        channel_first, history = values[None], (*history, *rescaled, *inverted, *_padding(dataset, stored))
    else:
        channel_first = np.moveaxis(stored, -1, 0)
    geometry, placed = _geometry(dataset)
    pixels, rounded = as_float32(path, channel_first)
    uid = str(dataset.get("SOPInstanceUID") or "")
    digest = file_digest(path)
    return Image(
        pixels,
        geometry=geometry,
        units=units,
        modality=str(dataset.get("Modality") or "") or None,
        # A file's name may be a patient's; the instance UID is not.
        source=Source(uid or f"DICOM {digest[:12]}", digest, (uid,) if uid else ()),
        history=(*history, *placed, *rounded),
        window=window,
        sides=_sides(dataset),
    )


def _modality_values(path: Path, dataset: Dataset, stored: NDArray[Any]) -> tuple[NDArray[Any], str, tuple[str, ...]]:
    """Stored numbers to modality values (PS3.3 C.11.1)."""
    from pydicom.pixels.processing import apply_modality_lut

    is_ct = dataset.get("Modality") == "CT"
    if dataset.get("ModalityLUTSequence"):
        kind = dataset.ModalityLUTSequence[0].get("ModalityLUTType")
        values = apply_modality_lut(stored, dataset)
        return values, "HU" if is_ct and kind == "HU" else "stored", ("modality LUT applied",)
    for key in ("RescaleSlope", "RescaleIntercept"):
        if dataset.get(key) not in (None, "") and _number(dataset, key) is None:
            raise UnreadableImage(
                f"{path.name}: expected a finite number as {key}; found something else, so the meaning of its pixels "
                "is not known. Ask for the file again."
            )
    slope, intercept = _number(dataset, "RescaleSlope"), _number(dataset, "RescaleIntercept")
    if slope is None or intercept is None:
        half = slope is not None or intercept is not None
        return stored, "stored", ("rescale left out: slope or intercept is absent",) if half else ()
    if slope == 0:
        raise UnreadableImage(
            f"{path.name}: expected a rescale slope other than 0; with 0 all pixels are equal. Ask for the file again."
        )
    units = "HU" if is_ct and dataset.get("RescaleType") in (None, "", "HU") else "stored"
    values = stored.astype(np.float64) * slope + intercept
    line = () if (slope, intercept) == (1, 0) else (f"rescaled by {slope:g} and {intercept:g}",)
    return values, units, line


def _bright_is_bright(
    path: Path, dataset: Dataset, values: NDArray[Any], *, units: str, window: tuple[float, float] | None
) -> tuple[NDArray[Any], tuple[float, float] | None, tuple[str, ...]]:
    """MONOCHROME1 turned round within the range that its bits allow, so that equal files stay comparable."""
    if dataset.PhotometricInterpretation != _INVERSE:
        return values, window, ()
    if units == "HU":
        return values, window, ("MONOCHROME1 kept: Hounsfield units mean the same however they are shown",)
    bits, signed = int(dataset.BitsStored), int(dataset.get("PixelRepresentation") or 0)
    ends = np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if signed else [0, 2**bits - 1], dtype=np.int64)
    if dataset.get("ModalityLUTSequence"):
        total = float(values.max()) + float(values.min())
    else:
        total = float(_modality_values(path, dataset, ends)[0].sum())
    inverted = total - values.astype(np.float64)
    if window is None:
        return inverted, None, ("MONOCHROME1 inverted",)
    # The centre that people know is that of the file: the turned one stands nowhere in it.
    line = f"MONOCHROME1 inverted; window {window[0]:g}/{window[1]:g} of the file"
    return inverted, (total - window[0], window[1]), (line,)


def _padding(dataset: Dataset, stored: NDArray[Any]) -> tuple[str, ...]:
    """A word on pixels that are no measurement (PS3.3 C.7.5.1.1.2); they keep their value."""
    first = _number(dataset, "PixelPaddingValue")
    if first is None:
        return ()
    limit = _number(dataset, "PixelPaddingRangeLimit")
    low, high = sorted((first, first if limit is None else limit))
    count = int(((stored >= low) & (stored <= high)).sum())
    if not count:
        return ()
    return (f"{count} pixels are padding (stored value {low:g}{'' if low == high else f' to {high:g}'})",)


def _window(dataset: Dataset) -> tuple[float, float] | None:
    """The first window, where it is linear and wider than nothing (PS3.3 C.11.2.1.2)."""
    centre, width = _number(dataset, "WindowCenter"), _number(dataset, "WindowWidth")
    linear = dataset.get("VOILUTFunction") in (None, "", "LINEAR", "LINEAR_EXACT")
    return (centre, width) if centre is not None and width is not None and width > 0 and linear else None


def _geometry(dataset: Dataset) -> tuple[Geometry | None, tuple[str, ...]]:
    """Index to patient mm, or None with the reason where the file says too little (PS3.3 C.7.6.2.1.1)."""
    position, orientation, spacing = (
        _numbers(dataset, key) for key in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    )
    if (len(position), len(orientation), len(spacing)) == (0, 0, 0):
        return None, ()
    if (len(position), len(orientation), len(spacing)) != (3, 6, 2) or min(spacing) <= 0:
        return None, ("no geometry: position, orientation or pixel spacing is absent or zero",)
    if reason := _without_place(dataset):
        return None, (f"no geometry: {reason}",)
    along_row, down_column = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = np.linalg.norm([along_row, down_column], axis=1)
    if not np.allclose(lengths, 1, atol=1e-3) or abs(along_row @ down_column) > 1e-3:
        return None, ("no geometry: the two directions of the image are not at right angles",)
    gap = _number(dataset, "SpacingBetweenSlices") or _number(dataset, "SliceThickness")
    if not gap:
        return None, ("no geometry: neither slice spacing nor slice thickness is known",)
    affine = np.eye(4)
    # Pixel spacing names the distance of rows first, then that of columns (PS3.3 10.7.1.3).
    affine[:3, 0], affine[:3, 1] = along_row * spacing[1], down_column * spacing[0]
    affine[:3, 2] = np.cross(along_row, down_column) * abs(gap)
    affine[:3, 3] = position
    return _spanned(affine)


def _spanned(affine: NDArray[np.float64]) -> tuple[Geometry | None, tuple[str, ...]]:
    try:
        return Geometry(affine), ()
    except InputError:
        return None, ("no geometry: a spacing is too small or too large to be true",)


def _sides(dataset: Dataset) -> tuple[str, str] | None:
    """To which sides of the patient a row and a column of pixels run, by their first letters (PS3.3 C.7.6.1.1.1).

    A radiograph has no position in the patient, but may say this. An animal's letters mean other directions.
    """
    if _is_of_an_animal(dataset):
        return None
    said = dataset.get("PatientOrientation")
    if not hasattr(said, "append") or len(said) != 2:  # one value alone comes as itself, of any type
        return None
    across, down = (str(value)[:1] for value in said)
    axes = [next((axis for axis in ("LR", "AP", "HF") if letter and letter in axis), None) for letter in (across, down)]
    return None if None in axes or axes[0] == axes[1] else (across, down)


def _without_place(dataset: Dataset) -> str | None:
    """Why its position does not say where in a person a pixel lies, though there is one."""
    if _is_of_an_animal(dataset):
        return "the axes of an animal are called otherwise"  # PS3.3 C.7.6.2.1.1
    if "MOSAIC" in (dataset.get("ImageType") or ()):
        # Siemens tiles all slices of a volume into one picture; its position belongs to no pixel of it.
        return "the picture is a mosaic of slices"
    return None


def _is_of_an_animal(dataset: Dataset) -> bool:
    return bool(dataset.get("AnatomicalOrientationType") == "QUADRUPED")


def _numbers(dataset: Dataset, key: str) -> list[float]:
    """The numbers of an attribute; none where one of them is no number."""
    value = dataset.get(key)
    if value is None or value == "":
        return []
    try:
        numbers = [float(part) for part in (value if isinstance(value, list) or hasattr(value, "append") else [value])]
    except (TypeError, ValueError):
        return []
    return numbers if np.isfinite(numbers).all() else []


def _number(dataset: Dataset, key: str) -> float | None:
    numbers = _numbers(dataset, key)
    return numbers[0] if numbers else None
