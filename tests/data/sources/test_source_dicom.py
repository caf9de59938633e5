"""DICOM files and the table that labels them."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from overread.data.sources import open_data
from overread.errors import SourceError
from overread.study import pseudonym


def _write(path: Path, number: int, *, patient: str = "Doe^Jane", series: int = 0, z_mm: float = 0, frames: int = 1):
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, f"1.2.3.4.{number}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, f"1.2.3.4.{number}"
    dataset.SeriesInstanceUID = f"1.2.3.5.{series or number}"
    dataset.PatientID = patient
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, z_mm], [1, 0, 0, 0, 1, 0]
    dataset.InstanceNumber = str(number)
    if frames > 1:
        dataset.NumberOfFrames = str(frames)
    dataset.Rows, dataset.Columns = 2, 2
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation, dataset.SamplesPerPixel = 0, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = np.full((frames, 2, 2), number, np.uint16).tobytes()
    pydicom.dcmwrite(path, dataset)


def _table(path: Path, column: str, rows: dict[str, str]) -> None:
    path.write_text("\n".join([f"{column},diagnosis", *(f"{key},{value}" for key, value in rows.items())]))


UIDS = {"1.2.3.4.1": "x", "1.2.3.4.2": "y"}


def test_the_patient_is_the_pseudonym_of_the_header_and_no_name_is_shown(tmp_path: Path):
    _write(tmp_path / "DOE_JANE" / "1", 1)
    _write(tmp_path / "DOE_JANE" / "2", 2)
    _table(tmp_path / "t.csv", "SOP Instance UID", UIDS)
    manifest = open_data(tmp_path)
    assert {case.patient_id for case in manifest.cases} == {pseudonym("Doe^Jane")}
    assert not any("doe" in (case.case_id + case.patient_id).lower() for case in manifest.cases)


@pytest.mark.parametrize("place", ["in it", "beside it", "itself"])
def test_the_table_lies_in_the_folder_or_beside_it_or_is_the_data(tmp_path: Path, place: str):
    for number in (1, 2):
        _write(tmp_path / "images" / f"p{number}" / "i.dcm", number)
    folder = tmp_path / "images" if place == "in it" else tmp_path
    _table(folder / "t.csv", "uid of image", UIDS)
    manifest = open_data(folder / "t.csv" if place == "itself" else tmp_path / "images")
    assert manifest.source == "dicom"
    assert sorted(case.label for case in manifest.cases) == ["x", "y"]


def test_files_may_be_named_instead_of_uids(tmp_path: Path):
    for number in (1, 2):
        _write(tmp_path / f"{number}.dcm", number)
    _table(tmp_path / "t.csv", "file", {"1.dcm": "x", "2.dcm": "y"})
    manifest = open_data(tmp_path)
    assert manifest.source == "dicom"
    assert not manifest.found


def test_files_named_from_the_table_are_found_where_their_own_folder_is_the_data(tmp_path: Path):
    for number in (1, 2):
        _write(tmp_path / "images" / f"{number}.dcm", number)
    _table(tmp_path / "t.csv", "file", {"images/1.dcm": "x", "images/2.dcm": "y"})
    assert len(open_data(tmp_path / "images").cases) == 2


def test_images_that_say_they_are_simulated_are_believed(tmp_path: Path):
    for number in (1, 2):
        _write(tmp_path / f"{number}.dcm", number)
    _table(tmp_path / "t.csv", "SOPInstanceUID", UIDS)
    assert not open_data(tmp_path).simulated
    dataset = pydicom.dcmread(tmp_path / "2.dcm")
    dataset.SyntheticData = "YES"
    dataset.save_as(tmp_path / "2.dcm")
    assert open_data(tmp_path).simulated


def test_a_series_is_one_case_with_its_images_from_foot_to_head(tmp_path: Path):
    for number, z_mm in ((1, 20), (2, 0), (3, 10)):
        _write(tmp_path / f"{number}.dcm", number, series=7, z_mm=z_mm)
    _write(tmp_path / "4.dcm", 4, series=8)
    _table(tmp_path / "t.csv", "SeriesInstanceUID", {"1.2.3.5.7": "x", "1.2.3.5.8": "y"})
    manifest = open_data(tmp_path)
    images = sorted([ref.path.name for ref in case.images] for case in manifest.cases)
    assert images == [["2.dcm", "3.dcm", "1.dcm"], ["4.dcm"]]
    assert [problem.name for problem in manifest.found] == ["several-images-a-case"]


def test_multi_frame_missing_double_and_unlabelled_instances_are_named(tmp_path: Path):
    _write(tmp_path / "1.dcm", 1)
    _write(tmp_path / "2.dcm", 2)
    _write(tmp_path / "3.dcm", 3, frames=2)
    _write(tmp_path / "4.dcm", 4)
    _write(tmp_path / "4again.dcm", 4)
    _write(tmp_path / "5.dcm", 5)
    _table(tmp_path / "t.csv", "SOPInstanceUID", UIDS | {"1.2.3.4.3": "x", "1.2.3.4.4": "y", "1.2.3.4.9": "y"})
    manifest = open_data(tmp_path)
    named = {problem.name: problem.where for problem in manifest.found}
    assert len(manifest.cases) == 2
    assert named["multi-frame"] == ("3.dcm",)
    assert named["label-without-file"] == ("1.2.3.4.9",)
    assert named["ambiguous-file"] == ("1.2.3.4.4",)
    assert "5.dcm" in named["file-without-label"]


def test_a_table_of_other_images_is_refused(tmp_path: Path):
    _write(tmp_path / "1.dcm", 1)
    _table(tmp_path / "t.csv", "SOPInstanceUID", {"1.2.3.4.8": "x", "1.2.3.4.9": "y"})
    with pytest.raises(SourceError, match="none of the 2 entries"):
        open_data(tmp_path)


def test_class_folders_of_dicom_keep_the_patients_together(tmp_path: Path):
    _write(tmp_path / "x" / "1.dcm", 1)
    _write(tmp_path / "y" / "2.dcm", 2)
    manifest = open_data(tmp_path)
    assert manifest.source == "folders"
    assert len({case.patient_id for case in manifest.cases}) == 1


def test_a_patient_whom_the_file_names_and_the_table_does_not_is_an_error_and_not_a_patient_of_its_own(tmp_path: Path):
    for number in (1, 2):
        _write(tmp_path / f"{number}.dcm", number)
    (tmp_path / "t.csv").write_text("file,patient_id,diagnosis\n1.dcm,p1,x\n2.dcm,,y\n")
    found = {problem.name: problem for problem in open_data(tmp_path / "t.csv").found}
    assert found["patient-in-file-only"].severity == "error"
    assert len(found["patient-in-file-only"].where) == 1
    assert "Doe" not in found["patient-in-file-only"].message
