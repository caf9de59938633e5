"""Pictures: PNG, JPEG and TIFF, in the bits that the file holds and the way up that it asks for."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from overread.errors import UnreadableImage
from overread.image import Image, Source
from overread.io.codestream import require_whole_jpeg
from overread.io.reader import Reader, as_float32, readers, refuse_giant
from overread.provenance import file_digest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tifffile import TiffFile, TiffPage

Array = NDArray[np.generic]

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_ORIENTATION_TAG = 274
_SLICES = ("Z", "T", "I", "Q")
"""What tifffile calls an axis of pages: depth, time, a sequence, and one that has no name."""


@dataclass(frozen=True)
class _Decoded:
    """`(row, column)` or `(row, column, channel)`, what was done to get there, and if the last channel is alpha."""

    pixels: Array
    history: tuple[str, ...] = ()
    alpha: bool = False

    def after(self, line: str, pixels: Array | None = None) -> _Decoded:
        return replace(self, pixels=self.pixels if pixels is None else pixels, history=(*self.history, line))


def _image(path: Path, item: str | None, decoded: _Decoded) -> Image:
    _require_no_item(path, item)
    values, history = _values(path, decoded)
    return Image(values, source=Source(path.name, file_digest(path)), history=history)


def _volume(path: Path, item: str | None, pages: Iterable[_Decoded], count: int) -> Image:
    """Equal pages as the slices of one image, each decoded when it is its turn."""
    _require_no_item(path, item)
    pixels = np.empty((0, 0, 0, 0), dtype=np.float32)
    lines: dict[str, None] = {}
    for slice_, page in enumerate(pages):
        values, history = _values(path, page)
        if slice_ == 0:
            pixels = np.empty((len(values), count, *values.shape[1:]), dtype=np.float32)
        pixels[:, slice_] = values
        lines |= dict.fromkeys(history)
    return Image(
        pixels, source=Source(path.name, file_digest(path)), history=(*lines, f"{count} pages in the order of the file")
    )


def _require_no_item(path: Path, item: str | None) -> None:
    if item is not None:
        raise UnreadableImage(f"{path.name}: a picture holds one image; found the item '{item}' asked of it. Leave it.")


def _values(path: Path, decoded: _Decoded) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """A picture as `(channel, row, column)`, and what was done to get there."""
    pixels, history = _without_alpha(decoded)
    values, rounded = as_float32(path, pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0))
    return values, (*history, *rounded)


@readers.add("png")
class Png(Reader):
    """Portable Network Graphics, 1 to 16 bit."""

    @staticmethod
    def recognises(head: bytes) -> bool:
        """Whether it has PNG's signature."""
        return head.startswith(_PNG)

    @staticmethod
    def read(path: Path, item: str | None) -> Image:
        """The image; grey or colour, transparency resolved."""
        data = path.read_bytes()
        if len(data) < 33 or data[12:16] != b"IHDR":
            raise UnreadableImage(f"{path.name}: expected a PNG; found one that ends in its header. Fetch it again.")
        width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
        bits, colour_type = data[24], data[25]
        channels = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}.get(colour_type, 4)
        refuse_giant(path, (height, width, channels))
        if bits == 16 and colour_type != 0:
            # Pillow silently keeps 8 of the 16 bits here.
            import imagecodecs

            return _image(path, item, _Decoded(np.asarray(imagecodecs.png_decode(data)), alpha=colour_type in (4, 6)))
        decoded = _by_pillow(path, data)
        if colour_type == 0 and bits in (2, 4):
            decoded = decoded.after(f"{bits}-bit grey scaled to 8 bits")
        return _image(path, item, decoded)


@readers.add("jpeg")
class Jpeg(Reader):
    """JPEG, 8 bit."""

    @staticmethod
    def recognises(head: bytes) -> bool:
        """Whether it begins with a JPEG marker."""
        return head.startswith(_JPEG)

    @staticmethod
    def read(path: Path, item: str | None) -> Image:
        """The image, grey or colour, turned as its EXIF asks.

        Raises:
            UnreadableImage: for a picture that ends early or is damaged within (see `codestream`).
        """
        data = path.read_bytes()
        decoded = _by_pillow(path, data)
        require_whole_jpeg(path, data)
        return _image(path, item, decoded)


@readers.add("tiff")
class Tiff(Reader):
    """TIFF, in the bits that it holds; several equal pages are the slices of a volume."""

    @staticmethod
    def recognises(head: bytes) -> bool:
        """Whether it has one of TIFF's signatures."""
        return head.startswith(_TIFF)

    @staticmethod
    def read(path: Path, item: str | None) -> Image:
        """The image, turned as its Orientation tag asks.

        Raises:
            UnreadableImage: for pages that are no slices of one volume, pages in a circle, missing strips, and colours
                that cannot be resolved.
        """
        import tifffile

        with tifffile.TiffFile(path) as tiff:
            pages = _full_pages(path, tiff)
            decoded = (_oriented(_tiff_colours(path, page), _orientation(page.tags)) for page in pages)
            if len(pages) == 1:
                return _image(path, item, next(decoded))
            _require_slices(path, tiff, pages)
            return _volume(path, item, decoded, len(pages))


def only_page(path: Path, tiff: TiffFile) -> TiffPage:
    """The one full page of a TIFF, checked before any of its pixels are decoded.

    Raises:
        UnreadableImage: for several pages or a stack, pages in a circle, more numbers than an image may hold, and
            strips that are not in the file.
    """
    pages = _full_pages(path, tiff)
    if len(pages) != 1:
        raise UnreadableImage(
            f"{path.name}: expected a TIFF with one page; found {len(pages)}. Save each page as a file of its own."
        )
    return pages[0]


def _full_pages(path: Path, tiff: TiffFile) -> list[TiffPage]:
    """The pages of a TIFF that are no small copies of others, checked before any of their pixels are decoded."""
    full, seen = [], set()
    for page in cast("Iterable[TiffPage]", tiff.pages):
        if page.offset in seen:
            raise UnreadableImage(
                f"{path.name}: expected a TIFF whose pages come to an end; found one that names an earlier page as "
                "its next. The file is damaged: fetch it again from where it came from."
            )
        seen.add(page.offset)
        full += [] if page.is_reduced else [page]
    if not full or (tiff.is_imagej and len(full) == 1 and tiff.series[0].size > full[0].size):
        raise UnreadableImage(
            f"{path.name}: expected a TIFF with pages; found {'a stack without' if full else 'none'}. Save it with a "
            "page for each slice."
        )
    refuse_giant(path, (len(full), *full[0].shape))
    for page in full:
        _require_whole(path, page)
    return full


def _require_slices(path: Path, tiff: TiffFile, pages: list[TiffPage]) -> None:
    """Refuse pages that differ, and pages that are channels or count along several axes: slices they are not."""
    kinds = {
        (page.shape, page.dtype, page.axes, page.photometric, page.extrasamples, _orientation(page.tags))
        for page in pages
    }
    if len(kinds) > 1:
        raise UnreadableImage(
            f"{path.name}: expected pages of one size and kind, as the slices of a volume have; found {len(kinds)} "
            f"kinds among {len(pages)} pages. Save each page as a file of its own."
        )
    named = tiff.series[0].axes.removesuffix(pages[0].axes) if len(tiff.series) == 1 else "I"
    if named not in _SLICES:
        raise UnreadableImage(
            f"{path.name}: expected pages that are slices or times; found {len(pages)} pages along the axes "
            f"'{named}' (C: channels). Save each channel or time as a file of its own."
        )


def _by_pillow(path: Path, data: bytes) -> _Decoded:
    from PIL import Image as Pillow

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Pillow.DecompressionBombWarning)
        try:
            with Pillow.open(io.BytesIO(data), formats=("PNG", "JPEG", "MPO")) as picture:
                refuse_giant(path, (picture.height, picture.width, len(picture.getbands())))
                orientation = picture.getexif().get(_ORIENTATION_TAG, 1)
                count = getattr(picture, "n_frames", 1)
                decoded = _resolved(picture)
        except (Pillow.DecompressionBombWarning, Pillow.DecompressionBombError) as error:
            raise UnreadableImage(
                f"{path.name}: a picture may have {Pillow.MAX_IMAGE_PIXELS:,} pixels; its header announces more. Cut "
                "or shrink it, if it really is that large."
            ) from error
    if count > 1:
        decoded = decoded.after(f"the first of {count} pictures in the file")
    return _oriented(decoded, orientation)


def _resolved(picture: Any) -> _Decoded:
    """Palette, transparent colour and print colours as plain channels."""
    mode, line = picture.mode, None
    if mode == "P":
        mode, line = "RGB", "palette resolved to RGB"
    elif mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        mode, line = "RGB", f"{mode} converted to RGB"
    if "transparency" in picture.info and mode in ("1", "L", "RGB"):
        mode, line = ("RGBA" if mode == "RGB" else "LA"), line or "transparent colour resolved"
    pixels = np.asarray(picture if mode == picture.mode else picture.convert(mode))
    return _Decoded(pixels, () if line is None else (line,), alpha=mode.endswith("A"))


def _tiff_colours(path: Path, page: Any) -> _Decoded:
    import tifffile

    photometric = page.photometric
    pixels: Array = page.asarray()
    if page.axes.startswith("S"):  # separate colour planes
        pixels = np.moveaxis(pixels, 0, -1)
    if photometric == tifffile.PHOTOMETRIC.MINISWHITE and pixels.dtype.kind in "bu":
        top = 2**page.bitspersample - 1
        return _Decoded(top - pixels, ("inverted: the file counts from white to black",))
    if photometric == tifffile.PHOTOMETRIC.PALETTE and page.colormap is not None:
        return _Decoded(np.moveaxis(page.colormap[:, pixels], 0, -1), ("palette resolved to RGB",))
    jpeg = page.compression in (tifffile.COMPRESSION.JPEG, tifffile.COMPRESSION.OJPEG)
    known = (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.RGB)
    if photometric not in known and not (photometric == tifffile.PHOTOMETRIC.YCBCR and jpeg):
        name = getattr(photometric, "name", photometric)
        raise UnreadableImage(f"{path.name}: expected grey, RGB or palette colours; found {name}. Save it as RGB.")
    if pixels.ndim > 3 or (pixels.ndim == 3 and not page.axes.replace("S", "") == "YX"):
        raise UnreadableImage(
            f"{path.name}: expected (row, column) with channels; found axes {page.axes} of shape {page.shape}. Save "
            "each slice as a file of its own."
        )
    if tifffile.EXTRASAMPLE.ASSOCALPHA in page.extrasamples and pixels.ndim == 3:
        return _Decoded(pixels[..., :-1], ("alpha channel dropped: the colours hold it already",))
    return _Decoded(pixels, alpha=tifffile.EXTRASAMPLE.UNASSALPHA in page.extrasamples)


def _require_whole(path: Path, page: Any) -> None:
    """Refuse a page whose strips are not all in the file: they would decode to black."""
    size = path.stat().st_size
    segments = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    missing = sum(count <= 0 or offset <= 0 or offset + count > size for offset, count in segments)
    if missing or not segments:
        raise UnreadableImage(
            f"{path.name}: {missing} of {len(segments)} strips of the picture lie outside the file. It is cut short: "
            "fetch it again from where it came from."
        )


def _orientation(tags: Any) -> int:
    tag = tags.get(_ORIENTATION_TAG)
    return 1 if tag is None else int(tag.value)


def _oriented(decoded: _Decoded, orientation: int) -> _Decoded:
    """The picture upright (TIFF 6.0, tag Orientation; EXIF uses the same numbers)."""
    pixels = decoded.pixels
    if orientation in (5, 6, 7, 8):
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if pixels is decoded.pixels:
        return decoded
    return decoded.after(f"turned upright (orientation {orientation})", pixels)


def _without_alpha(decoded: _Decoded) -> tuple[Array, tuple[str, ...]]:
    """Grey or colour alone: a fully opaque alpha is dropped, any other laid over black."""
    if not decoded.alpha:
        return decoded.pixels, decoded.history
    colour, alpha = decoded.pixels[..., :-1], decoded.pixels[..., -1:].astype(np.float64)
    opaque = {"uint8": 255, "uint16": 65535}.get(decoded.pixels.dtype.name, 1)
    if (alpha == opaque).all():
        return colour, (*decoded.history, "opaque alpha channel dropped")
    over_black = (colour.astype(np.float64) * alpha / opaque).astype(np.float32)
    return over_black, (*decoded.history, "transparent pixels laid over black")
