"""What the header of an image file says, without decoding its pixels."""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path

import pydicom
import tifffile
from PIL import Image as PillowImage
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from overread.data.sources.files import is_dicom
from overread.study import pseudonym

_ORIENTATION = 0x0112

_TAGS = [
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "PatientID",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "InstanceNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SyntheticData",
]


def dicom_header(path: Path) -> Dataset | None:
    """The few elements of a DICOM header that say which image this is; None where it cannot be read."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return _dicom_header(str(path), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=100_000)
def _dicom_header(path: str, _size: int, _mtime_ns: int) -> Dataset | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a lax header means is judged when its pixels are read
            return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS), force=True)
    except Exception:  # a damaged file is named when its pixels are read
        return None


def text_of(header: Dataset | None, keyword: str) -> str | None:
    """One element as text; None where it is absent, empty or damaged."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = None if header is None else header.get(keyword)
    except Exception:  # pydicom converts values late, and raises what the value makes it raise
        return None
    text = "" if value is None else str(value).strip()
    return text or None


def numbers_of(header: Dataset | None, keyword: str) -> tuple[float, ...]:
    """One element as numbers; empty where it is absent or damaged."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = None if header is None else header.get(keyword)
            several = value if isinstance(value, MultiValue) else () if value is None else (value,)
            return tuple(float(number) for number in several)
    except Exception:  # as above
        return ()


def patient_of(header: Dataset | None) -> str | None:
    """The pseudonym of the patient whom a header names."""
    identity = text_of(header, "PatientID")
    return None if identity is None else pseudonym(identity)


def patient_in_file(path: Path) -> str | None:
    """The pseudonym of the patient whom a file names: DICOM does, other formats do not."""
    return patient_of(dicom_header(path)) if is_dicom(path) else None


def is_simulated(path: Path) -> bool:
    """Whether a DICOM header says that no patient was imaged (Synthetic Data, PS3.3 C.12.1)."""
    return is_dicom(path) and text_of(dicom_header(path), "SyntheticData") == "YES"


def is_turned(path: Path) -> bool:
    """Whether a picture asks to be turned or mirrored when shown (Exif 2.3, Orientation).

    Images are read as they ask to be shown; whether boxes and masks were drawn so, no data set says.
    """
    if is_dicom(path) or not path.is_file():
        return False
    try:
        with PillowImage.open(path) as image:
            return image.getexif().get(_ORIENTATION, 1) not in (0, 1)
    except Exception:  # a damaged file is named when its pixels are read
        return False


def size_px(path: Path) -> tuple[int, int] | None:
    """(row, column) of a flat image; None where the header does not say."""
    if is_dicom(path):
        header = dicom_header(path)
        rows, columns = text_of(header, "Rows") or "", text_of(header, "Columns") or ""
        return (int(rows), int(columns)) if rows.isdecimal() and columns.isdecimal() else None
    if not path.is_file():
        return None
    try:
        with PillowImage.open(path) as image:
            return image.height, image.width
    except Exception:  # whatever a decoder raises on a damaged file
        return _tiff_size_px(path)


def _tiff_size_px(path: Path) -> tuple[int, int] | None:
    try:
        with tifffile.TiffFile(path) as file:
            shape = file.pages.first.shape  # `series` would follow all pages, in a damaged file without end
            return int(shape[0]), int(shape[1])
    except Exception:  # whatever a decoder raises on a damaged file
        return None
