"""What is written when a simulated data set is asked for."""

import csv
import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pydicom
import pytest
from scipy import ndimage

from overread.data.phantom import Phantom, write_phantom
from overread.data.sources.source import open_data
from overread.errors import InputError, OutputExists
from overread.finding import Mask

SMALL = {"patients": 12, "slices": 6, "size": 128, "seed": 3}


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    before = pydicom.config.settings.writing_validation_mode
    pydicom.config.settings.writing_validation_mode = pydicom.config.RAISE
    try:
        return write_phantom(tmp_path_factory.mktemp("phantom") / "ct", **SMALL)
    finally:
        pydicom.config.settings.writing_validation_mode = before


@pytest.fixture(scope="module")
def rows(phantom: Phantom):
    with open(phantom.labels, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def marks(phantom: Phantom):
    return json.loads(phantom.marks.read_text())


@pytest.fixture(scope="module")
def files(phantom: Phantom):
    return {f"images/{path.name}": pydicom.dcmread(path) for path in phantom.images}


def hounsfield(file):
    return file.pixel_array * float(file.RescaleSlope) + float(file.RescaleIntercept)


def lesions(marks, kind):
    """Annotations of one kind with the file they are in."""
    category = next(entry["id"] for entry in marks["categories"] if entry["name"] == kind)
    names = {image["id"]: image["file_name"] for image in marks["images"]}
    return [(names[mark["image_id"]], mark) for mark in marks["annotations"] if mark["category_id"] == category]


def tree(folder: Path):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_everything_is_where_the_answer_says(phantom):
    assert len(phantom.images) == 72
    assert all(path.is_file() for path in (*phantom.images, phantom.labels, phantom.marks, phantom.readme))
    assert sorted(path.name for path in phantom.folder.iterdir()) == [
        "README.txt",
        "images",
        "labels.csv",
        "marks.json",
    ]


def test_every_file_says_that_it_is_simulated(phantom, marks, files):
    assert "SIMULATED" in phantom.readme.read_text()
    assert "diagnosis" in phantom.readme.read_text()
    assert marks["info"]["simulated"] is True
    assert "SIMULATED" in marks["info"]["description"]
    for file in files.values():
        assert file.ImageComments.startswith("SIMULATED")
        assert file.SeriesDescription.startswith("SIMULATED")
        assert file.SyntheticData == "YES"
        assert file.PatientID.startswith("SIM-")
        assert file.ImageType[0] != "ORIGINAL"


def test_files_are_ct_images_in_hounsfield_units(files):
    for file in files.values():
        assert file.SOPClassUID == pydicom.uid.CTImageStorage
        assert file.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
        assert (file.RescaleSlope, file.RescaleIntercept, file.RescaleType) == (1, -1024, "HU")
        assert (file.WindowCenter, file.WindowWidth, file.BodyPartExamined) == (40, 400, "ABDOMEN")
        assert hounsfield(file)[:4, :4].mean() == pytest.approx(-1000, abs=8)


def test_slices_of_a_patient_form_one_volume_without_gaps(files):
    series = defaultdict(list)
    for file in files.values():
        series[file.SeriesInstanceUID].append(file)
    assert len(series) == 12
    for slices in series.values():
        slices.sort(key=lambda file: file.InstanceNumber)
        positions = np.array([file.ImagePositionPatient for file in slices], float)
        assert np.allclose(np.diff(positions[:, 2]), -float(slices[0].SliceThickness), atol=1e-3)
        assert (np.ptp(positions[:, :2], axis=0) == 0).all()
        assert [list(file.ImageOrientationPatient) for file in slices] == [[1, 0, 0, 0, 1, 0]] * 6
        assert [list(file.PixelSpacing) for file in slices] == [[3, 3]] * 6
        assert len({(file.PatientID, file.StudyInstanceUID, file.FrameOfReferenceUID) for file in slices}) == 1


def test_anatomy_changes_little_from_slice_to_slice(files):
    ordered = [hounsfield(files[name]).clip(-160, 240) for name in sorted(files)]
    within = [np.abs(a - b).mean() for n, (a, b) in enumerate(pairwise(ordered)) if (n + 1) % 6]
    between = [np.abs(a - b).mean() for a, b in zip(ordered[::6], ordered[6::6], strict=False)]
    assert np.median(within) < 0.5 * np.median(between)


def test_no_instance_uid_is_used_twice(files):
    assert len({file.SOPInstanceUID for file in files.values()}) == 72


def test_a_patient_is_of_one_class_and_in_one_split(rows):
    labels, splits = defaultdict(set), defaultdict(set)
    for row in rows:
        labels[row["patient_id"]].add(row["label"])
        splits[row["patient_id"]].add(row["split"])
    assert all(len(found - {"normal"}) <= 1 for found in labels.values())
    assert all(len(found) == 1 for found in splits.values())


def test_every_class_has_patients_in_both_splits(rows):
    patients = defaultdict(set)
    disease = {row["patient_id"]: row["label"] for row in rows if row["label"] != "normal"}
    for row in rows:
        patients[disease.get(row["patient_id"], "normal"), row["split"]].add(row["patient_id"])
    assert {key: len(found) for key, found in patients.items()} == {
        (kind, split): count for kind in ("normal", "stone", "tumour") for split, count in (("train", 3), ("test", 1))
    }


def test_an_image_has_the_class_of_its_marks_and_is_normal_without(rows, marks):
    names = {image["id"]: image["file_name"] for image in marks["images"]}
    kinds = {entry["id"]: entry["name"] for entry in marks["categories"]}
    marked = {names[mark["image_id"]]: kinds[mark["category_id"]] for mark in marks["annotations"]}
    assert {row["file"]: row["label"] for row in rows} == {
        row["file"]: marked.get(row["file"], "normal") for row in rows
    }
    assert {(image["file_name"], image["patient_id"], image["split"]) for image in marks["images"]} == {
        (row["file"], row["patient_id"], row["split"]) for row in rows
    }


def test_most_lesions_span_several_slices(marks):
    slices = defaultdict(int)
    for _, mark in (*lesions(marks, "stone"), *lesions(marks, "tumour")):
        slices[mark["lesion_id"]] += 1
    assert np.median(list(slices.values())) >= 2


def test_boxes_and_areas_are_those_of_the_masks(marks):
    for mark in marks["annotations"]:
        rows, columns = np.nonzero(Mask.from_coco(mark["segmentation"]).to_array())
        width, height = np.ptp(columns) + 1, np.ptp(rows) + 1
        assert mark["bbox"] == [columns.min(), rows.min(), width, height]
        assert mark["area"] == len(rows)


def test_stones_are_dense_and_small(marks, files):
    peaks = defaultdict(float)
    for name, mark in lesions(marks, "stone"):
        assert 3 <= mark["diameter_mm"] <= 15
        assert 300 <= mark["hu"] <= 1200
        inside = hounsfield(files[name])[Mask.from_coco(mark["segmentation"]).to_array()]
        peaks[mark["lesion_id"]] = max(peaks[mark["lesion_id"]], inside.max() / mark["hu"])
        # Seen through blur a stone of 3 mm covers more than itself, and a part of a voxel keeps it from its full HU.
        assert np.sqrt(4 * mark["area"] / np.pi) * 3 < mark["diameter_mm"] * 1.4 + 6
        if mark["diameter_mm"] > 10 and inside.max() == peaks[mark["lesion_id"]] * mark["hu"]:
            assert inside.max() < mark["hu"] + 60
    assert peaks
    assert all(0.08 < share < 1.2 for share in peaks.values())


def test_stones_stand_out_from_the_ring_around_them(marks, files):
    for name, mark in lesions(marks, "stone"):
        image, mask = hounsfield(files[name]), Mask.from_coco(mark["segmentation"]).to_array()
        ring = ndimage.binary_dilation(mask, iterations=4) & ~ndimage.binary_dilation(mask, iterations=2)
        assert image[mask].mean() > np.median(image[ring]) + 25


def test_tumours_differ_from_the_organ_in_the_stated_direction_by_the_stated_contrast(marks, files):
    found = lesions(marks, "tumour")
    assert found
    largest = defaultdict(int)
    for _, mark in found:
        largest[mark["lesion_id"]] = max(largest[mark["lesion_id"]], mark["area"])
    for name, mark in found:
        assert 8 <= mark["diameter_mm"] <= 40
        assert 10 <= abs(mark["contrast_hu"]) <= 35
        image, mask = hounsfield(files[name]), Mask.from_coco(mark["segmentation"]).to_array()
        ring = ndimage.binary_dilation(mask, iterations=4) & ~ndimage.binary_dilation(mask, iterations=1)
        organ_hu = mark["hu"] - mark["contrast_hu"]
        organ = ring & (np.abs(image - organ_hu) < 14)  # the organ, not the fat, vessels or lumen beside it
        difference = np.median(image[mask]) - np.median(image[organ])
        assert difference * np.sign(mark["contrast_hu"]) > 0, (name, mark)
        if 20 < mark["area"] == largest[mark["lesion_id"]]:  # elsewhere a part of the slice lies beyond it
            assert np.median(image[ndimage.binary_erosion(mask)]) == pytest.approx(mark["hu"], abs=8)


def test_the_largest_outline_of_a_tumour_has_about_its_diameter(marks):
    areas = defaultdict(list)
    for _, mark in lesions(marks, "tumour"):
        if mark["organ"] == "liver":  # a kidney's tumour stops at the muscle behind it
            areas[mark["lesion_id"], mark["diameter_mm"]].append(mark["area"])
    assert areas
    for (_, diameter_mm), found in areas.items():
        assert np.sqrt(4 * max(found) / np.pi) * 3 == pytest.approx(diameter_mm, rel=0.3, abs=3)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_images(tmp_path):
    few = {"patients": 3, "slices": 2, "size": 64}
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        write_phantom(tmp_path / name, seed=seed, **few)
    first, again, other = (tree(tmp_path / name) for name in "abc")
    assert first == again
    assert first.keys() == other.keys()
    assert not any(first[name] == other[name] for name in first if name.endswith(".dcm"))


def test_a_finer_grid_shows_the_same_field_of_view(tmp_path):
    fine = write_phantom(tmp_path / "fine", patients=3, slices=1, size=256)
    file = pydicom.dcmread(fine.images[0])
    assert (file.Rows, list(file.PixelSpacing)) == (256, [1.5, 1.5])


def test_a_folder_that_holds_something_is_refused_and_left_alone(tmp_path):
    (tmp_path / "kept.txt").write_text("mine")
    with pytest.raises(OutputExists, match="holds something"):
        write_phantom(tmp_path, patients=3, slices=1, size=64)
    with pytest.raises(OutputExists):
        write_phantom(tmp_path / "kept.txt", patients=3, slices=1, size=64)
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "empty").mkdir()
    assert len(write_phantom(tmp_path / "empty", patients=3, slices=1, size=64).images) == 3


def test_nothing_is_left_where_writing_was_interrupted(tmp_path):
    class Interrupted:
        def track(self, items, *, what, total=None):
            for number, item in enumerate(items):
                if number == 2:
                    raise KeyboardInterrupt
                yield item

        def say(self, line):
            pass

    with pytest.raises(KeyboardInterrupt):
        write_phantom(tmp_path / "ct", patients=4, slices=1, size=64, progress=Interrupted())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [{"patients": 2}, {"slices": 0}, {"size": 32}, {"patients": 10_000}, {"seed": -1}])
def test_impossible_numbers_are_refused(tmp_path, wrong):
    with pytest.raises(InputError, match="3 to 9999 patients"):
        write_phantom(tmp_path / "ct", **wrong)
    assert list(tmp_path.iterdir()) == []


def test_the_command_lines_sources_read_it_as_simulated_labels_and_masks(phantom, rows):
    labels, marks = open_data(phantom.labels), open_data(phantom.marks)
    assert (labels.task, set(labels.classes)) == ("single-label", {"normal", "stone", "tumour"})
    assert (marks.task, set(marks.classes)) == ("masks", {"stone", "tumour"})
    for manifest in (labels, marks):
        assert manifest.simulated
        assert len(manifest.cases) == 72
        assert {case.split for case in manifest.cases} == {"train", "test"}
        assert len({case.patient_id for case in manifest.cases}) == 12
    assert sorted(case.label for case in labels.cases) == sorted(row["label"] for row in rows)
    assert sum(bool(case.truth_marks) for case in marks.cases) == sum(row["label"] != "normal" for row in rows)
