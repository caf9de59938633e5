"""What every data set layout promises, whichever it is."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from overread.data.manifest import Manifest
from overread.data.problem_kinds import KINDS
from overread.data.sources import open_data, sources
from overread.errors import SourceError


def _png(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (12, 16), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def _write_dicom(path: Path, *, number: int, patient: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = f"1.2.3.4.{number}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.SeriesInstanceUID = f"1.2.3.5.{number}"
    dataset.PatientID = patient
    dataset.Rows, dataset.Columns = 2, 2
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation, dataset.SamplesPerPixel = 15, 0, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = np.full((2, 2), number, np.uint16).tobytes()
    pydicom.dcmwrite(path, dataset)
    return dataset.SOPInstanceUID


def _folders(root: Path, other: bool) -> None:
    for number in range(4):
        _png(root / ("benign" if number % 2 else "malignant") / f"{number}.png", number)
    if other:
        (root / "benign" / "1.png").rename(root / "malignant" / "1.png")


def _table(root: Path, other: bool) -> None:
    rows = ["file,diagnosis"]
    for number in range(4):
        _png(root / "images" / f"{number}.png", number)
        rows.append(f"{number}.png,{'benign' if number % 2 or (other and number == 2) else 'malignant'}")
    (root / "table.csv").write_text("\n".join(rows))


def _coco(root: Path, other: bool) -> None:
    for number in range(2):
        _png(root / "images" / f"{number}.png", number)
    annotation = {"id": 1, "image_id": 0, "category_id": 2 if other else 1, "bbox": [1, 2, 5, 6]}
    content = {
        "images": [{"id": n, "file_name": f"{n}.png", "height": 12, "width": 16} for n in range(2)],
        "categories": [{"id": 1, "name": "cyst"}, {"id": 2, "name": "tumour"}],
        "annotations": [annotation],
    }
    (root / "truth.json").write_text(json.dumps(content))


def _voc(root: Path, other: bool) -> None:
    (root / "Annotations").mkdir()
    for number in range(2):
        _png(root / "JPEGImages" / f"{number}.png", number)
        name = "WBC" if other else "RBC"
        box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>5</ymax></bndbox>"
        (root / "Annotations" / f"{number}.xml").write_text(
            f"<annotation><filename>{number}.png</filename><object><name>{name}</name>{box}</object></annotation>"
        )


def _label_maps(root: Path, other: bool) -> None:
    for folder in ("images", "labels"):
        (root / folder).mkdir()
    for number in range(2):
        _png(root / "images" / f"{number}.png", number)
        label_map = np.zeros((12, 16), np.uint16)
        label_map[2:5, 3:6] = 1
        label_map[7, 8 : 10 + other] = 300
        Image.fromarray(label_map).save(root / "labels" / f"{number}.png")


def _instance_masks(root: Path, other: bool) -> None:
    for number in range(2):
        _png(root / f"case{number}" / "images" / "image.png", number)
        mask = np.zeros((12, 16), np.uint8)
        mask[2:5, 3 : 6 + other] = 255
        (root / f"case{number}" / "masks").mkdir()
        Image.fromarray(mask).save(root / f"case{number}" / "masks" / "one.png")


def _medmnist(root: Path, other: bool) -> None:
    images = np.random.default_rng(0).integers(0, 255, (4, 6, 6), dtype=np.uint8)
    np.savez(root / "data.npz", train_images=images, train_labels=np.array([[0], [1], [0], [1 - other]], np.uint8))


def _dicom(root: Path, other: bool) -> None:
    rows = ["SOP Instance UID,diagnosis"]
    for number in range(4):
        uid = _write_dicom(root / f"p{number}" / f"{number}.dcm", number=number, patient=f"Doe^{number // 2}")
        rows.append(f"{uid},{'benign' if number % 2 or (other and number == 2) else 'malignant'}")
    (root / "table.csv").write_text("\n".join(rows))


MAKE: dict[str, Callable[[Path, bool], None]] = {
    "coco": _coco,
    "dicom": _dicom,
    "folders": _folders,
    "instance-masks": _instance_masks,
    "label-maps": _label_maps,
    "medmnist": _medmnist,
    "table": _table,
    "voc": _voc,
}


MASKED = ("label-maps", "instance-masks")
"""Layouts whose truth is pictures as well, so that no file can be exchanged for another kind."""


def _made(name: str, root: Path, *, other: bool = False) -> Path:
    root.mkdir()
    MAKE[name](root, other)
    return root / "data.npz" if name == "medmnist" else root


def test_every_layout_is_tested_here() -> None:
    assert sorted(MAKE) == sources.names()


def _recognises(name: str, path: Path) -> bool:
    try:
        return sources.get(name)().recognises(path)
    except SourceError:  # it would have, were it not for the reason that it gives
        return False


@pytest.mark.parametrize("name", sources.names())
def test_a_layout_is_recognised_by_what_it_holds_and_by_one_source_only(name: str, tmp_path: Path) -> None:
    path = _made(name, tmp_path / "anything")
    assert [other for other in sources if _recognises(other, path)] == [name]


@pytest.mark.parametrize("name", sources.names())
def test_a_manifest_keeps_its_promises(name: str, tmp_path: Path) -> None:
    manifest = open_data(_made(name, tmp_path / "d"))
    ids = [case.case_id for case in manifest.cases]
    assert manifest.source == name
    assert len(ids) >= 2
    assert ids == sorted(set(ids))
    assert not [problem for problem in manifest.found if problem.severity == "error"]
    for case in manifest.cases:
        assert not set(case.case_id) & set('/\\:*?"<>| ')
        assert case.patient_id
        assert all(ref.path.is_absolute() and ref.path.is_file() for ref in case.images)
        if manifest.marks_lesions:
            assert all(mark.label in manifest.classes for mark in case.truth_marks)
        else:
            assert tuple(case.labels) == manifest.classes
            assert case.label in manifest.classes


@pytest.mark.parametrize("name", [name for name in sources.names() if name not in ("medmnist", "dicom", *MASKED)])
def test_cases_of_a_patient_whom_the_files_name_stay_together(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(path: Path, number: int) -> None:  # what a file is is seen from its content
        _write_dicom(path, number=number, patient=f"Doe^{number // 2}")

    monkeypatch.setitem(globals(), "_png", write)
    patients: dict[str, set[int]] = {}
    for case in open_data(_made(name, tmp_path / "d"), source=name).cases:
        number = int("".join(filter(str.isdigit, case.images[0].path.stem)))
        patients.setdefault(case.patient_id, set()).add(number // 2)
    assert all(len(one) == 1 for one in patients.values()), patients
    assert len(patients) == len(set().union(*patients.values())), patients


@pytest.mark.parametrize("name", [name for name in sources.names() if name != "medmnist"])
def test_an_image_that_has_no_truth_is_named(name: str, tmp_path: Path) -> None:
    path = _made(name, tmp_path / "d")
    _png(path / "lost.png", 99)
    found = [(problem.name, problem.where) for problem in open_data(path, source=name).found]
    assert ("file-without-label", ("lost.png",)) in found


@pytest.mark.parametrize("name", sources.names())
def test_choosing_the_layout_gives_what_recognising_it_gives(name: str, tmp_path: Path) -> None:
    path = _made(name, tmp_path / "d")
    assert open_data(path, source=name) == open_data(path)


@pytest.mark.parametrize("name", [name for name in sources.names() if name != "medmnist"])
def test_a_file_that_is_no_part_of_the_layout_is_named(name: str, tmp_path: Path) -> None:
    path = _made(name, tmp_path / "d")
    (path / "results.xyz").write_text("?")
    (path / ".DS_Store").write_text("?")
    (path / "README.md").write_text("?")
    unknown = [problem for problem in open_data(path).found if problem.name == "unknown-file"]
    assert [problem.where for problem in unknown] == [("results.xyz",)]


@pytest.mark.parametrize("name", sources.names())
def test_the_fingerprint_is_the_same_elsewhere_and_another_after_one_change_of_truth(name: str, tmp_path: Path) -> None:
    first = open_data(_made(name, tmp_path / "a"))
    moved = open_data(_made(name, tmp_path / "b"))
    changed = open_data(_made(name, tmp_path / "c", other=True))
    assert first.fingerprint == moved.fingerprint
    assert first.fingerprint != changed.fingerprint


@pytest.mark.parametrize("name", sources.names())
def test_another_layout_that_is_forced_refuses_with_a_reason(name: str, tmp_path: Path) -> None:
    (tmp_path / "note.xyz").write_text("nothing of use")
    for path in (tmp_path, tmp_path / "note.xyz"):
        with pytest.raises(SourceError, match="expected"):
            open_data(path, source=name)


@pytest.mark.parametrize("name", sources.names())
def test_problems_have_documented_names(name: str, tmp_path: Path) -> None:
    path = _made(name, tmp_path / "d")
    if path.is_dir():
        (path / "results.xyz").write_text("?")
    manifest: Manifest = open_data(path)
    assert {problem.name for problem in manifest.found} <= set(KINDS)
    assert replace(manifest).fingerprint == manifest.fingerprint
