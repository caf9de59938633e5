"""Boxes and masks come out of each layout where they were drawn."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from pycocotools import mask as coco_mask

from overread.data.manifest import Manifest
from overread.data.sources import open_data
from overread.data.sources.boxes import fitted
from overread.errors import SourceError
from overread.finding import Mask

SIZE = (20, 30)
"""(row, column)"""


def _image(path: Path, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (SIZE[1], SIZE[0])).save(path, **options)


def _named(manifest: Manifest) -> dict[str, tuple[str, ...]]:
    return {problem.name: problem.where for problem in manifest.found}


def _coco(path: Path, annotations: list[dict[str, Any]], images: list[dict[str, Any]], **more: Any) -> None:
    for number, annotation in enumerate(annotations):
        annotation.setdefault("id", number)
        annotation.setdefault("category_id", 1)
        annotation.setdefault("image_id", 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    categories = [{"id": 2, "name": "cyst"}, {"id": 1, "name": "tumour"}]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories, **more}))


ONE = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}]


def test_coco_masks_are_read_from_polygons_and_both_kinds_of_run_lengths(tmp_path: Path):
    for name in ("a.png", "b.png"):
        _image(tmp_path / name)
    drawn = np.zeros(SIZE, bool)
    drawn[3:8, 4:10] = True
    counts = coco_mask.encode(np.asfortranarray(drawn, np.uint8))["counts"].decode()
    lengths = [4 * 20 + 3, *([5, 15] * 5), 5, 20 * 20 + 12]
    segmentations = [
        [[4, 3, 10, 3, 10, 8, 4, 8]],
        {"size": list(SIZE), "counts": counts},
        {"size": list(SIZE), "counts": lengths},
    ]
    annotations = [{"bbox": [4, 3, 6, 5], "segmentation": each} for each in segmentations]
    _coco(tmp_path / "t.json", annotations, ONE)
    manifest = open_data(tmp_path)
    assert manifest.task == "masks"
    assert [case.case_id for case in manifest.cases] == ["a", "b"]
    a, b = manifest.cases
    assert b.marks == ()
    for mark in a.truth_marks:
        assert mark.region is not None
        assert mark.region.mask == Mask.from_array(drawn)
        assert mark.region.box == (4, 3, 10, 8)
    assert manifest.classes == ("tumour",)
    assert _named(manifest) == {"class-without-cases": ("cyst",)}


def test_coco_is_about_boxes_where_one_annotation_has_no_mask(tmp_path: Path):
    for name in ("a.png", "b.png"):
        _image(tmp_path / name)
    polygon = [[4, 3, 10, 3, 10, 8]]
    _coco(
        tmp_path / "t.json",
        [
            {"bbox": [1, 2, 3, 4], "segmentation": polygon},
            {"bbox": [5, 5, 2, 2], "category_id": 2},
            {"bbox": [0, 0, 9, 9], "iscrowd": 1, "id": 77},
            {"bbox": [-1, 0, 10, 21.5], "id": 78},
        ],
        ONE,
    )
    manifest = open_data(tmp_path)
    assert manifest.task == "boxes"
    assert manifest.classes == ("tumour", "cyst")
    boxes = [(mark.region.box, mark.region.mask) for mark in manifest.cases[0].truth_marks if mark.region]
    assert boxes == [((1, 2, 4, 6), None), ((5, 5, 7, 7), None), ((0, 0, 9, 20), None)]
    assert _named(manifest) == {"crowd-annotation": ("annotation 77",), "box-clipped": ("annotation 78",)}


def test_coco_splits_patients_sites_and_simulation_are_read(tmp_path: Path):
    for split in ("train2017", "val2017"):
        _image(tmp_path / split / "1.png")
    for split in ("train", "val"):
        images = [{"id": 1, "file_name": "1.png", "patient_id": 7, "site": "Bern"}]
        _coco(
            tmp_path / "annotations" / f"x_{split}2017.json", [{"bbox": [1, 1, 2, 2]}], images, info={"simulated": True}
        )
    manifest = open_data(tmp_path)
    assert [(case.case_id, case.split, case.patient_id, case.site) for case in manifest.cases] == [
        ("train2017_1", "train", "7", "Bern"),
        ("val2017_1", "val", "7", "Bern"),
    ]
    assert manifest.simulated


def test_coco_splits_may_stand_in_the_image_entries(tmp_path: Path):
    for name in ("a.png", "b.png"):
        _image(tmp_path / "images" / name)
    _coco(tmp_path / "t.json", [{"bbox": [1, 1, 2, 2]}], [ONE[0] | {"split": "Test"}, ONE[1]])
    assert [case.split for case in open_data(tmp_path / "t.json").cases] == ["test", None]


def test_coco_names_images_that_are_not_there(tmp_path: Path):
    _image(tmp_path / "a.png")
    _coco(tmp_path / "t.json", [{"bbox": [1, 1, 2, 2]}], ONE)
    assert _named(open_data(tmp_path))["label-without-file"] == ("b.png",)


@pytest.mark.parametrize(
    ("annotation", "match"),
    [
        ({"bbox": [1, 2, 3]}, "needs a bbox"),
        ({"bbox": None}, "needs a bbox"),
        ({"bbox": [1, 2, float("nan"), 3]}, "needs a bbox"),
        ({"bbox": [1, 2, 3, 4], "segmentation": {"size": [20, 30], "counts": [7, 3]}}, "no run lengths"),
        ({"bbox": [1, 2, 3, 4], "segmentation": {"size": [20, 30], "counts": [7, -3, 596]}}, "no run lengths"),
        ({"bbox": [1, 2, 3, 4], "segmentation": ["text"]}, "no run lengths"),
        ({"bbox": [1, 2, 3, 4], "segmentation": {"size": [20, 30], "counts": "0"}}, "no run lengths"),
        ({"bbox": [1, 2, 3, 4], "segmentation": {"size": [20, 30], "counts": "~~"}}, "no run lengths"),
        ({"bbox": "1234"}, "needs a bbox"),
        ({"bbox": ["1", "2", "3", "4"]}, "needs a bbox"),
        ({"bbox": [1, 2, 10**400, 3]}, "needs a bbox"),
        ({"bbox": [1, 2, 3, 4], "segmentation": [[0, 0, 1e9, 0, 1e9, 1e9]]}, "annotation 0 .* far out of the image"),
        ({"bbox": [1, 2, 3, 4], "segmentation": [[0, 0, 1e18, 0, 1e18, 1e18]]}, "far out of the image"),
        ({"bbox": [1, 2, 3, 4], "segmentation": [[0, 0, float("nan"), 0, 5, 5]]}, "not finite"),
        ({"bbox": [1, 2, 3, 4], "segmentation": {"size": [60000, 60000], "counts": [0, 3600000000]}}, "60000 x 60000"),
        ({"bbox": [1, 2, 3, 4], "segmentation": {"size": [600, 1], "counts": [0, 600]}}, "image of 20 x 30"),
        ({"bbox": [1, 2, 3, 4], "segmentation": {"size": [-20, -30], "counts": [0, 600]}}, "image of 20 x 30"),
        ({"bbox": [1, 2, 3, 4], "segmentation": {"size": [20, 30], "counts": [0.5, 599.5]}}, "no whole numbers"),
        ({"category_id": [1], "bbox": [1, 2, 3, 4]}, '"category_id" in "annotations"'),
        ({"image_id": {"a": 1}, "bbox": [1, 2, 3, 4]}, '"image_id" in "annotations"'),
        ({"category_id": 9, "bbox": [1, 2, 3, 4]}, "category 9"),
        ({"image_id": 9, "bbox": [1, 2, 3, 4]}, "image id 9"),
        ({"bbox": [1, 2, 3, 4], "segmentation": {"size": [2]}}, "no run lengths"),
    ],
)
def test_a_broken_coco_annotation_is_refused_with_its_number(tmp_path: Path, annotation: dict[str, Any], match: str):
    for name in ("a.png", "b.png"):
        _image(tmp_path / name)
    _coco(tmp_path / "t.json", [annotation], ONE)
    with pytest.raises(SourceError, match=match):
        open_data(tmp_path)


@pytest.mark.parametrize(
    "images", [[{"id": 1, "file_name": "a.png"}, {"id": 1, "file_name": "b.png"}], [{"file_name": "a.png"}], ["a.png"]]
)
def test_coco_images_need_ids_of_their_own(tmp_path: Path, images: list[Any]):
    _image(tmp_path / "a.png")
    _coco(tmp_path / "t.json", [{"bbox": [1, 1, 2, 2]}], images)
    with pytest.raises(SourceError, match=r"id of its own|list of objects"):
        open_data(tmp_path)


def test_broken_json_is_the_reason_that_is_shown(tmp_path: Path):
    (tmp_path / "t.json").write_text('{"images": [')
    with pytest.raises(SourceError, match="not JSON"):
        open_data(tmp_path)


def test_json_of_brackets_alone_is_refused_with_its_name(tmp_path: Path):
    (tmp_path / "t.json").write_text("[" * 200_000)
    with pytest.raises(SourceError, match=r"t\.json: not JSON"):
        open_data(tmp_path)


def test_marks_on_an_image_that_asks_to_be_turned_are_an_error(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    _image(tmp_path / "a.jpg", exif=exif)
    _coco(tmp_path / "t.json", [{"bbox": [1, 1, 2, 2]}], [{"id": 1, "file_name": "a.jpg"}])
    assert _named(open_data(tmp_path))["turned-image"] == ("a.jpg",)


def _voc(root: Path, stem: str, boxes: list[tuple[float, float, float, float]], filename: str = "") -> None:
    objects = "".join(
        f"<object><name>RBC</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        for a, b, c, d in boxes
    )
    (root / "Annotations").mkdir(exist_ok=True)
    (root / "Annotations" / f"{stem}.xml").write_text(
        f"<annotation><filename>{filename or stem}</filename>{objects}</annotation>"
    )


def test_voc_boxes_count_from_one_and_zero_is_said(tmp_path: Path):
    for stem in ("a", "b", "free"):
        _image(tmp_path / "JPEGImages" / f"{stem}.jpg")
    _voc(tmp_path, "a", [(1, 1, 30, 20), (0, 5, 6, 7), (5, 5, 32, 9), (5, 5, 40, 9)])
    _voc(tmp_path, "b", [], filename="a.jpg")
    _voc(tmp_path, "gone", [])
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("a\nabsent\n")
    (tmp_path / "ImageSets" / "Main" / "test.txt").write_text("b\na\n")
    (tmp_path / "ImageSets" / "Main" / "trainval.txt").write_text("a\nb\n")
    manifest = open_data(tmp_path)
    a, b = manifest.cases
    boxes = [mark.region.box for mark in a.truth_marks if mark.region]
    assert boxes == [(0, 0, 30, 20), (0, 4, 6, 7), (4, 4, 30, 9), (4, 4, 40, 9)]
    assert b.marks == ()
    assert b.split == "test"
    assert _named(manifest) == {
        "annotation-names-another-file": ("b.xml",),
        "box-clipped": ("a object 2", "a object 3"),
        "case-in-two-splits": ("a",),
        "file-without-label": ("JPEGImages/free.jpg",),
        "label-without-file": ("gone.xml",),
        "split-without-case": ("train.txt: absent",),
    }


@pytest.mark.parametrize(
    "text",
    [
        "<annotation>",
        "<other/>",
        '<?xml version="1.0" encoding="bogus"?><annotation/>',
        '<!DOCTYPE a [<!ENTITY x "y">]><annotation><filename>&x;</filename></annotation>',
        "<annotation><object><name>RBC</name></object></annotation>",
        "<annotation><object><bndbox><xmin>1</xmin></bndbox></object></annotation>",
    ],
)
def test_a_broken_voc_annotation_is_refused_with_its_name(tmp_path: Path, text: str):
    _image(tmp_path / "JPEGImages" / "a.jpg")
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "a.xml").write_text(text)
    with pytest.raises(SourceError, match=r"a\.xml"):
        open_data(tmp_path)


def test_a_box_is_cut_only_where_it_sticks_out_a_little():
    assert fitted((-2, 0, 32, 22), SIZE) == (0, 0, 30, 20)
    assert fitted((-2.1, 0, 30, 20), SIZE) == (-2.1, 0, 30, 20)
    assert fitted((30, 0, 31, 20), SIZE) == (30, 0, 31, 20)  # nothing of it is inside: left to the check


def test_label_maps_bring_their_class_attributes_and_problems(tmp_path: Path):
    for stem in ("a", "b", "free", "c"):
        _image(tmp_path / "images" / f"{stem}.png")
    label_map = np.zeros(SIZE, np.uint32)
    label_map[2:4, 5:9] = 70000
    (tmp_path / "labels").mkdir()
    tifffile.imwrite(tmp_path / "labels" / "a.tif", label_map)
    tifffile.imwrite(tmp_path / "labels" / "b.tif", label_map * 0)
    tifffile.imwrite(tmp_path / "labels" / "c.tif", label_map.astype(np.int32) - 1)
    tifffile.imwrite(tmp_path / "labels" / "gone.tif", label_map)
    (tmp_path / "class.txt").write_text("nucleus\n")
    (tmp_path / "kinds.json").write_text('{"a": "stained"}')
    manifest = open_data(tmp_path)
    a, b = manifest.cases
    assert manifest.classes == ("nucleus",)
    assert [mark.region.box for mark in a.truth_marks if mark.region] == [(5, 2, 9, 4)]
    assert a.attributes == {"kind": "stained"}
    assert b.marks == ()
    assert _named(manifest) == {
        "file-without-label": ("images/free.png",),
        "label-without-file": ("labels/gone.tif",),
        "unreadable-truth": ("labels/c.tif",),
    }


def test_a_case_folder_without_exactly_one_image_is_named_and_empty_masks_are_left_out(tmp_path: Path):
    for case in ("a", "b"):
        _image(tmp_path / case / "images" / "1.png")
        (tmp_path / case / "masks").mkdir()
    _image(tmp_path / "b" / "images" / "2.png")
    _image(tmp_path / "a" / "masks" / "black.png")
    manifest = open_data(tmp_path)
    assert [(case.case_id, case.marks) for case in manifest.cases] == [("a", ())]
    assert _named(manifest) == {"empty-mask-left-out": ("a/masks/black.png",), "not-one-image": ("b",)}
