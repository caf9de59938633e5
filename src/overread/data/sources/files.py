"""The files of a data set: which are images, which are to be ignored, and what to call them."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image as PillowImage

from overread.data.manifest import Split
from overread.data.problem_kinds import ProblemLog
from overread.errors import InputError, SourceError, UnreadableImage
from overread.io.raster import only_page
from overread.io.reader import refuse_giant

_TIFF = (".tif", ".tiff")
_DICOM = (".dcm", ".dicom")
_IMAGES = (".nii.gz", ".nii", ".png", ".jpg", ".jpeg", ".bmp", *_TIFF, *_DICOM)
_TABLES = (".csv", ".tsv", ".parquet")
_IGNORED_NAMES = ("dicomdir", "thumbs.db", "desktop.ini", "__macosx")
_IGNORED_TEXTS = re.compile(r"(readme|licen[sc]e|copying|citation|changelog)\b[^/]*", re.IGNORECASE)
_SPLITS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_LONGEST_ID = 120


def split_of(word: str) -> Split | None:
    """The official split that a word means, or None.

    >>> split_of("Valid")
    'val'
    """
    return _SPLITS.get(word.strip().lower())


def split_named_in(stem: str) -> Split | None:
    """The one split that a file name mentions, such as "instances_train2017"; None where it is not one."""
    words = re.findall(r"[a-z]+", stem.lower())
    found = {split for word in words if (split := split_of(word))}
    return found.pop() if len(found) == 1 else None


def is_ignored(name: str) -> bool:
    """Whether a file or folder is none of the data: hidden, of the operating system, or a note to people."""
    lower = name.lower()
    return name.startswith(".") or lower in _IGNORED_NAMES or _IGNORED_TEXTS.fullmatch(lower) is not None


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, by its "DICM" (PS3.10 7.1), or for want of it by its extension."""
    if not path.is_file():  # to open a named pipe is to wait for ever
        return False
    try:
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM" or path.suffix.lower() in _DICOM
    except OSError:
        return False


def is_image(path: Path) -> bool:
    """Whether a file is offered as an image; DICOM may come without extension. Pipes and devices are none."""
    if path.exists() and not path.is_file():
        return False
    return path.name.lower().endswith(_IMAGES) or (not is_table(path) and is_dicom(path))


def is_table(path: Path) -> bool:
    """Whether a file is called as a table is."""
    return path.suffix.lower() in _TABLES


def tables_in(folder: Path) -> list[Path]:
    """The tables that lie directly in a folder, sorted."""
    return sorted(path for path in folder.iterdir() if is_table(path) and path.is_file() and not is_ignored(path.name))


def folders_in(folder: Path) -> list[Path]:
    """The folders that lie directly in a folder and are not to be ignored, sorted."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not is_ignored(path.name))


def walk(folder: Path) -> Iterator[Path]:
    """All files below a folder that are not to be ignored, sorted; links are followed, each folder once.

    Raises:
        InputError: a folder that cannot be looked into; what is in it would be missing without a word.
    """
    seen: set[str] = set()
    for root, folders, files in os.walk(folder, followlinks=True, onerror=_refuse):
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not is_ignored(name))
        yield from (Path(root, name) for name in sorted(files) if not is_ignored(name))


def _refuse(error: OSError) -> NoReturn:
    raise InputError(
        f"'{error.filename}': expected a folder that can be looked into ({error.strerror}). Check that you may read "
        "it, or take it away."
    ) from error


def stem_of(name: str) -> str:
    """A file name or path without the extension of an image; other dots stay.

    >>> stem_of("a/1.2.840.dcm"), stem_of("1.2.840")
    ('a/1.2.840', '1.2.840')
    """
    suffix = next((suffix for suffix in _IMAGES if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)]


def name_in(path: Path, folder: Path) -> str:
    """A path as seen from the data set's folder, with forward slashes, in composed Unicode."""
    return unicodedata.normalize("NFC", os.path.relpath(path, folder).replace(os.sep, "/"))


def case_ids(names: Iterable[str]) -> dict[str, str]:
    """Ids for cases: unique even where upper and lower case are the same, and fit for a file name.

    >>> case_ids(["benign/a 1.png", "benign/a_1.png", "b.png"])
    {'benign/a 1.png': 'benign_a_1-6a4872', 'benign/a_1.png': 'benign_a_1-1a7e4b', 'b.png': 'b'}
    """
    plain = {name: _fit_for_file_name(stem_of(name)) for name in names}
    taken: dict[str, int] = {}
    for case_id in plain.values():
        taken[case_id.lower()] = taken.get(case_id.lower(), 0) + 1
    return {
        name: case_id if taken[case_id.lower()] == 1 else f"{case_id}-{_digest(name)[:6]}"
        for name, case_id in plain.items()
    }


def _fit_for_file_name(text: str) -> str:
    fit = re.sub(r"[^\w.\-]+", "_", unicodedata.normalize("NFC", text)).lstrip("._").rstrip(".") or "case"
    if len(fit) <= _LONGEST_ID:
        return fit
    return f"{fit[: _LONGEST_ID - 13]}-{_digest(text)[:12]}"


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()


def note_unknown(folder: Path, used: Iterable[Path], log: ProblemLog) -> None:
    """Name every file of a data set that its layout has no use for: images apart from the others."""
    known = set(used)
    for path in walk(folder):
        if path not in known:
            log.add("file-without-label" if is_image(path) else "unknown-file", name_in(path, folder))


def integer_pixels(path: Path) -> NDArray[np.integer]:
    """A label map or mask as it is stored, `(row, column)` integers; colour indices of a palette stay indices.

    Raises:
        SourceError: not readable, larger than an image may be, not one number a pixel, or not integers.
    """
    try:
        if path.suffix.lower() in _TIFF:
            with tifffile.TiffFile(path) as tiff:
                pixels = np.asarray(only_page(path, tiff).asarray())
        else:
            with PillowImage.open(path) as image:
                refuse_giant(path, (image.height, image.width, len(image.getbands())))
                pixels = np.asarray(image)
    except UnreadableImage as error:
        raise SourceError(str(error)) from error
    except Exception as error:  # whatever a decoder raises on a damaged file
        raise SourceError(f"{path.name}: cannot be read as a label map ({type(error).__name__}).") from error
    if pixels.ndim == 3 and pixels.shape[2] in (3, 4) and (pixels[..., :3] == pixels[..., :1]).all():
        pixels = pixels[..., 0]  # grey, stored as colour
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8)
    if pixels.dtype.kind == "f" and np.isfinite(pixels).all() and (pixels == np.rint(pixels)).all():
        pixels = pixels.astype(np.int64)
    if pixels.ndim != 2 or pixels.dtype.kind not in "iu":
        raise SourceError(f"{path.name}: one integer a pixel is expected; found {pixels.dtype} {pixels.shape}.")
    return pixels
