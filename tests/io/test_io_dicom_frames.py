"""DICOM of several frames: their order, their place, what each one's numbers mean, and what is refused."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import (
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)

from overread.errors import UnreadableImage
from overread.io import read

STACK = np.random.default_rng(0).integers(0, 4000, (5, 6, 8)).astype(np.uint16)
CLIP = np.random.default_rng(1).integers(0, 255, (7, 24, 32)).astype(np.uint8)


def several(path: Path, pixels: np.ndarray, **attributes: Any) -> Path:
    """Write a classic object of several frames, `(frame, row, column)` or with colours behind."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = UltrasoundMultiFrameImageStorage
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=["several frames"])
    dataset.PatientName, dataset.PatientID, dataset.Modality = "Doe^Jane", "4711", "US"
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = pixels.shape[:3]
    dataset.SamplesPerPixel = 1 if pixels.ndim == 3 else 3
    dataset.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 3 else "RGB"
    if pixels.ndim == 4:
        dataset.PlanarConfiguration = 0
    bits = pixels.dtype.itemsize * 8
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit, dataset.PixelRepresentation = bits - 1, int(pixels.dtype.kind == "i")
    content = pixels.tobytes()
    dataset.PixelData = content + b"\0" * (len(content) % 2)
    for name, value in attributes.items():
        if value is None:
            dataset.pop(name, None)
        else:
            setattr(dataset, name, value)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path, enforce_file_format=True)
    return path


def compressed(path: Path, streams: Sequence[bytes], syntax: str, *, announced: int | None = None) -> Path:
    """Write 24 x 32 px frames, each given by its compressed stream."""
    several(path, CLIP[:1].repeat(announced or len(streams), axis=0))
    dataset = dcmread(path)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate(list(streams))
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path, enforce_file_format=True)
    return path


def group(name: str, **attributes: Any) -> tuple[str, list[Dataset]]:
    """One functional group."""
    item = Dataset()
    for key, value in attributes.items():
        setattr(item, key, value)
    return name, [item]


def groups(*of_one: tuple[str, list[Dataset]]) -> Dataset:
    """The functional groups of one frame, or of all."""
    item = Dataset()
    for name, sequence in of_one:
        setattr(item, name, sequence)
    return item


ALONG_ROW, DOWN_COLUMN = np.array([0, 1.0, 0]), np.array([0, 0, -1.0])
NORMAL = np.cross(ALONG_ROW, DOWN_COLUMN)
FIRST = np.array([12.0, -80, 95])


def enhanced(
    path: Path,
    positions: Sequence[np.ndarray],
    pixels: np.ndarray = STACK,
    *,
    own: Callable[[int], list[tuple[str, list[Dataset]]]] = lambda _: [],
    shared: Sequence[tuple[str, list[Dataset]]] = (),
    **attributes: Any,
) -> Path:
    """Write an enhanced MR whose frames lie at `positions`, as sagittal slices of 0.5 x 0.7 mm pixels."""
    of_all = [
        group("PixelMeasuresSequence", PixelSpacing=[0.7, 0.5], SliceThickness=9),
        group("PlaneOrientationSequence", ImageOrientationPatient=[*ALONG_ROW, *DOWN_COLUMN]),
        *shared,
    ]
    each = [
        groups(
            group("PlanePositionSequence", ImagePositionPatient=[float(f"{mm:.4f}") for mm in position]), *own(frame)
        )
        for frame, position in enumerate(positions)
    ]
    given: dict[str, Any] = {
        "SOPClassUID": EnhancedMRImageStorage,
        "Modality": "MR",
        "SharedFunctionalGroupsSequence": [groups(*of_all)],
        "PerFrameFunctionalGroupsSequence": each,
    }
    return several(path, pixels, **given | attributes)


def along(*places_mm: float) -> list[np.ndarray]:
    return [FIRST + mm * NORMAL for mm in places_mm]


@pytest.mark.parametrize("shape", [(4, 5, 7), (3, 5, 5), (3, 5, 7, 3)])
def test_a_clip_is_its_frames_in_their_order_without_a_place(tmp_path: Path, shape: tuple[int, ...]) -> None:
    frames = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    image = read(several(tmp_path / "a", frames))
    expected = frames[None] if frames.ndim == 3 else np.moveaxis(frames, -1, 0)
    np.testing.assert_array_equal(image.pixels, expected)
    assert image.geometry is None
    assert image.history == (f"{len(frames)} frames in the order of the file",)
    assert len(image.source.instance_uids) == 1


def test_a_clip_keeps_the_meaning_of_its_numbers_and_its_sides(tmp_path: Path) -> None:
    said = {"RescaleSlope": 2, "RescaleIntercept": -7, "WindowCenter": 40, "WindowWidth": 90, "Modality": "XA"}
    image = read(
        several(tmp_path / "a", CLIP, **said, PatientOrientation=["L", "F"], PixelPaddingValue=int(CLIP[0, 0, 0]))
    )
    np.testing.assert_array_equal(image.pixels[0], CLIP * 2.0 - 7)
    assert (image.window, image.sides, image.units) == ((40, 90), ("L", "F"), "stored")
    assert "rescaled by 2 and -7" in image.history
    count = int((CLIP[0, 0, 0] == CLIP).sum())
    assert any(line.startswith(f"{count} pixels are padding") for line in image.history)


def test_a_clip_that_counts_from_white_is_inverted_alike_in_all_frames(tmp_path: Path) -> None:
    image = read(several(tmp_path / "a", CLIP, PhotometricInterpretation="MONOCHROME1", Modality="XA"))
    np.testing.assert_array_equal(image.pixels[0], 255.0 - CLIP)


STREAMS = {
    JPEGBaseline8Bit: imagecodecs.jpeg8_encode,
    JPEGLSLossless: imagecodecs.jpegls_encode,
    "1.2.840.10008.1.2.4.70": imagecodecs.ljpeg_encode,
}


@pytest.mark.parametrize("syntax", STREAMS)
def test_every_compressed_frame_is_decoded(tmp_path: Path, syntax: str) -> None:
    image = read(compressed(tmp_path / "a", [STREAMS[syntax](frame) for frame in CLIP], syntax))
    assert image.pixels.shape == (1, *CLIP.shape)
    for found, frame in zip(image.pixels[0], CLIP, strict=True):
        expected = imagecodecs.jpeg8_decode(imagecodecs.jpeg8_encode(frame)) if syntax == JPEGBaseline8Bit else frame
        np.testing.assert_array_equal(found, expected)


def test_frames_in_several_fragments_and_with_a_long_offset_table_are_found(tmp_path: Path) -> None:
    streams = [imagecodecs.jpegls_encode(frame) for frame in CLIP]
    path = compressed(tmp_path / "a", streams, JPEGLSLossless)
    dataset = dcmread(path)
    for has_bot in (True, False):
        dataset.PixelData = encapsulate(streams, fragments_per_frame=2, has_bot=has_bot)
        dataset.save_as(path)
        np.testing.assert_array_equal(read(path).pixels[0], CLIP)
    dataset.PixelData, dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = encapsulate_extended(streams)
    dataset.save_as(path)
    np.testing.assert_array_equal(read(path).pixels[0], CLIP)


def test_run_lengths_of_colour_and_of_16_bits_agree_with_pydicom() -> None:
    for name in ("SC_rgb_rle_2frame.dcm", "SC_rgb_rle_16bit_2frame.dcm"):
        path = Path(str(get_testdata_file(name)))
        np.testing.assert_array_equal(read(path).pixels, np.moveaxis(dcmread(path).pixel_array, -1, 0))


@settings(max_examples=25, deadline=None)
@given(
    order=st.permutations(range(5)),
    gap_mm=st.floats(0.1, 12),
    shift_mm=st.floats(-0.5, 0.5),
    turned=st.sampled_from([1, -1]),
)
def test_an_even_stack_is_sorted_along_its_normal_and_keeps_every_voxel_s_place(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], gap_mm: float, shift_mm: float, turned: int
) -> None:
    step = turned * gap_mm * (NORMAL + shift_mm * DOWN_COLUMN)
    positions = [FIRST + place * step for place in order]
    image = read(enhanced(tmp_path_factory.mktemp("stack") / "a", positions))
    assert image.geometry is not None
    for frame, position in enumerate(positions):
        slice_ = order[frame] if turned > 0 else 4 - order[frame]
        np.testing.assert_array_equal(image.pixels[0, slice_], STACK[frame])
        for column, row in ((0, 0), (7, 5)):
            told = image.geometry.affine @ [column, row, slice_, 1]
            place = position + column * 0.5 * ALONG_ROW + row * 0.7 * DOWN_COLUMN
            np.testing.assert_allclose(told[:3], place, atol=2e-3)
    assert np.linalg.det(image.geometry.affine[:3, :3]) > 0


@pytest.mark.parametrize(
    ("positions", "said"),
    [
        (along(0, 3, 0, 3, 6), "at one place"),
        (along(0, 0, 0, 0, 0), "at one place"),
        (along(0, 3, 6, 12, 15), "evenly spaced"),
        (along(0, 3, 6, 9, 12.5), "evenly spaced"),
        ([FIRST + mm * (NORMAL + 5 * ALONG_ROW) for mm in range(5)], "sideways"),
        ([FIRST + NORMAL * mm + ALONG_ROW * (mm == 2) for mm in range(5)], "evenly spaced"),
    ],
)
def test_frames_that_are_no_even_stack_are_in_the_order_of_the_file_without_a_place(
    tmp_path: Path, positions: list[np.ndarray], said: str
) -> None:
    image = read(enhanced(tmp_path / "a", positions))
    assert image.geometry is None
    np.testing.assert_array_equal(image.pixels[0], STACK)
    assert any(line.startswith("no geometry") and said in line for line in image.history)
    assert "5 frames in the order of the file" in image.history
    assert image.sides == ("P", "F")  # that much all frames have in common


@pytest.mark.parametrize(
    "own",
    [
        lambda frame: [
            group("PlaneOrientationSequence", ImageOrientationPatient=[1, 0, 0, 0, frame % 2, 1 - frame % 2])
        ],
        lambda frame: [group("PixelMeasuresSequence", PixelSpacing=[0.7 + frame * 0.01, 0.5])],
    ],
)
def test_frames_of_different_direction_or_size_have_no_common_place(
    tmp_path: Path, own: Callable[[int], list[tuple[str, list[Dataset]]]]
) -> None:
    image = read(enhanced(tmp_path / "a", along(0, 3, 6, 9, 12), own=own))
    assert image.geometry is None
    assert any("direction" in line for line in image.history)


def test_one_frame_with_functional_groups_is_a_flat_image_in_its_place(tmp_path: Path) -> None:
    image = read(enhanced(tmp_path / "a", along(4), STACK[:1]))
    assert image.shape == (6, 8)
    assert image.geometry is not None
    np.testing.assert_allclose(image.geometry.affine[:3, 3], FIRST + 4 * NORMAL)
    assert image.geometry.spacing_mm == pytest.approx((0.5, 0.7, 9))


def rescaled(frame: int) -> list[tuple[str, list[Dataset]]]:
    return [
        group("PixelValueTransformationSequence", RescaleSlope=frame + 1, RescaleIntercept=-frame, RescaleType="US")
    ]


def test_every_frame_is_rescaled_by_its_own_numbers(tmp_path: Path) -> None:
    image = read(enhanced(tmp_path / "a", along(12, 9, 6, 3, 0), own=rescaled))
    for frame, stored in enumerate(STACK):
        np.testing.assert_array_equal(image.pixels[0, 4 - frame], stored * (frame + 1.0) - frame)
    assert "rescaled by 3 and -2 (1 of 5 frames)" in image.history


def test_what_a_frame_says_goes_before_what_is_said_of_all(tmp_path: Path) -> None:
    shared = [group("PixelValueTransformationSequence", RescaleSlope=1000, RescaleIntercept=0, RescaleType="US")]
    path = enhanced(
        tmp_path / "a", along(0, 3, 6, 9, 12), shared=shared, own=lambda frame: rescaled(frame) if frame else []
    )
    image = read(path)
    np.testing.assert_array_equal(image.pixels[0, 0], STACK[0] * 1000.0)
    np.testing.assert_array_equal(image.pixels[0, 1], STACK[1] * 2.0 - 1)


@pytest.mark.parametrize(("moved", "window"), [(0, (500, 900)), (1, None)])
def test_a_window_is_that_of_all_frames_or_none(tmp_path: Path, moved: int, window: tuple[float, float] | None) -> None:
    def own(frame: int) -> list[tuple[str, list[Dataset]]]:
        return [group("FrameVOILUTSequence", WindowCenter=500 + moved * frame, WindowWidth=900)]

    image = read(enhanced(tmp_path / "a", along(0, 3, 6, 9, 12), own=own))
    assert image.window == window
    assert any("no window" in line for line in image.history) == (window is None)


def test_units_are_those_of_all_frames_or_the_file_is_refused(tmp_path: Path) -> None:
    def own(frame: int) -> list[tuple[str, list[Dataset]]]:
        kind = "HU" if frame < last_hu else "US"
        transformation = {"RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": kind}
        return [group("PixelValueTransformationSequence", **transformation)]

    last_hu = 5
    image = read(enhanced(tmp_path / "a", along(0, 3, 6, 9, 12), own=own, Modality="CT"))
    assert image.units == "HU"
    assert image.pixels.min() == STACK.min() - 1024.0
    last_hu = 3
    with pytest.raises(UnreadableImage, match="units"):
        read(enhanced(tmp_path / "b", along(0, 3, 6, 9, 12), own=own, Modality="CT"))


def test_a_part_of_a_longer_object_says_so(tmp_path: Path) -> None:
    part = {"ConcatenationUID": "1.2.3", "InConcatenationNumber": 2, "InConcatenationTotalNumber": 3}
    image = read(enhanced(tmp_path / "a", along(0, 3, 6, 9, 12), **part))
    assert "part 2 of 3: the other frames are in other files" in image.history
    image = read(enhanced(tmp_path / "b", along(0, 3, 6, 9, 12), **part | {"InConcatenationTotalNumber": None}))
    assert "part 2 of several: the other frames are in other files" in image.history


def framed(*types: tuple[list[str] | str, str | None]) -> Callable[[int], list[tuple[str, list[Dataset]]]]:
    """Frames of these types and parts of the complex signal, in turn."""

    def own(frame: int) -> list[tuple[str, list[Dataset]]]:
        kind, part = types[frame % len(types)]
        said = {"FrameType": kind} | ({} if part is None else {"ComplexImageComponent": part})
        return [group("MRImageFrameTypeSequence", **said)]

    return own


@pytest.mark.parametrize(
    ("types", "named"),
    [
        ([(["ORIGINAL", "PRIMARY", "T1"], "MAGNITUDE"), (["ORIGINAL", "PRIMARY", "T1"], "PHASE")], "PHASE"),
        ([(["DERIVED", "PRIMARY", "DIFFUSION", "ADC"], None), (["DERIVED", "PRIMARY", "DIFFUSION"], None)], "ADC"),
        ([(["ORIGINAL", "PRIMARY", "LOCALIZER"], None), (["ORIGINAL", "PRIMARY", "VOLUME"], None)], "LOCALIZER"),
        ([(["ORIGINAL", "PRIMARY", "DOE JANE"], None), (["ORIGINAL", "PRIMARY", "T1"], None)], "unknown"),
    ],
)
def test_frames_that_do_not_show_the_same_are_refused(tmp_path: Path, types: list[Any], named: str) -> None:
    with pytest.raises(UnreadableImage, match=f"2 kinds.*{named}") as caught:
        read(enhanced(tmp_path / "a", along(0, 3, 6, 9, 12), own=framed(*types)))
    assert "DOE" not in str(caught.value)


OF_ONE_KIND = [[(["ORIGINAL", "PRIMARY", "M"], "MAGNITUDE")], [("ORIGINAL", None), ("DERIVED", None)]]


@pytest.mark.parametrize("types", OF_ONE_KIND)
def test_frames_of_one_kind_are_read(tmp_path: Path, types: list[Any]) -> None:
    assert read(enhanced(tmp_path / "a", along(0, 3, 6, 9, 12), own=framed(*types))).shape == STACK.shape


def test_frames_inverted_each_in_a_range_of_its_own_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match="white to black"):
        read(enhanced(tmp_path / "a", along(0, 3, 6, 9, 12), own=rescaled, PhotometricInterpretation="MONOCHROME1"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"NumberOfFrames": 6}, "6 frames.*cut short"),
        ({"NumberOfFrames": 10**9}, "1000000000"),
        ({"NumberOfFrames": -3}, "with pixels"),
        ({"NumberOfFrames": 0}, "0 frames, a sequence of length 0"),
        ({"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0, "Rows": 3, "Columns": 3}, "whole bytes"),
        ({"BitsAllocated": 12}, "bits"),
        ({"SOPClassUID": EnhancedMRImageStorage}, "functional groups"),
        ({"SharedFunctionalGroupsSequence": [Dataset()]}, "functional groups"),
        ({"PerFrameFunctionalGroupsSequence": [Dataset()] * 3}, "functional groups.*found 3"),
        ({"Modality": "SEG"}, "segmentation"),
        ({"Modality": "RTDOSE"}, "dose"),
        ({"TotalPixelMatrixColumns": 4000}, "tiles"),
    ],
)
def test_what_cannot_be_frames_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(UnreadableImage, match=said) as caught:
        read(several(tmp_path / "a", STACK, **change))
    assert "Doe" not in str(caught.value)


def test_one_enhanced_frame_without_its_meaning_is_refused_too(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match=r"functional groups.*found 0 for 1"):
        read(several(tmp_path / "a", STACK[:1], SOPClassUID=EnhancedMRImageStorage))


@pytest.mark.parametrize(("announced", "said"), [(3, "hold more"), (9, "hold 7"), (10**6, "hold 7")])
def test_another_number_of_compressed_frames_than_announced_is_refused(
    tmp_path: Path, announced: int, said: str
) -> None:
    path = compressed(tmp_path / "a", [imagecodecs.jpegls_encode(frame) for frame in CLIP], JPEGLSLossless)
    dataset = dcmread(path)
    dataset.NumberOfFrames = announced
    dataset.save_as(path)
    if announced == 10**6:
        dataset.Rows, dataset.Columns = 2, 2
        dataset.save_as(path)
    with pytest.raises(UnreadableImage, match=said):
        read(path)


@pytest.mark.parametrize("bad", [0, 3, 6])
def test_one_frame_that_ends_early_is_enough_to_refuse_a_clip(tmp_path: Path, bad: int) -> None:
    streams = [imagecodecs.jpeg8_encode(frame) for frame in CLIP]
    streams[bad] = streams[bad][: len(streams[bad]) * 2 // 3] + b"\xff\xd9"
    with pytest.raises(UnreadableImage, match="end early"):
        read(compressed(tmp_path / "a", streams, JPEGBaseline8Bit))
    streams[bad] = imagecodecs.jpeg8_encode(CLIP[bad, :12])
    with pytest.raises(UnreadableImage, match="announces"):
        read(compressed(tmp_path / "b", streams, JPEGBaseline8Bit))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_damaged_frames_never_escape(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = several(tmp_path_factory.mktemp("rle") / "a", CLIP[:3])
    dataset = dcmread(path)
    dataset.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    dataset.save_as(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(300, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        read(path)
    except UnreadableImage:
        return


def nifti(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """A NIfTI-1 of 16-bit numbers: `(time, slice, row, column)` with its scale, and index to RAS mm."""
    content = path.read_bytes()
    shape = np.frombuffer(content, "<i2", 8, 40)
    sizes = [int(size) for size in shape[1 : 1 + max(4, shape[0])]]
    slope, intercept = np.frombuffer(content, "<f4", 2, 112)
    affine = np.eye(4)
    affine[:3] = np.frombuffer(content, "<f4", 12, 280).reshape(3, 4)
    offset = int(np.frombuffer(content, "<f4", 1, 108)[0])
    assert int(np.frombuffer(content, "<i2", 1, 70)[0]) in (4, 512)
    stored = np.frombuffer(content, "<i2" if content[70] == 4 else "<u2", int(np.prod(sizes)), offset)
    return stored.reshape(sizes[::-1]) * float(slope) + float(intercept), affine


@pytest.mark.data
@pytest.mark.parametrize("time", range(4))
def test_an_enhanced_mr_agrees_with_dcm2niix_in_values_and_place(real_data: Path, time: int) -> None:
    folder = real_data / "dicom" / "enhanced_mr"
    values, reference = nifti(folder / "Ref" / "Siemens_REST1_w_SMS_PF7-8_6.nii")
    image = read(folder / "In" / "Siemens" / "XA10" / f"6_{time + 1}.dcm")
    assert image.geometry is not None
    slices, rows, columns = image.shape
    for slice_, row, column in ((0, 0, 0), (5, 0, 63), (2, 63, 10), (5, 63, 63)):
        ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.geometry.affine @ [column, row, slice_, 1]
        found = np.linalg.inv(reference) @ ras
        np.testing.assert_allclose(np.abs(found[:3] - np.rint(found[:3])), 0, atol=0.01)
        i, j, k = np.rint(found[:3]).astype(int)
        assert values[time, k, j, i] == image.pixels[0, slice_, row, column]
    assert (slices, rows, columns) == values.shape[1:]


@pytest.mark.data
def test_a_map_and_its_picture_in_one_file_are_not_read_as_one_sequence(real_data: Path) -> None:
    path = real_data / "dicom" / "enhanced_mr" / "In" / "Philips" / "IM_0027_fMAP.dcm"
    with pytest.raises(UnreadableImage, match=r"2 kinds.*'M' and 'FIELD_MAP'.*Split"):
        read(path)


@pytest.mark.data
def test_a_real_ultrasound_clip_is_read_frame_by_frame(real_data: Path) -> None:
    path = real_data / "dicom" / "burned_in_text" / "ultrasound_65_frames.dcm"
    image = read(path)
    assert image.pixels.shape == (3, 65, 456, 576)
    from pydicom import pixels

    np.testing.assert_array_equal(image.pixels[:, 40], np.moveaxis(pixels.pixel_array(path, index=40), -1, 0))


@pytest.mark.data
def test_frames_in_many_fragments_are_those_of_pydicom(real_data: Path) -> None:
    folder = real_data / "dicom" / "one_ct_every_transfer_syntax"
    image = read(folder / "CT0012.fragmented_no_bot_jpeg_baseline.51.dcm")
    assert image.shape == (2, 512, 512)
    assert image.geometry is not None
    np.testing.assert_allclose(image.geometry.affine[:3, 2:4].T, [[0, 0, -10], [99.5, -301.5, -149]], atol=1e-6)
