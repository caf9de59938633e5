"""NumPy archives: many images as rows of an array, as MedMNIST keeps them."""

from __future__ import annotations

import re
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from overread.catalogue import suggestion
from overread.errors import UnreadableImage
from overread.image import Image, Source
from overread.io.reader import Reader, as_float32, readers, refuse_giant
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
            UnreadableImage: for an item that is not there, is no image or is too large, and a damaged archive.
        """
        name, row = _parsed(path, item)
        shape, _ = array_header(path, name)
        if row is not None and (not shape or row >= shape[0]):
            raise UnreadableImage(
                f"{path.name}: expected row {row} of '{name}'; found {shape[0] if shape else 0} rows, which are "
                "counted from 0."
            )
        _require_image(path, item or name, shape if row is None else shape[1:])
        array = _array(path, name)
        values, history = as_float32(path, _channel_first(array if row is None else array[row]))
        source = Source(f"{path.name}:{item or name}", file_digest(path))
        return Image(values, source=source, history=history)


def array_header(path: Path, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of an array of numbers, without reading it.

    Raises:
        UnreadableImage: it holds no numbers, more bytes than are opened, or not as many as it announces.
    """
    stat = path.stat()
    return _header(str(path), stat.st_size, stat.st_mtime_ns, name)


def _parsed(path: Path, item: str | None) -> tuple[str, int | None]:
    names = _names(path)
    if item is None:
        if len(names) == 1:
            return names[0], None
        raise UnreadableImage(
            f'{path.name}: an npz holds several arrays; say which as item, such as "{names[0]}[0]", or save each image '
            f"as a file of its own. Found: {', '.join(names)}."
        )
    match = _ITEM.fullmatch(item)
    if match is None or match["name"] not in names:
        wrong = item if match is None else match["name"]
        raise UnreadableImage(f"{path.name}: no array is called '{wrong}'. {suggestion(wrong, names)}")
    return match["name"], None if match["row"] is None else int(match["row"])


def _require_image(path: Path, item: str, shape: tuple[int, ...]) -> None:
    if len(shape) not in (2, 3) and not (len(shape) == 4 and shape[-1] == 3):
        raise UnreadableImage(
            f"{path.name}:{item}: expected an image (row, column), (row, column, 3) or (slice, row, column); found "
            f'shape {shape}. Name a row, such as "train_images[12]", if this is a stack of images.'
        )
    refuse_giant(path, shape)


def _channel_first(array: NDArray[np.generic]) -> NDArray[np.generic]:
    colour = array.shape[-1] == 3 and array.ndim > 2
    if colour or (array.ndim == 3 and array.shape[-1] == 1):
        return np.moveaxis(array, -1, 0)
    return array[None]


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
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as member:
        array: NDArray[np.generic] = npy.read_array(member, allow_pickle=False)
    array.setflags(write=False)
    return array


@lru_cache(maxsize=64)
def _header(path: str, _size: int, _mtime_ns: int, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Compare what the header announces with what the archive holds, before memory is given to it."""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(f"{name}.npy")
        with archive.open(info) as file:
            version = npy.read_magic(file)
            read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, _fortran, dtype = read_header(file)
            held = info.file_size - file.tell()
    file_name, member = Path(path).name, info.filename
    if dtype.kind not in "biuf":
        raise UnreadableImage(
            f"{file_name}: an image holds numbers; '{member}' holds {dtype}. Save it as an array of numbers."
        )
    announced = int(np.prod([int(side) for side in shape], dtype=object)) * dtype.itemsize
    if announced != held:
        raise UnreadableImage(
            f"{file_name}: '{member}' announces {announced:,} bytes and holds {held:,}. The file is damaged: fetch it "
            "again from where it came from."
        )
    if announced > MAX_ARRAY_BYTES:
        raise UnreadableImage(
            f"{file_name}: '{member}' has {announced:,} bytes; up to {MAX_ARRAY_BYTES:,} are opened. Split the array."
        )
    return shape, dtype
