"""The stored pixels of one DICOM frame, decoded and checked against what the header says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from overread.errors import UnreadableImage
from overread.io.codestream import header_of, require_whole_jpeg
from overread.io.dicom_header import quoted

if TYPE_CHECKING:
    from pydicom import Dataset

_JPEG = "1.2.840.10008.1.2.4."
_BY_IMAGECODECS = tuple(_JPEG + number for number in ("51", "53", "55", "57", "70"))
"""JPEG extended, spectral selection, full progression, and both lossless ones."""

_BY_PYDICOM = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.5",
    *(_JPEG + number for number in ("50", "80", "81", "90", "91", "201", "202", "203")),
)
_RLE = "1.2.840.10008.1.2.5"
_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_PALETTE = "PALETTE COLOR"
_KNOWN = (*_GREY, *_COLOUR, _PALETTE, "HSV", "ARGB", "CMYK", "YBR_PARTIAL_420", "YBR_PARTIAL_422", "XYB")
_MAX_RATIO = 4000
"""A constant 16-bit picture packs to about a thousandth; what announces far more is no picture."""


def stored_pixels(path: Path, dataset: Dataset) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Decode one frame.

    Returns:
        `(row, column)` integers for grey, `(row, column, 3)` RGB for colour, and lines for the history.

    Raises:
        UnreadableImage: for a syntax that is not decoded, pixels that are cut short, and a header that the pixels
            contradict.
    """
    syntax = decodable_syntax(path, dataset)
    photometric, samples = str(dataset.PhotometricInterpretation), int(dataset.get("SamplesPerPixel") or 1)
    expected = (int(dataset.Rows), int(dataset.Columns)) + ((3,) if samples == 3 else ())
    if syntax.is_encapsulated:
        _require_whole_frame(path, dataset, syntax)
        if syntax != _RLE:
            _require_announced(path, dataset, expected)
        lines: tuple[str, ...] = ()
    else:
        lines = _require_whole_native(path, dataset)
    pixels = _by_imagecodecs(dataset) if syntax in _BY_IMAGECODECS else _by_pydicom(dataset)
    if pixels.shape != expected:
        raise UnreadableImage(
            f"{path.name}: the header says {expected}; the pixels decode to {pixels.shape}. Ask for the file again."
        )
    if samples == 3:
        return pixels, (*lines, *((f"{photometric} converted to RGB",) if photometric != "RGB" else ()))
    pixels, masked = _within_bits(path, dataset, pixels)
    if photometric == _PALETTE:
        from pydicom.pixels.processing import apply_color_lut

        return apply_color_lut(pixels, dataset)[..., :3], (*lines, *masked, "palette resolved to RGB")
    return pixels, (*lines, *masked)


def _syntax(path: Path, dataset: Dataset) -> Any:
    meta = getattr(dataset, "file_meta", None)
    syntax = None if meta is None else meta.get("TransferSyntaxUID")
    if not syntax:
        raise UnreadableImage(f"{path.name}: the file does not say its transfer syntax. Ask for the file again.")
    if syntax not in (*_BY_PYDICOM, *_BY_IMAGECODECS):
        named = f"'{syntax.name}' ({syntax!s})" if syntax.name != syntax else "an unknown one"
        raise UnreadableImage(
            f"{path.name}: expected pixels in a transfer syntax that is decoded; found {named}. Send the file as "
            "Explicit VR Little Endian (1.2.840.10008.1.2.1)."
        )
    return syntax


def _require_sound_bits(path: Path, dataset: Dataset) -> None:
    allocated, stored = int(dataset.get("BitsAllocated") or 0), int(dataset.get("BitsStored") or 0)
    high, signed = dataset.get("HighBit"), int(dataset.get("PixelRepresentation") or 0)
    high = stored - 1 if high is None else int(high)
    if allocated not in (1, 8, 16, 32) or not 1 <= stored <= allocated or high != stored - 1 or signed not in (0, 1):
        raise UnreadableImage(
            f"{path.name}: expected 1, 8, 16 or 32 bits with the lowest ones in use; found {allocated} allocated, "
            f"{stored} stored, highest {high}, pixel representation {signed}. Ask for the file again."
        )


def decodable_syntax(path: Path, dataset: Dataset) -> Any:
    """The transfer syntax of pixels that can be decoded, as far as the header shows.

    Raises:
        UnreadableImage: for a syntax, colours or bits that are not decoded.
    """
    syntax = _syntax(path, dataset)
    photometric = str(dataset.get("PhotometricInterpretation") or "")
    samples = int(dataset.get("SamplesPerPixel") or 1)
    fits = {1: (*_GREY, _PALETTE), 3: _COLOUR}.get(samples, ())
    if photometric not in fits:
        raise UnreadableImage(
            f"{path.name}: expected grey, palette or RGB pixels; found {samples} samples a pixel and the "
            f"photometric interpretation: {quoted(photometric, _KNOWN)}. Convert it to RGB."
        )
    _require_sound_bits(path, dataset)
    return syntax


def frame_bits(dataset: Dataset) -> int:
    """How many bits one frame takes where it is not compressed."""
    values = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("SamplesPerPixel") or 1)
    if dataset.get("PhotometricInterpretation") == "YBR_FULL_422":
        values = values // 3 * 2  # PS3.3 C.7.6.3.1.2: two pixels share their chrominance
    return values * int(dataset.BitsAllocated)


def _require_whole_native(path: Path, dataset: Dataset) -> tuple[str, ...]:
    expected = (frame_bits(dataset) + 7) // 8
    found = len(dataset.PixelData)
    if found < expected:
        raise UnreadableImage(
            f"{path.name}: the header announces {expected:,} bytes of pixels; found {found:,}. The file is cut short: "
            "fetch it again from where it came from."
        )
    return (f"{found - expected} bytes behind the pixels left out",) if found > expected + expected % 2 else ()


def _require_whole_frame(path: Path, dataset: Dataset, syntax: Any) -> None:
    """Look for the end of the compressed stream: decoders fill what is missing with black and say nothing."""
    frame = _frame(dataset)
    values = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("SamplesPerPixel") or 1)
    # JPEG, JPEG-LS and JPEG 2000 all end in FF D9, behind which a frame may be padded to even length.
    whole = len(frame) >= 64 if syntax == _RLE else b"\xff\xd9" in frame.rstrip(b"\x00")[-3:]
    if not whole:
        raise UnreadableImage(
            f"{path.name}: the compressed pixels have no end ({len(frame):,} bytes found). The file is cut short: "
            "fetch it again from where it came from."
        )
    if values > 2**22 and values > _MAX_RATIO * len(frame):
        raise UnreadableImage(
            f"{path.name}: the header announces {values:,} numbers in {len(frame):,} compressed bytes. This is no "
            "picture; leave it out."
        )


def _require_announced(path: Path, dataset: Dataset, expected: tuple[int, ...]) -> None:
    """Compare the size that the compressed stream announces, before a decoder gives memory to it."""
    frame = _frame(dataset)
    header = header_of(frame)
    if header is None or header.shape != expected:
        found = "has no header" if header is None else f"announces {header.shape}"
        raise UnreadableImage(
            f"{path.name}: the header says {expected}; the compressed stream {found}. Ask for the file again."
        )
    require_whole_jpeg(path, frame)


def _frame(dataset: Dataset) -> bytes:
    """The one frame, its fragments joined (PS3.5 A.4)."""
    from pydicom.encaps import generate_fragments

    fragments = list(generate_fragments(dataset.PixelData))
    return b"".join(fragments[1:])  # the first one is the offset table


def _by_pydicom(dataset: Dataset) -> NDArray[Any]:
    from pydicom.pixels.decoders.base import get_decoder

    decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
    # Bits that should not be in use are looked at in `_within_bits`, not cut off without a word.
    pixels, _ = decoder.as_array(dataset, index=0, correct_unused_bits=False)  # type: ignore[arg-type]
    return np.asarray(pixels)


def _by_imagecodecs(dataset: Dataset) -> NDArray[Any]:
    import imagecodecs

    pixels = np.asarray(imagecodecs.jpeg_decode(_frame(dataset)))
    return pixels.view(pixels.dtype.name.removeprefix("u")) if dataset.get("PixelRepresentation") else pixels


def _within_bits(path: Path, dataset: Dataset, pixels: NDArray[Any]) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Grey values of the stored bits alone; older files keep overlays in the bits above (PS3.5 8.1.2)."""
    stored, allocated = int(dataset.BitsStored), pixels.dtype.itemsize * 8
    if stored >= allocated or int(dataset.BitsAllocated) == 1:
        return pixels, ()
    unsigned = pixels.astype(np.int64) & (2**stored - 1)
    signed = bool(dataset.get("PixelRepresentation"))
    values = np.where(unsigned >= 2 ** (stored - 1), unsigned - 2**stored, unsigned) if signed else unsigned
    if np.array_equal(values, pixels) or (signed and np.array_equal(unsigned, pixels)):
        return values, ()
    if any(element.tag.group & 0xFF01 == 0x6000 and element.tag.element == 0x0102 for element in dataset):
        return values, ("overlay in the unused bits left out",)
    raise UnreadableImage(
        f"{path.name}: the header says that {stored} bits are in use; the pixels use more, so their values cannot be "
        "trusted. Ask for the file again."
    )
