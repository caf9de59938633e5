"""One DICOM frame: its values, its colours, its place, and what is refused."""

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ComprehensiveSRStorage,
    ExplicitVRLittleEndian,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from overread.errors import UnreadableImage
from overread.io import is_image, read

SYNTAXES = "dicom/one_ct_every_transfer_syntax"


def dicom(path: Path, pixels: np.ndarray, **attributes: Any) -> Path:
    """Write one plain frame; an attribute of None is left out."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid(entropy_srcs=["one frame"])
    dataset.PatientName, dataset.PatientID, dataset.Modality = "Doe^Jane", "4711", "CT"
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    dataset.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    bits = pixels.dtype.itemsize * 8
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    for name, value in attributes.items():
        if value is None:
            dataset.pop(name, None)
        else:
            setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


RAMP = np.arange(-30, 30, dtype=np.int16).reshape(6, 10)
PLACED = {
    "ImagePositionPatient": [-100, -50, 12],
    "ImageOrientationPatient": [1, 0, 0, 0, 0, -1],
    "PixelSpacing": [0.7, 0.5],
    "SliceThickness": 3,
}


REPORT = {"PixelData": None, "Rows": None, "SOPClassUID": ComprehensiveSRStorage}


def test_rescaled_ct_is_in_hounsfield_units(tmp_path: Path) -> None:
    path = dicom(
        tmp_path / "a", RAMP, RescaleSlope=2, RescaleIntercept=-1024, WindowCenter=[40, 9], WindowWidth=[400, 1]
    )
    image = read(path)
    np.testing.assert_array_equal(image.pixels[0], RAMP * 2.0 - 1024)
    assert (image.units, image.modality, image.window) == ("HU", "CT", (40, 400))


@pytest.mark.parametrize("attributes", [{}, {"Modality": "MR", "RescaleSlope": 2, "RescaleIntercept": 0}])
def test_without_rescale_or_ct_the_units_are_stored(tmp_path: Path, attributes: dict[str, Any]) -> None:
    assert read(dicom(tmp_path / "a", RAMP, **attributes)).units == "stored"


def test_monochrome1_is_inverted_with_its_window(tmp_path: Path) -> None:
    grey = np.arange(60, dtype=np.uint16).reshape(6, 10)
    path = dicom(
        tmp_path / "a", grey, PhotometricInterpretation="MONOCHROME1", BitsStored=10, HighBit=9, Modality="CR",
        WindowCenter=100, WindowWidth=50,
    )  # fmt: skip
    image = read(path)
    np.testing.assert_array_equal(image.pixels[0], 1023 - grey)
    assert image.window == (923, 50)
    assert "MONOCHROME1 inverted; window 100/50 of the file" in image.history


def test_hounsfield_units_are_not_inverted(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a", RAMP, PhotometricInterpretation="MONOCHROME1", RescaleSlope=1, RescaleIntercept=-1024)
    np.testing.assert_array_equal(read(path).pixels[0], RAMP - 1024)


def test_a_modality_lut_is_applied(tmp_path: Path) -> None:
    table = Dataset()
    table.LUTDescriptor, table.LUTData, table.ModalityLUTType = (
        [60, 0, 16],
        (np.arange(60, dtype="<u2") * 3).tobytes(),
        "US",
    )
    grey = np.arange(60, dtype=np.uint16).reshape(6, 10)
    image = read(dicom(tmp_path / "a", grey, ModalityLUTSequence=[table], Modality="CR"))
    np.testing.assert_array_equal(image.pixels[0], grey * 3)


def test_padding_is_counted_in_the_history(tmp_path: Path) -> None:
    image = read(dicom(tmp_path / "a", RAMP, PixelPaddingValue=-30))
    assert any(line.startswith("1 pixels are padding") for line in image.history)


def test_colour_is_channel_first(tmp_path: Path) -> None:
    colour = np.random.default_rng(0).integers(0, 255, (6, 10, 3)).astype(np.uint8)
    np.testing.assert_array_equal(read(dicom(tmp_path / "a", colour)).pixels, np.moveaxis(colour, -1, 0))


def test_no_identity_leaves_the_reader(tmp_path: Path) -> None:
    image = read(dicom(tmp_path / "DOE_JANE", RAMP))
    for said in (image.source.name, *image.source.instance_uids, *image.history):
        assert "doe" not in said.lower()
        assert "4711" not in said
    assert image.source.name == image.source.instance_uids[0]


def test_geometry_is_the_place_of_the_first_pixel_s_centre(tmp_path: Path) -> None:
    geometry = read(dicom(tmp_path / "a", RAMP, **PLACED)).geometry
    assert geometry is not None
    np.testing.assert_allclose(geometry.affine @ [0, 0, 0, 1], [-100, -50, 12, 1])
    # one column on is 0.5 mm to the left; one row down is 0.7 mm to the feet
    np.testing.assert_allclose(geometry.affine @ [1, 0, 0, 1], [-99.5, -50, 12, 1])
    np.testing.assert_allclose(geometry.affine @ [0, 1, 0, 1], [-100, -50, 11.3, 1])
    assert geometry.spacing_mm == pytest.approx((0.5, 0.7, 3))


@pytest.mark.parametrize(
    "change",
    [
        {"PixelSpacing": [0, 0]},
        {"PixelSpacing": None},
        {"ImagePositionPatient": None},
        {"ImageOrientationPatient": None},
        {"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]},
        {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},
        {"SliceThickness": None},
        {"SliceThickness": 0},
        {"PixelSpacing": [1e-300, 1e-300]},
        {"PixelSpacing": [1e200, 1e200], "SliceThickness": 1e200},
    ],
)
def test_no_millimetres_are_made_up(tmp_path: Path, change: dict[str, Any]) -> None:
    image = read(dicom(tmp_path / "a", RAMP, **{**PLACED, **change}))
    assert image.geometry is None
    assert "no geometry" in image.history[-1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"SharedFunctionalGroupsSequence": [Dataset()]}, "functional groups"),
        ({"Rows": 60_000, "Columns": 60_000}, "3,600,000,000"),
        ({"Rows": 7}, "cut short"),
        ({"Rows": 0}, "pixels"),
        ({"PixelData": None}, "cut short"),
        ({"PixelData": None, "Rows": None}, "cut short"),
        (
            {"PixelData": None, "Rows": None, "SOPClassUID": ComprehensiveSRStorage, "Modality": "SR"},
            "without pixels.*'SR'",
        ),
        ({"SamplesPerPixel": 3}, "samples"),
        ({"PhotometricInterpretation": "HSV"}, "HSV"),
        ({"BitsStored": 17}, "bits"),
        ({"HighBit": 3}, "bits"),
        ({"BitsStored": 4, "HighBit": 3}, "use more"),
        ({"RescaleSlope": 0, "RescaleIntercept": 0}, "slope"),
    ],
)
def test_a_header_that_cannot_be_true_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(UnreadableImage, match=said):
        read(dicom(tmp_path / "a", RAMP, **change))


@pytest.mark.parametrize("value", [b"nan ", b"inf ", b"-inf"])
@pytest.mark.parametrize("key", ["RescaleSlope", "RescaleIntercept"])
def test_a_rescale_that_is_no_number_is_refused_and_not_taken_for_none(tmp_path: Path, key: str, value: bytes) -> None:
    path = dicom(tmp_path / "a", RAMP, **{"RescaleSlope": 2, "RescaleIntercept": -9, key: 1234})
    path.write_bytes(path.read_bytes().replace(b"1234", value))
    with pytest.raises(UnreadableImage, match=key):
        read(path)


@pytest.mark.parametrize(
    "change",
    [
        {"PhotometricInterpretation": "DOE JANE"},
        REPORT | {"Modality": "DOE JANE"},
    ],
)
def test_what_a_header_holds_is_quoted_only_where_it_is_known(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(UnreadableImage, match="an unknown one") as caught:
        read(dicom(tmp_path / "a", RAMP, **change))
    assert "JANE" not in str(caught.value)


PROJECTED = {"PatientOrientation": ["L", "F"], "Modality": "CR"}


def test_a_radiograph_keeps_the_sides_that_its_file_states(tmp_path: Path) -> None:
    assert read(dicom(tmp_path / "a", RAMP, **PROJECTED)).sides == ("L", "F")
    assert read(dicom(tmp_path / "b", RAMP, **PROJECTED | {"PatientOrientation": ["RA", "FP"]})).sides == ("R", "F")


def test_the_place_in_the_patient_goes_before_the_stated_sides(tmp_path: Path) -> None:
    image = read(dicom(tmp_path / "a", RAMP, **PLACED, PatientOrientation=["R", "H"]))
    assert image.geometry is not None
    assert image.sides == image.geometry.sides == ("L", "F")


@pytest.mark.parametrize(
    "said",
    [
        {"PatientOrientation": None},
        {"PatientOrientation": ["L"]},
        {"PatientOrientation": ["L", ""]},
        {"PatientOrientation": ["L", "R"]},
        {"PatientOrientation": ["X", "F"]},
        {"PatientOrientation": ["L", "F", "A"]},
        {"AnatomicalOrientationType": "QUADRUPED"},
    ],
)
def test_no_sides_are_made_up(tmp_path: Path, said: dict[str, Any]) -> None:
    assert read(dicom(tmp_path / "a", RAMP, **PROJECTED | said)).sides is None


def test_an_animal_is_not_given_the_sides_of_a_person(tmp_path: Path) -> None:
    image = read(dicom(tmp_path / "a", RAMP, **PLACED, AnatomicalOrientationType="QUADRUPED"))
    assert (image.geometry, image.sides) == (None, None)
    assert any("animal" in line for line in image.history)


def test_signed_values_without_sign_extension_are_understood(tmp_path: Path) -> None:
    twelve = (RAMP & 0x0FFF).astype(np.int16)
    np.testing.assert_array_equal(read(dicom(tmp_path / "a", twelve, BitsStored=12, HighBit=11)).pixels[0], RAMP)


@pytest.mark.parametrize(
    ("uid", "said"), [("1.2.840.10008.1.2.4.54", "JPEG.*4.54"), ("1.2.840.10008.9.9.9", "an unknown one")]
)
def test_a_transfer_syntax_that_is_not_decoded_is_named_where_it_is_known(tmp_path: Path, uid: str, said: str) -> None:
    path = encapsulated(tmp_path / "a", b"pixels", "1.2.840.10008.1.2.4.57")
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.4.57", uid.encode().ljust(22, b"\0"), 1))
    with pytest.raises(UnreadableImage, match=said):
        read(path)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_damaged_run_lengths_never_escape(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = dicom(tmp_path_factory.mktemp("rle") / "a", np.arange(1024, dtype=np.uint16).reshape(32, 32))
    dataset = dcmread(path)
    dataset.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    dataset.save_as(path)
    content = bytearray(path.read_bytes())
    start = content.rfind(b"\x02\x00\x00\x00")
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(start, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        read(path)
    except UnreadableImage:
        return


def encapsulated(path: Path, frame: bytes, syntax: str) -> Path:
    """Write a grey frame of 24 x 32 px of which `frame` is the compressed stream."""
    dicom(path, np.zeros((24, 32), np.uint8))
    dataset = dcmread(path)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path, enforce_file_format=True)
    return path


PICTURE = np.random.default_rng(0).integers(0, 255, (24, 32)).astype(np.uint8)
FRAMES = {
    "1.2.840.10008.1.2.4.50": imagecodecs.jpeg8_encode(PICTURE),
    "1.2.840.10008.1.2.4.57": imagecodecs.ljpeg_encode(PICTURE),
    "1.2.840.10008.1.2.4.70": imagecodecs.ljpeg_encode(PICTURE),
    "1.2.840.10008.1.2.4.80": imagecodecs.jpegls_encode(PICTURE),
    "1.2.840.10008.1.2.4.90": imagecodecs.jpeg2k_encode(PICTURE, codecformat="J2K", reversible=True),
}


@pytest.mark.parametrize("syntax", FRAMES)
def test_a_stream_that_announces_another_size_is_refused_before_it_is_decoded(tmp_path: Path, syntax: str) -> None:
    frame = FRAMES[syntax]
    assert read(encapsulated(tmp_path / "a", frame, syntax)).shape == (24, 32)
    j2k = syntax.endswith("90")
    small = (32).to_bytes(4, "big") + (24).to_bytes(4, "big") if j2k else bytes([0, 24, 0, 32])
    giant = (65500).to_bytes(4 if j2k else 2, "big") * 2
    with pytest.raises(UnreadableImage, match=r"announces \(65500, 65500\)"):
        read(encapsulated(tmp_path / "a", frame.replace(small, giant, 1), syntax))


def test_a_note_in_a_jpeg_is_not_taken_for_its_header(tmp_path: Path) -> None:
    frame = FRAMES["1.2.840.10008.1.2.4.50"].replace(bytes([0, 24, 0, 32]), (65500).to_bytes(2, "big") * 2, 1)
    note = FRAMES["1.2.840.10008.1.2.4.90"][:60]
    frame = frame[:2] + b"\xff\xfe" + (len(note) + 2).to_bytes(2, "big") + note + frame[2:]
    with pytest.raises(UnreadableImage, match=r"announces \(65500, 65500\)"):
        read(encapsulated(tmp_path / "a", frame, "1.2.840.10008.1.2.4.50"))


def test_a_jpeg_in_dicom_that_ends_early_is_refused_though_its_end_is_there(tmp_path: Path) -> None:
    syntax = "1.2.840.10008.1.2.4.50"
    frame = FRAMES[syntax]
    with pytest.raises(UnreadableImage, match="end early"):
        read(encapsulated(tmp_path / "a", frame[: len(frame) * 2 // 3] + b"\xff\xd9", syntax))


@pytest.mark.data
def test_one_ct_is_the_same_in_every_lossless_syntax(real_data: Path) -> None:
    expected = read(real_data / SYNTAXES / "CTImage.dcm")
    stored = dcmread(real_data / SYNTAXES / "CTImage.dcm").pixel_array
    np.testing.assert_array_equal(expected.pixels[0], stored - 1024.0)
    lossless = (
        "1.2.1.dcm",
        "1.2.2.dcm",
        "1.2.dcm",
        "1.99.dcm",
        ".57.dcm",
        ".70.dcm",
        ".80.dcm",
        ".90.dcm",
        "1.2.5.dcm",
    )
    lossy = {".50.dcm": 65, ".51.dcm": 40, ".53.dcm": 40, ".55.dcm": 40, ".81.dcm": 1, ".91.dcm": 5}
    seen = set()
    for path in sorted((real_data / SYNTAXES).glob("CTImage.dcm_*")):
        image = read(path)
        assert image.units == "HU"
        assert image.geometry is not None
        ending = next(end for end in (*lossy, *lossless) if path.name.endswith(end))
        seen.add(ending)
        assert abs(image.pixels - expected.pixels).max() <= lossy.get(ending, 0), path.name
    assert seen == {*lossless, *lossy}


@pytest.mark.data
@pytest.mark.parametrize("ending", [".50.dcm", ".51.dcm", ".70.dcm", ".80.dcm", ".90.dcm", "1.2.5.dcm", "1.2.1.dcm"])
def test_a_real_picture_cut_short_is_refused(real_data: Path, tmp_path: Path, ending: str) -> None:
    (path,) = (path for path in (real_data / SYNTAXES).glob("CTImage.dcm_*") if path.name.endswith(ending))
    dataset = dcmread(path)
    whole = dataset.PixelData
    if not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        dataset.PixelData = whole[: len(whole) // 2]
    else:
        from pydicom.encaps import generate_fragments

        frame = b"".join(list(generate_fragments(whole))[1:])
        dataset.PixelData = encapsulate([frame[: len(frame) // 2 // 2 * 2]])
    dataset.save_as(tmp_path / "cut")
    with pytest.raises(UnreadableImage, match="cut short"):
        read(tmp_path / "cut")


@pytest.mark.data
def test_real_ultrasound_and_radiographs_are_read_or_refused_with_the_reason(real_data: Path) -> None:
    folder = real_data / "dicom" / "burned_in_text"
    assert read(folder / "OBXXXX1A.dcm").channels == 3
    assert read(folder / "US1_UNCR.dcm").channels == 3
    assert any(line.startswith("MONOCHROME1 inverted; window ") for line in read(folder / "RG3_J2KR.dcm").history)
    assert read(real_data / SYNTAXES / "CT1_J2KR").units == "HU"


@pytest.mark.data
def test_malformed_files_are_read_or_refused(real_data: Path) -> None:
    paths = [path for path in sorted((real_data / "dicom" / "malformed").rglob("*.dcm")) if is_image(path)]
    assert len(paths) > 300
    refused: list[str] = []
    for path in paths:
        try:
            read(path)
        except UnreadableImage as error:
            refused.append(str(error))
    assert 0 < len(refused) < len(paths)
    assert max(map(len, refused)) < 500


@pytest.mark.data
def test_the_place_in_the_patient_agrees_with_dcm2niix(real_data: Path) -> None:
    folder = real_data / "dicom" / "mr_series_with_reference_nifti"
    header = (folder / "reference" / "DCM2NIIX_regression_test_4.nii").read_bytes()[:348]
    reference = np.eye(4)
    reference[:3] = np.frombuffer(header, "<f4", 12, 280).reshape(3, 4)  # srow_x, srow_y, srow_z: index to RAS mm
    files = [path for path in sorted((folder / "series" / "20180918GE" / "mr_0004").iterdir()) if is_image(path)]
    seen = set()
    for path in files[::13]:
        image = read(path)
        assert image.geometry is not None
        rows, columns = image.shape
        corners = np.array([[0, 0, 0, 1], [columns - 1, 0, 0, 1], [0, rows - 1, 0, 1]], dtype=float).T
        ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.geometry.affine @ corners
        column, row, slice_, _ = np.linalg.inv(reference) @ ras
        np.testing.assert_allclose(column, corners[0], atol=0.01)
        np.testing.assert_allclose(row, rows - 1 - corners[1], atol=0.01)  # dcm2niix stores rows from below
        np.testing.assert_allclose(slice_, np.round(slice_[0]), atol=0.01)
        seen.add(round(slice_[0]))
    assert len(seen) > 5


@pytest.mark.data
def test_a_mosaic_of_slices_has_no_place(real_data: Path) -> None:
    folder = real_data / "dicom" / "mr_series_with_reference_nifti" / "series" / "20180918Si"
    for path in sorted(folder.glob("*/*.dcm")):
        image = read(path)
        assert image.geometry is None
        assert "mosaic" in image.history[-1]
