"""The real data sets are read as they were published."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from overread.data.sources import open_data

pytestmark = pytest.mark.data


@pytest.mark.parametrize(
    ("name", "classes", "train", "val"),
    [
        ("breastmnist", ("malignant", "normal or benign"), 546, 78),
        ("pneumoniamnist", ("normal", "pneumonia"), 4708, 524),
        ("adrenalmnist3d", ("normal", "hyperplasia"), 1188, 98),
    ],
)
def test_medmnist(real_data: Path, name: str, classes: tuple[str, ...], train: int, val: int):
    manifest = open_data(real_data / "medmnist" / f"{name}.npz")
    assert manifest.classes == classes
    assert Counter(case.split for case in manifest.cases) == {"train": train, "val": val}
    assert not manifest.found


def test_bccd(real_data: Path):
    manifest = open_data(real_data / "bccd")
    assert manifest.classes == ("Platelets", "RBC", "WBC")
    assert Counter(case.split for case in manifest.cases) == {"train": 205, "val": 87}
    assert not manifest.found


def test_the_nuclei_are_equal_as_label_maps_and_as_published(real_data: Path):
    published = open_data(real_data / "dsb2018_original_layout")
    label_maps = {case.case_id: case for case in open_data(real_data / "dsb2018").cases}
    assert len(label_maps) == 532
    assert len(published.cases) == 6
    for case in published.cases:
        twin = label_maps[case.case_id[:16]]
        assert twin.attributes["kind"] in ("fluorescence", "stained", "brightfield")
        label_map = np.asarray(Image.open(real_data / "dsb2018" / "labels" / f"{twin.case_id}.png"))
        assert len(twin.truth_marks) == len(np.unique(label_map)) - 1
        first = sum(mark.region.mask.to_array() for mark in twin.truth_marks if mark.region and mark.region.mask)
        np.testing.assert_array_equal(np.asarray(first) > 0, label_map > 0)
        areas = [
            sum(mark.region.mask.area_px for mark in each.truth_marks if mark.region and mark.region.mask)
            for each in (case, twin)
        ]
        assert areas[0] == pytest.approx(areas[1], rel=0.1)  # the community's fixes lie between them
