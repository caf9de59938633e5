"""A DICOM object of several frames, taken apart into data sets of one frame each, as if each had been sent alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overread.errors import UnreadableImage
from overread.io.dicom_header import quoted
from overread.io.dicom_pixels import decodable_syntax, frame_bits
from overread.io.reader import refuse_giant

if TYPE_CHECKING:
    from pydicom import Dataset

_SHARED, _OWN = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
_GROUPS = (
    "PixelMeasuresSequence",
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelValueTransformationSequence",
    "FrameVOILUTSequence",
)
"""The functional groups (PS3.3 C.7.6.16.2) that say what a single frame says at the top of its header."""

_KINDS = (
    *("MAGNITUDE", "PHASE", "REAL", "IMAGINARY", "MIXED", "M", "P", "R", "I", "FIELD_MAP", "B0", "B1", "T1", "T2"),
    *("T2_STAR", "PROTON_DENSITY", "ADC", "DIFFUSION", "DIFFUSION_ANISO", "TRACE", "FA", "WATER", "FAT", "IN_PHASE"),
    *("OUT_OF_PHASE", "OUT_PHASE", "PERFUSION", "RCBF", "RCBV", "MTT", "TTP", "TMAX", "VELOCITY", "FLOW_ENCODED"),
    *("LOCALIZER", "ANGIO", "VOLUME", "MAX_IP", "MIN_IP", "MEAN", "SUBTRACTION", "MPR", "AXIAL", "NONE"),
)
"""What frames show, as a message may say it: values of the standard, and those that makers use."""

_OF_ALL_FRAMES = ("PixelData", "NumberOfFrames", "ExtendedOffsetTable", "ExtendedOffsetTableLengths", _SHARED, _OWN)
_NO_PICTURE = {
    "SEG": "a segmentation, which marks what lies in other images",
    "RTDOSE": "a distribution of dose",
}


class Frames:
    """The frames of one object, one at a time: first their headers, then their pixels.

    Args:
        path: for messages.
        dataset: with pixels; of one frame or several, classic or enhanced (with functional groups, PS3.3 C.7.6.16).

    Raises:
        UnreadableImage: for more numbers than an image may hold, fewer pixels than are announced, frames that are no
            pictures of one place or time each or do not show the same, and functional groups that are absent or not
            one a frame.
    """

    def __init__(self, path: Path, dataset: Dataset) -> None:
        from pydicom.tag import Tag

        self._path, self._dataset = path, dataset
        announced = dataset.get("NumberOfFrames")
        self.count = 1 if announced in (None, "") else int(announced)  # absent and empty mean one (PS3.3 C.7.6.6)
        if self.count == 0:
            raise UnreadableImage(
                f"{path.name}: the header announces 0 frames, a sequence of length 0. Ask for the file again, or leave "
                "it out."
            )
        shape = *(int(dataset.get(key) or 0) for key in ("Rows", "Columns")), int(dataset.get("SamplesPerPixel") or 1)
        refuse_giant(path, shape if self.count == 1 else (self.count, *shape))
        self._grouped = _SHARED in dataset or _OWN in dataset
        if self.count > 1 or self._grouped:
            self._require_pictures()
        self._require_groups()
        self._require_one_kind()
        if self.count > 1:
            self._compressed = decodable_syntax(path, dataset).is_encapsulated
            self._require_pixels()
        left_out = {Tag(key) for key in _OF_ALL_FRAMES}
        self._common = {tag: element for tag, element in dataset.items() if tag not in left_out}

    def header(self, frame: int) -> Dataset:
        """What the file says about one frame, as a data set of one frame says it; without pixels."""
        from pydicom import Dataset

        header = Dataset(dict(self._common))
        header.file_meta = self._dataset.file_meta
        if self._grouped:
            # What a frame says of itself goes before what is said of all.
            for groups in (*(self._dataset.get(_SHARED) or ())[:1], self._dataset[_OWN].value[frame]):
                for name in _GROUPS:
                    header.update((groups.get(name) or [Dataset()])[0])
        return header

    def datasets(self) -> Iterator[Dataset]:
        """Data sets of one frame, with its pixels, in the order of the file.

        Raises:
            UnreadableImage: where the compressed pixels part into another number of frames than is announced.
        """
        if self.count == 1 and not self._grouped:
            yield self._dataset
            return
        kind = self._dataset["PixelData"].VR
        for frame, pixels in enumerate(self._pixels()):
            dataset = self.header(frame)
            dataset.add_new("PixelData", kind, pixels)
            yield dataset

    def _pixels(self) -> Iterator[bytes]:
        if self.count == 1:
            yield self._dataset.PixelData
        elif self._compressed:
            yield from self._streams()
        else:
            # One frame stands behind the other, with nothing between them (PS3.5 8.1.1).
            size = frame_bits(self._dataset) // 8
            for start in range(0, size * self.count, size):
                yield self._dataset.PixelData[start : start + size]

    def _streams(self) -> Iterator[bytes]:
        """Each compressed frame by itself, its fragments joined (PS3.5 A.4)."""
        from pydicom.encaps import encapsulate, generate_frames

        tables = tuple(self._dataset.get(key) for key in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"))
        extended: Any = tables if all(tables) else None
        found = 0
        for stream in generate_frames(self._dataset.PixelData, number_of_frames=self.count, extended_offsets=extended):
            found += 1
            if found > self.count:
                break
            yield encapsulate([stream])
        if found != self.count:
            raise self._other_number("more" if found > self.count else f"{found}")

    def _require_pixels(self) -> None:
        """Refuse more frames than the file can hold, before anything is done for each of them."""
        from pydicom.encaps import generate_fragments

        pixels = self._dataset.PixelData
        if self._compressed:
            found = sum(1 for _ in generate_fragments(pixels)) - 1  # the first one is the offset table
            if found < self.count:
                raise self._other_number(f"{found}")
            return
        bits = frame_bits(self._dataset)
        if bits % 8:
            raise UnreadableImage(
                f"{self._path.name}: expected frames of whole bytes; found frames of {bits} bits. Save them with 8 "
                "bits a pixel."
            )
        if len(pixels) < bits // 8 * self.count:
            raise UnreadableImage(
                f"{self._path.name}: the header announces {self.count} frames of {bits // 8:,} bytes; found "
                f"{len(pixels):,} bytes. The file is cut short: fetch it again from where it came from."
            )

    def _other_number(self, found: str) -> UnreadableImage:
        return UnreadableImage(
            f"{self._path.name}: the header announces {self.count} frames; the compressed pixels hold {found}. The "
            "file is cut short or damaged: fetch it again from where it came from."
        )

    def _require_pictures(self) -> None:
        kind = _NO_PICTURE.get(str(self._dataset.get("Modality")))
        if "TotalPixelMatrixColumns" in self._dataset:
            kind = "the tiles of one large picture"  # PS3.3 C.8.12.4
        if kind is not None:
            raise UnreadableImage(
                f"{self._path.name}: expected frames that are pictures of one place or time each; found {kind}. Leave "
                "it out."
            )

    def _require_groups(self) -> None:
        """What the pixels of an enhanced object mean stands in its functional groups alone."""
        if not self._grouped and not _needs_groups(self._dataset):
            return
        found = len(self._dataset.get(_OWN) or ())
        if found != self.count:
            raise UnreadableImage(
                f"{self._path.name}: expected functional groups, which say of each frame what its pixels mean; found "
                f"{found} for {self.count}. Ask for the file again."
            )

    def _require_one_kind(self) -> None:
        """Refuse frames that say of themselves that their numbers mean different things, such as a picture and a map.

        That is in the flavour of a frame and in how its contrast was derived, which are the third and fourth value of
        its type (PS3.3 C.8.16.1.3, C.8.16.1.4), and in the part of the complex signal (C.8.13.3.1.1).
        """
        if not self._grouped:
            return
        shared = _kind_in(*(self._dataset.get(_SHARED) or ())[:1])
        kinds = list(dict.fromkeys(filter(None, (_kind_in(groups) or shared for groups in self._dataset[_OWN].value))))
        differ = [values for values in zip(*kinds, strict=True) if len(set(values)) > 1]
        if not differ:
            return
        named = " and ".join(dict.fromkeys(quoted(value, _KINDS) for value in differ[0]))
        raise UnreadableImage(
            f"{self._path.name}: expected frames that show the same; found {len(kinds)} kinds of them ({named}), whose "
            "numbers mean different things. Split it into one file for each kind."
        )


def _kind_in(*groups: Dataset) -> tuple[str, str, str] | None:
    """Flavour, derived contrast and part of the complex signal, where functional groups say them."""
    for one in groups:
        for element in one:
            if element.keyword.endswith("FrameTypeSequence") and element.value:
                said = element.value[0]
                kind = said.get("FrameType")
                flavour, contrast = (*(() if isinstance(kind, str) else kind or ()), *[""] * 4)[2:4]
                return str(flavour), str(contrast), str(said.get("ComplexImageComponent") or "")
    return None


def _needs_groups(dataset: Dataset) -> bool:
    from pydicom.uid import UID

    name = UID(str(dataset.get("SOPClassUID") or "")).name
    return any(word in name for word in ("Enhanced", "Legacy Converted", "Tomosynthesis"))
