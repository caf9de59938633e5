"""DICOM: frames with their values, their colours and their place in the patient."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from overread.errors import UnreadableImage
from overread.image import Image, Source
from overread.io.dicom_frames import Frames
from overread.io.dicom_header import number_of, quoted
from overread.io.dicom_pixels import stored_pixels
from overread.io.dicom_place import place_of
from overread.io.reader import Reader, as_float32, damaged, readers
from overread.provenance import file_digest

if TYPE_CHECKING:
    from pydicom import Dataset

MAX_INFLATED_BYTES = 2**30
"""Most bytes that a deflated data set may become."""

MAX_LINES = 8
"""Most lines of history about what was done to the numbers of several frames; each may have a rescale of its own."""

_INVERSE = "MONOCHROME1"
_WITHOUT_PIXELS = ("SR", "KO", "PR", "DOC", "ECG", "REG", "FID", "RTPLAN", "RTRECORD", "RTSTRUCT", "RWV", "SEG")
"""Modalities (PS3.3 C.7.3.1.1.1) that may come without pixels and stand in a message; a header can hold a name."""


@readers.add("dicom")
class Dicom(Reader):
    """A DICOM file (PS3.10) with one frame or several."""

    @staticmethod
    def recognises(head: bytes) -> bool:
        """Whether "DICM" stands after the 128-byte preamble (PS3.10 7.1)."""
        return head[128:132] == b"DICM"

    @staticmethod
    def read(path: Path, item: str | None) -> Image:
        """The image: grey with the rescale applied, or RGB; several frames are its slices.

        Units are "HU" for a CT whose rescale gives them. The geometry is None unless the file says position,
        orientation, pixel spacing *and* slice spacing or thickness: an affine needs the third direction, and nothing
        is made up. MONOCHROME1 is inverted, so that bright is bright for every step and model.

        Frames that lie in one even stack (see `dicom_place.stack_of`) are sorted along it and have its geometry. All
        others, such as those of a clip, or of several echoes or times, are in the order of the file and have none.

        Raises:
            UnreadableImage: for a transfer syntax that is not decoded, pixels that are cut short, headers that
                contradict themselves, and frames whose numbers do not mean the same.
        """
        if item is not None:
            raise UnreadableImage(f"{path.name}: a DICOM file is one image; found the item '{item}' asked of it.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's warnings may quote values, and so an identity
            dataset = _dataset(path)
            _require_pixels(path, dataset)
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


def _require_pixels(path: Path, dataset: Dataset) -> None:
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


def _announces_pixels(dataset: Dataset) -> bool:
    """Whether it was meant to hold pixels as integers; parametric maps keep theirs elsewhere (PS3.3 C.7.6.24)."""
    from pydicom.uid import UID

    meta = getattr(dataset, "file_meta", None) or {}
    kind = UID(str(dataset.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID") or ""))
    elsewhere = "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset
    return not elsewhere and ("Image Storage" in kind.name or "Rows" in dataset)


@dataclass(frozen=True)
class _Meaning:
    """What the numbers of one frame, or of all frames, mean.

    Args:
        units: "HU" or "stored".
        window: (centre, width) as the file asks; None where it does not.
        turned_at: a value and the one that MONOCHROME1 was turned into, added up; None where nothing was turned.
        lines: what was done to the numbers.
        padding: how many pixels are no measurement, and in words which.
        rounded: what was lost in float32.
    """

    units: str
    window: tuple[float, float] | None = None
    turned_at: float | None = None
    lines: tuple[str, ...] = ()
    padding: tuple[int, str] = (0, "")
    rounded: tuple[str, ...] = ()


def _image(path: Path, dataset: Dataset) -> Image:
    frames = Frames(path, dataset)
    place = place_of(frames.header(frame) for frame in range(frames.count))
    pixels = np.empty((0, 0, 0, 0), dtype=np.float32)
    meanings: list[_Meaning] = []
    for slice_, one in zip(place.slices, frames.datasets(), strict=True):
        frame, meaning = _frame(path, one)
        if not meanings:
            pixels = np.empty((len(frame), frames.count, *frame.shape[1:]), dtype=np.float32)
        pixels[:, slice_] = frame
        meanings.append(meaning)
    meaning = _of_all(path, meanings)
    padding, which = meaning.padding
    uid = str(dataset.get("SOPInstanceUID") or "")
    digest = file_digest(path)
    return Image(
        pixels if frames.count > 1 else pixels[:, 0],
        geometry=place.geometry,
        units=meaning.units,
        modality=str(dataset.get("Modality") or "") or None,
        # A file's name may be a patient's; the instance UID is not.
        source=Source(uid or f"DICOM {digest[:12]}", digest, (uid,) if uid else ()),
        history=(
            *meaning.lines,
            *((f"{padding} pixels are padding ({which})",) if padding else ()),
            *place.history,
            *_part(dataset),
            *meaning.rounded,
        ),
        window=meaning.window,
        sides=place.sides,
    )


def _part(dataset: Dataset) -> tuple[str, ...]:
    """A word on frames that are not all of their object: a long one may be cut into files (PS3.3 C.7.6.16.2.2.4)."""
    if "ConcatenationUID" not in dataset:
        return ()
    number, total = (number_of(dataset, f"InConcatenation{what}") for what in ("Number", "TotalNumber"))
    return (f"part {number or 0:g} of {f'{total:g}' if total else 'several'}: the other frames are in other files",)


def _frame(path: Path, dataset: Dataset) -> tuple[NDArray[np.float32], _Meaning]:
    """One frame as `(channel, row, column)`, and what its numbers mean."""
    stored, lines = stored_pixels(path, dataset)
    if stored.ndim == 3:
        colour, rounded = as_float32(path, np.moveaxis(stored, -1, 0))
        return colour, _Meaning("stored", lines=lines, rounded=rounded)
    values, units, rescaled = _modality_values(path, dataset, stored)
    values, window, turned_at, inverted = _bright_is_bright(path, dataset, values, units=units, window=_window(dataset))
    grey, rounded = as_float32(path, values[None])
    lines = (*lines, *rescaled, *inverted)
    return grey, _Meaning(units, window, turned_at, lines, _padding(dataset, stored), rounded)


def _of_all(path: Path, meanings: Sequence[_Meaning]) -> _Meaning:
    """What the numbers of all frames mean.

    Raises:
        UnreadableImage: where they do not mean the same: whatever was made of them would look right and not be.
    """
    first, *others = meanings
    if not others:
        return first
    for key, what in (("units", "units"), ("turned_at", "a range of grey, counted from white to black")):
        if len({getattr(meaning, key) for meaning in meanings}) > 1:
            raise UnreadableImage(
                f"{path.name}: expected frames whose numbers mean the same; found frames that each have {what} of "
                "their own. Split it into single frames."
            )
    windows = {meaning.window for meaning in meanings}
    lines = _said_of([meaning.lines for meaning in meanings])
    return _Meaning(
        first.units,
        first.window if len(windows) == 1 else None,
        first.turned_at,
        lines if len(windows) == 1 else (*lines, "no window: the frames ask for different ones"),
        (sum(meaning.padding[0] for meaning in meanings), max(meaning.padding[1] for meaning in meanings)),
        _said_of([meaning.rounded for meaning in meanings]),
    )


def _said_of(lines: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """What is said of all frames, and of how many what is said of some."""
    counts = Counter(line for of_one in lines for line in dict.fromkeys(of_one))
    said = tuple(f"{line}{f' ({n} of {len(lines)} frames)' if n < len(lines) else ''}" for line, n in counts.items())
    return said if len(said) <= MAX_LINES else (*said[:MAX_LINES], f"and {len(said) - MAX_LINES} more of this kind")


def _modality_values(path: Path, dataset: Dataset, stored: NDArray[Any]) -> tuple[NDArray[Any], str, tuple[str, ...]]:
    """Stored numbers to modality values (PS3.3 C.11.1)."""
    from pydicom.pixels.processing import apply_modality_lut

    is_ct = dataset.get("Modality") == "CT"
    if dataset.get("ModalityLUTSequence"):
        kind = dataset.ModalityLUTSequence[0].get("ModalityLUTType")
        values = apply_modality_lut(stored, dataset)
        return values, "HU" if is_ct and kind == "HU" else "stored", ("modality LUT applied",)
    for key in ("RescaleSlope", "RescaleIntercept"):
        if dataset.get(key) not in (None, "") and number_of(dataset, key) is None:
            raise UnreadableImage(
                f"{path.name}: expected a finite number as {key}; found something else, so the meaning of its pixels "
                "is not known. Ask for the file again."
            )
    slope, intercept = number_of(dataset, "RescaleSlope"), number_of(dataset, "RescaleIntercept")
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
) -> tuple[NDArray[Any], tuple[float, float] | None, float | None, tuple[str, ...]]:
    """MONOCHROME1 turned round within the range that its bits allow, so that equal files stay comparable."""
    if dataset.PhotometricInterpretation != _INVERSE:
        return values, window, None, ()
    if units == "HU":
        return values, window, None, ("MONOCHROME1 kept: Hounsfield units mean the same however they are shown",)
    bits, signed = int(dataset.BitsStored), int(dataset.get("PixelRepresentation") or 0)
    ends = np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if signed else [0, 2**bits - 1], dtype=np.int64)
    if dataset.get("ModalityLUTSequence"):
        total = float(values.max()) + float(values.min())
    else:
        total = float(_modality_values(path, dataset, ends)[0].sum())
    inverted = total - values.astype(np.float64)
    if window is None:
        return inverted, None, total, ("MONOCHROME1 inverted",)
    # The centre that people know is that of the file: the turned one stands nowhere in it.
    line = f"MONOCHROME1 inverted; window {window[0]:g}/{window[1]:g} of the file"
    return inverted, (total - window[0], window[1]), total, (line,)


def _padding(dataset: Dataset, stored: NDArray[Any]) -> tuple[int, str]:
    """How many pixels are no measurement (PS3.3 C.7.5.1.1.2), and in words which; they keep their value."""
    first = number_of(dataset, "PixelPaddingValue")
    if first is None:
        return 0, ""
    limit = number_of(dataset, "PixelPaddingRangeLimit")
    low, high = sorted((first, first if limit is None else limit))
    which = f"stored value {low:g}{'' if low == high else f' to {high:g}'}"
    return int(((stored >= low) & (stored <= high)).sum()), which


def _window(dataset: Dataset) -> tuple[float, float] | None:
    """The first window, where it is linear and wider than nothing (PS3.3 C.11.2.1.2)."""
    centre, width = number_of(dataset, "WindowCenter"), number_of(dataset, "WindowWidth")
    linear = dataset.get("VOILUTFunction") in (None, "", "LINEAR", "LINEAR_EXACT")
    return (centre, width) if centre is not None and width is not None and width > 0 and linear else None
