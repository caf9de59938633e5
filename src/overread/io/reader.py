"""The contract of an image reader, and how a file finds its reader: by its first bytes, never by its name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from overread.catalogue import Catalogue
from overread.errors import InputError, UnreadableImage
from overread.image import Image

HEAD_BYTES = 512
"""How much of a file a reader sees to recognise it."""

MAX_VALUES = 2**28
"""Most numbers (rows x columns x slices x channels) that one image may hold: 1 GiB as float32."""


class Reader(ABC):
    """One kind of image file; a catalogue entry is the class itself."""

    @staticmethod
    @abstractmethod
    def recognises(head: bytes) -> bool:
        """Whether a file that begins with these bytes (up to HEAD_BYTES) is of this kind."""

    @staticmethod
    @abstractmethod
    def read(path: Path, item: str | None) -> Image:
        """The image.

        Args:
            path: a file that was recognised.
            item: which image of the file, for kinds that hold several.

        Raises:
            UnreadableImage: with what was expected, what was found, and what to do. Any other exception counts as a
                damaged file.
        """


readers: Catalogue[type[Reader]] = Catalogue("image reader", "overread.io")


def read(path: Path, *, item: str | None = None) -> Image:
    """Read one image from a file.

    Args:
        path: the file; its kind is recognised by its content.
        item: which image, for a file that holds several, such as "train_images[12]" in an npz.

    Raises:
        UnreadableImage: where there is no file, it is of no known kind, or it is damaged. Nothing else is raised,
            whatever the file holds.
    """
    path = Path(path)
    reader = readers.get(_kind(path))
    try:
        return reader.read(path, item)
    except UnreadableImage:
        raise
    except (KeyboardInterrupt, SystemExit):
        raise
    except InputError as error:
        raise UnreadableImage(str(error)) from error
    except BaseException as error:  # a decoder in Rust panics with a BaseException
        raise damaged(path, error) from error


def is_image(path: Path) -> bool:
    """Whether a file begins like an image that can be read; quick, and no promise that it is whole."""
    try:
        head = _head(Path(path))
    except OSError:
        return False
    return any(readers.get(name).recognises(head) for name in readers)


def damaged(path: Path, error: BaseException) -> UnreadableImage:
    """The refusal of a file whose decoder failed; the decoder's words may hold an identity and are left out."""
    return UnreadableImage(
        f"{path.name}: expected a whole image; decoding it failed ({type(error).__name__}). The file is probably cut "
        "short or damaged: fetch it again from where it came from."
    )


def refuse_giant(path: Path, shape: tuple[int, ...]) -> None:
    """Refuse what a header announces before memory is given to it.

    Raises:
        UnreadableImage: for more than MAX_VALUES numbers, or an empty axis.
    """
    values = int(np.prod([int(side) for side in shape], dtype=object))
    if values <= 0 or min(shape) <= 0:
        raise UnreadableImage(f"{path.name}: expected an image with pixels; its header announces {_by(shape)}.")
    if values > MAX_VALUES:
        raise UnreadableImage(
            f"{path.name}: an image may hold {MAX_VALUES:,} numbers; its header announces {_by(shape)} = {values:,}. "
            "Cut or shrink the image, if it really is that large."
        )


def as_float32(path: Path, pixels: NDArray[np.generic]) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Pixels as float32, and a line for the history where whole numbers are too large to stay exact.

    Raises:
        UnreadableImage: for what is no real number; of complex ones a half would be lost.
    """
    if pixels.dtype.kind not in "biuf":
        raise UnreadableImage(
            f"{path.name}: expected pixels of real numbers; found {pixels.dtype}. Save their magnitude."
        )
    rounded = pixels.dtype.kind in "iu" and pixels.dtype.itemsize > 2 and abs(pixels.astype(np.float64)).max() > 2**24
    line = "whole numbers beyond 16,777,216 rounded to float32"
    return pixels.astype(np.float32), (line,) if rounded else ()


def _kind(path: Path) -> str:
    if path.is_dir():
        raise UnreadableImage(f"{path.name}: expected an image file; found a folder. Name a file in it.")
    try:
        head = _head(path)
    except FileNotFoundError as error:
        raise UnreadableImage(f"{path.name}: expected an image file; there is no such file. Check the path.") from error
    except OSError as error:
        raise UnreadableImage(
            f"{path.name}: expected an image file; it cannot be opened ({error.strerror}). Check that you may read it."
        ) from error
    for name in readers:
        if readers.get(name).recognises(head):
            return name
    found = "an empty file" if not head else "text" if _is_text(head) else "bytes of no kind that is known"
    raise UnreadableImage(
        f"{path.name}: expected an image ({', '.join(readers)}); found {found}. Convert it to PNG, TIFF or DICOM "
        "(with its 128-byte preamble), or leave it out."
    )


def _head(path: Path) -> bytes:
    if not path.is_file() and path.exists():
        raise IsADirectoryError(21, "not a regular file", path.name)
    with open(path, "rb") as file:
        return file.read(HEAD_BYTES)


def _is_text(head: bytes) -> bool:
    return all(byte >= 32 or byte in b"\t\r\n\f" for byte in head)


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(str(side) for side in shape)
