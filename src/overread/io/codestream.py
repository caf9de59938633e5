"""What a stream of JPEG, JPEG-LS or JPEG 2000 announces before memory is given to it, and whether a JPEG is whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from overread.errors import UnreadableImage

_SOI, _EOI, _SOS = b"\xff\xd8", b"\xff\xd9", 0xDA
_NOT_FRAMES = (0xC4, 0xC8, 0xCC)
"""In the range of frame headers, and none (ITU-T T.81, table B.1): Huffman tables, reserved, arithmetic coding."""

_FRAMES = (*(marker for marker in range(0xC0, 0xD0) if marker not in _NOT_FRAMES), 0xF7)  # the last is JPEG-LS
_NO_LENGTH = (0x01, *range(0xD0, 0xD8))
_J2K = b"\xff\x4f\xff\x51"


@dataclass(frozen=True)
class Header:
    """The frame that a stream announces.

    Args:
        shape: `(row, column)`, or `(row, column, component)` where there are several.
        bits: of one sample; None where it was not looked at (JPEG 2000).
        process: the marker of a JPEG's frame, such as 0xC0 for baseline; None for JPEG 2000.
        sampling: (horizontal, vertical) factor of each component of a JPEG.
    """

    shape: tuple[int, ...]
    bits: int | None = None
    process: int | None = None
    sampling: tuple[tuple[int, int], ...] = ()


def header_of(stream: bytes) -> Header | None:
    """The header of a stream; None where there is none that is known."""
    start = -1 if stream.startswith(_SOI) else stream[:512].find(_J2K)  # also within the boxes of a JP2 file
    if start >= 0:
        # ITU-T T.800, A.5.1: size of the reference grid, offset of the image in it, two of tiles, components
        size = stream[start + 8 : start + 42]
        right, bottom, left, top = (int.from_bytes(size[at : at + 4], "big") for at in (0, 4, 8, 12))
        return Header(_shape(bottom - top, right - left, int.from_bytes(size[32:34], "big")))
    for marker, start, end in _segments(stream):
        if marker in _FRAMES:
            # ITU-T T.81, B.2.2: length, precision, lines, samples a line, components, three bytes for each
            frame = stream[start + 4 : end]
            if len(frame) < 6 + 3 * frame[5]:
                return None
            sampling = tuple((byte >> 4, byte & 15) for byte in frame[7 : 6 + 3 * frame[5] : 3])
            rows, columns = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
            return Header(_shape(rows, columns, frame[5]), frame[0], marker, sampling)
    return None


def require_whole_jpeg(path: Path, stream: bytes) -> None:
    """Refuse a JPEG whose compressed pixels end early or make no sense; decoders fill up with grey and say nothing.

    libjpeg only warns, and neither Pillow nor imagecodecs passes its warnings on. To pack a JPEG into JPEG XL without
    loss every code of it must be understood to the last bit. That is done here, and its result thrown away. Kinds that
    JPEG XL does not take (12 bit, arithmetic coding, lossless, four components, sampled unusually) are not looked at.

    Raises:
        UnreadableImage: codes that are missing or wrong.
    """
    import imagecodecs

    header = header_of(stream)
    if header is None or not _is_checkable(header):
        return
    try:
        imagecodecs.jpegxl_encode_jpeg(_essence(stream))
    except imagecodecs.JpegxlError as error:
        raise UnreadableImage(
            f"{path.name}: the compressed pixels end early or are damaged, or are written in an unusual way, so that a "
            "part of the picture may be made up. Fetch it again from where it came from; if all of it is to be seen, "
            "save it as PNG."
        ) from error


def _shape(rows: int, columns: int, components: int) -> tuple[int, ...]:
    return (rows, columns) if components == 1 else (rows, columns, components)


def _is_checkable(header: Header) -> bool:
    return (
        header.bits == 8
        and header.process in (0xC0, 0xC1, 0xC2)
        and len(header.sampling) in (1, 3)
        and all(factor in (1, 2) for factors in header.sampling for factor in factors)
    )


def _essence(stream: bytes) -> bytes:
    """What the pixels need: no metadata, which may be odd in a good picture, and nothing behind its end."""
    parts, scan = [_SOI], len(stream)
    for marker, start, end in _segments(stream):
        if marker == _SOS:
            scan = start
        elif not 0xE0 <= marker <= 0xEF and marker != 0xFE:
            parts.append(stream[start:end])
    # FF D9 stands nowhere else: FF in a code is followed by 00 (ITU-T T.81, F.1.2.3)
    end = stream.find(_EOI, scan)
    return b"".join([*parts, stream[scan : end + 2 if end >= 0 else None]])


def _segments(stream: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, first byte, byte behind the last) of each segment of a JPEG, up to the header of its first scan."""
    at = 2
    while 0 <= at <= len(stream) - 4:
        marker = stream[at + 1]
        if stream[at] != 0xFF:  # stray bytes, which decoders pass over
            at = stream.find(b"\xff", at)
        elif marker == 0:
            at += 2
        elif marker == 0xFF:  # any marker may be preceded by fill bytes
            at += 1
        elif marker in _NO_LENGTH:
            at += 2
        else:
            end = at + 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
            yield marker, at, end
            if marker == _SOS:
                return
            at = end
