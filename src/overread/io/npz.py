"""NumPy archives: many images as rows of an array, as MedMNIST keeps them."""

from __future__ import annotations

import re
import zipfile
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from overread.catalogue import suggestion
from overread.errors import UnreadableImage
from overread.image import Image, Source
from overread.io.reader import Reader, as_float32, readers
from overread.provenance import file_digest

MAX_ARRAY_BYTES = 8 * 2**30
"""Largest array that is opened; all its rows are in memory together."""

_ITEM = re.compile(r"(?P<name>.+?)(?:\[(?P<row>\d+)\])?")


@readers.add("npz")
class Npz(Reader):
    """An image in an npz; item names the array and, in a stack of images, the row: "train_images[12]"."""

    @staticmethod
    def recognises(head: bytes) -> bool:
        """Whether it is a zip whose first member is an npy (ZIP application note 6.3.10, 4.3.7)."""
        if not head.startswith(b"PK\x03\x04"):
            return False
        length = int.from_bytes(head[26:28], "little")
        return head[30 : 30 + length].endswith(b".npy")

    @staticmethod
    def read(path: Path, item: str | None) -> Image:
        """The image: 2-D grey, last axis 3 colour, any other 3-D a volume (slice, row, column).

        Raises:
            UnreadableImage: for an item that is not there or is no image, and a damaged archive.
        """
        name, row = _parsed(path, item)
        array = _array(path, name)
        if row is not None:
            if not array.ndim or row >= len(array):
                raise UnreadableImage(
                    f"{path.name}: expected row {row} of '{name}'; found {len(array) if array.ndim else 0} rows, "
                    "which are counted from 0."
                )
            array = array[row]
        pixels = _channel_first(array, f"{path.name}:{item or name}")
        values, history = as_float32(pixels)
        source = Source(f"{path.name}:{item or name}", file_digest(path))
        return Image(values, source=source, history=history)


def _parsed(path: Path, item: str | None) -> tuple[str, int | None]:
    names = _names(path)
    if item is None:
        if len(names) == 1:
            return names[0], None
        raise UnreadableImage(
            f'{path.name}: an npz holds several arrays; say which as item, such as "{names[0]}[0]". '
            f"Found: {', '.join(names)}."
        )
    match = _ITEM.fullmatch(item)
    if match is None or match["name"] not in names:
        wrong = item if match is None else match["name"]
        raise UnreadableImage(f"{path.name}: no array is called '{wrong}'. {suggestion(wrong, names)}")
    return match["name"], None if match["row"] is None else int(match["row"])


def _channel_first(array: NDArray[np.generic], where: str) -> NDArray[np.generic]:
    colour = array.ndim in (3, 4) and array.shape[-1] == 3
    if colour:
        return np.moveaxis(array, -1, 0)
    if array.ndim == 3 and array.shape[-1] == 1:
        return np.moveaxis(array, -1, 0)
    if array.ndim in (2, 3):
        return array[None]
    raise UnreadableImage(
        f"{where}: expected an image (row, column), (row, column, 3) or (slice, row, column); found shape "
        f'{array.shape}. Name a row, such as "train_images[12]", if this is a stack of images.'
    )


def _names(path: Path) -> list[str]:
    stat = path.stat()
    return list(_opened_names(str(path), stat.st_size, stat.st_mtime_ns))


def _array(path: Path, name: str) -> NDArray[np.generic]:
    stat = path.stat()
    return _opened(str(path), stat.st_size, stat.st_mtime_ns, name)


@lru_cache(maxsize=64)
def _opened_names(path: str, _size: int, _mtime_ns: int) -> tuple[str, ...]:
    with zipfile.ZipFile(path) as archive:
        return tuple(name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy"))


@lru_cache(maxsize=4)
def _opened(path: str, _size: int, _mtime_ns: int, name: str) -> NDArray[np.generic]:
    with zipfile.ZipFile(path) as archive:
        _check_header(Path(path), archive, f"{name}.npy")
        with archive.open(f"{name}.npy") as member:
            array: NDArray[np.generic] = npy.read_array(member, allow_pickle=False)
    array.setflags(write=False)
    return array


def _check_header(path: Path, archive: zipfile.ZipFile, member: str) -> None:
    """Compare what the header announces with what the archive holds, before memory is given to it."""
    info = archive.getinfo(member)
    with archive.open(info) as file:
        version = npy.read_magic(file)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _fortran, dtype = read_header(file)
        held = info.file_size - file.tell()
    if dtype.kind not in "biuf":
        raise UnreadableImage(
            f"{path.name}: an image holds numbers; '{member}' holds {dtype}. Save it as an array of numbers."
        )
    announced = int(np.prod([int(side) for side in shape], dtype=object)) * dtype.itemsize
    if announced != held:
        raise UnreadableImage(
            f"{path.name}: '{member}' announces {announced:,} bytes and holds {held:,}. The file is damaged: fetch it "
            "again from where it came from."
        )
    if announced > MAX_ARRAY_BYTES:
        raise UnreadableImage(
            f"{path.name}: '{member}' has {announced:,} bytes; up to {MAX_ARRAY_BYTES:,} are opened. Split the array."
        )
