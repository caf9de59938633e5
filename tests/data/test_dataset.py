"""Cases of a manifest as batches, the same for the same epoch whatever was drawn before."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from overread.data.dataset import CaseBatches, prepared_marks, targets_of
from overread.data.manifest import Case, ImageRef, Manifest
from overread.data.prepared import PreparedImages
from overread.data.section import AugmentationSection
from overread.errors import InputError, TruthAbsent
from overread.finding import Finding, Mask, Region
from overread.image import Image
from overread.models.contract import Batch
from overread.preprocessing.section import step_from
from overread.preprocessing.step import prepare

VARIED = AugmentationSection(flip=True, shift=0.1, noise=0.1)
CLASSES = ("cyst", "stone", "tumour")


def marks_of(number: int) -> tuple[Finding, ...]:
    masks = []
    for left in (4, 24)[: number % 3]:
        array = np.zeros((32, 40), dtype=bool)
        array[5 + number : 15 + number, left : left + 9] = True
        masks.append(Mask.from_array(array))
    return tuple(Finding(CLASSES[number % 3], Region.from_mask(mask)) for mask in masks)


def manifest_of(folder: Path, n: int, task="single-label", shape: tuple[int, int] = (32, 40)) -> Manifest:
    cases = []
    for number in range(n):
        path = folder / f"image-{number}.png"
        if not path.exists():
            pixels = np.random.default_rng(number).integers(0, 255, shape, dtype=np.uint8)
            Pillow.fromarray(pixels).save(path)
        labels = {name: index == number % 3 for index, name in enumerate(CLASSES)}
        marked = task in ("boxes", "masks")
        cases.append(
            Case(
                f"case-{number:02}",
                f"patient-{number}",
                (ImageRef(path),),
                {} if marked else labels,
                marks_of(number) if marked else None,
            )
        )
    return Manifest("test", "test", task, CLASSES, tuple(cases))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> PreparedImages:
    return PreparedImages(tmp_path_factory.mktemp("cache"))


def batches_of(manifest: Manifest, images: PreparedImages, *, size: int = 4, seed: int = 7, **more) -> CaseBatches:
    settings = {"augmentation": VARIED, "steps": (step_from({"step": "min-max"}),), **more}
    return CaseBatches(manifest, manifest.cases, images=images, batch_size=size, seed=seed, **settings)


def same(first: Sequence[Batch], second: Sequence[Batch]) -> bool:
    pairs = list(zip(first, second, strict=True))
    return all(a.case_ids == b.case_ids and torch.equal(a.images, b.images) for a, b in pairs)


@pytest.mark.parametrize("task", ["single-label", "masks"])
def test_an_epoch_is_the_same_whatever_was_drawn_before(folder, images, task) -> None:
    manifest = manifest_of(folder, 10, task)
    straight = batches_of(manifest, images)
    for epoch in range(3):
        np.random.rand(5)  # noqa: NPY002 - what others draw must not matter
        torch.rand(3)
        list(straight.epoch(epoch))
    expected = list(straight.epoch(3))
    fresh = batches_of(manifest_of(folder, 10, task), PreparedImages(images.folder))
    halfway = fresh.epoch(1)
    next(halfway)
    found = list(fresh.epoch(3))
    assert same(expected, found)
    if task == "masks":
        for a, b in zip(expected, found, strict=True):
            for one, other in zip(a.marks, b.marks, strict=True):
                assert torch.equal(one.boxes, other.boxes)
                assert torch.equal(one.masks, other.masks)


def test_every_epoch_and_every_seed_has_an_order_and_variations_of_its_own(folder, images) -> None:
    manifest = manifest_of(folder, 12)
    batches = batches_of(manifest, images)
    orders = [tuple(key for batch in batches.epoch(epoch) for key in batch.case_ids) for epoch in range(5)]
    other = [key for batch in batches_of(manifest, images, seed=8).epoch(0) for key in batch.case_ids]
    assert len({*orders, tuple(other)}) == 6
    assert all(sorted(order) == sorted(orders[0]) for order in orders)

    def image_of(epoch: int) -> torch.Tensor:
        return next(b.images[b.case_ids.index("case-03")] for b in batches.epoch(epoch) if "case-03" in b.case_ids)

    assert not torch.equal(image_of(0), image_of(1))


def test_how_a_case_is_varied_does_not_hang_on_the_other_cases(folder, images) -> None:
    manifest = manifest_of(folder, 12)

    def copies(part: Manifest, size: int) -> dict[str, torch.Tensor]:
        batches = batches_of(part, images, size=size).epoch(2)
        return {key: image for batch in batches for key, image in zip(batch.case_ids, batch.images, strict=True)}

    whole, part = copies(manifest, 4), copies(manifest.with_cases(manifest.cases[3:9]), 3)
    assert all(torch.equal(whole[key], part[key]) for key in part)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 9), size=st.integers(1, 10), epoch=st.integers(0, 3))
def test_every_case_is_shown_once_but_for_a_last_one_alone(folder, images, n, size, epoch) -> None:
    batches = batches_of(manifest_of(folder, n), images, size=size)
    shown = [batch.case_ids for batch in batches.epoch(epoch)]
    assert len(shown) == len(batches)
    keys = [key for batch in shown for key in batch]
    assert len(keys) == len(set(keys))
    left_out = n % size == 1 and n > size > 1
    assert len(keys) == n - left_out
    assert all(len(batch) == size for batch in shown[:-1])
    if size > 1 and n > 1:
        assert all(len(batch) > 1 for batch in shown)


def test_a_case_that_is_left_out_in_one_epoch_has_its_turn_in_another(folder, images) -> None:
    batches = batches_of(manifest_of(folder, 5), images)
    seen = {key for epoch in range(12) for batch in batches.epoch(epoch) for key in batch.case_ids}
    assert len(seen) == 5


def uneven(folder: Path, task: str = "single-label") -> Manifest:
    """Twelve cysts, two stones, one tumour."""
    manifest = manifest_of(folder, 15, task)
    names = ["cyst"] * 12 + ["stone"] * 2 + ["tumour"]
    cases = []
    for case, own in zip(manifest.cases, names, strict=True):
        if manifest.marks_lesions:
            cases.append(replace(case, marks=(Finding(own, Region((2, 2, 20, 20))),)))
        else:
            cases.append(replace(case, labels={name: name == own for name in CLASSES}))
    return manifest.with_cases(tuple(cases))


def test_unless_it_is_asked_for_no_case_weighs_more_than_another(folder, images) -> None:
    assert all(batch.weights is None for batch in batches_of(uneven(folder), images).epoch(0))


def test_weights_come_from_these_cases_and_follow_them_into_their_batch(folder, images) -> None:
    batches = batches_of(uneven(folder), images, balance="weights")
    each = {0: 15 / (3 * 12), 1: 15 / (3 * 2), 2: 15 / 3}
    seen = 0
    for batch in batches.epoch(0):
        assert batch.weights is not None
        assert batch.weights.tolist() == pytest.approx([each[one] for one in batch.labels.tolist()])
        seen += len(batch.case_ids)
    assert seen == 15


def test_weights_of_several_labels_stand_beside_each_of_them(folder, images) -> None:
    manifest = replace(uneven(folder), task="multi-label")
    unknown = replace(manifest.cases[0], labels={"cyst": True, "stone": None, "tumour": None})
    manifest = manifest.with_cases((unknown, *manifest.cases[1:]))
    each = torch.tensor([3 / 12, 12 / 2, 13 / 1])  # absent by present, of what is known
    for batch in batches_of(manifest, images, balance="weights").epoch(0):
        assert batch.weights is not None
        torch.testing.assert_close(batch.weights, torch.where(batch.labels == 1, each, 1.0))


@pytest.mark.parametrize("task", ["single-label", "boxes"])
def test_sampling_shows_each_class_equally_often_in_epochs_as_long_as_before(folder, images, task) -> None:
    manifest = uneven(folder, task)
    names = {case.case_id: case.truth_marks[0].label if task == "boxes" else case.label for case in manifest.cases}
    plain, drawn = batches_of(manifest, images, balance="none"), batches_of(manifest, images, balance="sampling")
    assert len(plain) == len(drawn)
    shown = [names[key] for epoch in range(40) for batch in drawn.epoch(epoch) for key in batch.case_ids]
    assert len(shown) == sum(len(batch.case_ids) for epoch in range(40) for batch in plain.epoch(epoch))
    for name in CLASSES:
        assert shown.count(name) / len(shown) == pytest.approx(1 / 3, abs=0.06)


def test_what_is_drawn_is_the_same_for_the_same_epoch_and_another_for_others(folder, images) -> None:
    first, second = (batches_of(uneven(folder), images, balance="sampling") for _ in range(2))
    next(first.epoch(1))
    assert same(list(first.epoch(3)), list(second.epoch(3)))
    orders = {tuple(key for batch in first.epoch(epoch) for key in batch.case_ids) for epoch in range(5)}
    assert len(orders) == 5


def test_a_case_that_is_drawn_again_in_an_epoch_is_varied_in_another_way(folder, images) -> None:
    drawn = batches_of(uneven(folder), images, balance="sampling").epoch(0)
    copies = [
        image
        for batch in drawn
        for key, image in zip(batch.case_ids, batch.images, strict=True)
        if key == "case-14"  # the only tumour
    ]
    assert len(copies) > 1
    assert all(not torch.equal(copies[0], other) for other in copies[1:])


def test_without_augmentation_a_batch_is_what_preprocessing_gives(folder, images) -> None:
    manifest = manifest_of(folder, 4, "masks")
    steps = (step_from({"step": "resize", "height": 64, "width": 64}), step_from({"step": "min-max"}))
    (batch,) = batches_of(manifest, images, augmentation=None, steps=steps).epoch(0)
    for place, key in enumerate(batch.case_ids):
        case = next(case for case in manifest.cases if case.case_id == key)
        image = images.get(case.images[0], steps)
        assert np.array_equal(batch.images[place].numpy(), image.pixels)
        assert len(batch.marks[place].boxes) == len(case.truth_marks)
    assert batch.images.dtype == torch.float32


def test_images_of_several_sizes_are_refused_with_the_sizes_and_a_way_out(tmp_path, images) -> None:
    first = manifest_of(tmp_path, 2)
    (tmp_path / "other").mkdir()
    second = manifest_of(tmp_path / "other", 2, shape=(30, 40))
    others = tuple(replace(case, case_id=f"other-{case.case_id}") for case in second.cases)
    manifest = first.with_cases((*first.cases, *others))
    with pytest.raises(InputError, match=r"one size; found .*30, 40.*32, 40.*resize.*augmentation\.crop"):
        list(batches_of(manifest, images).epoch(0))
    cropped = batches_of(manifest, images, augmentation=AugmentationSection(crop=32))
    assert next(cropped.epoch(0)).images.shape == (4, 1, 32, 32)


def test_a_single_label_is_the_index_of_its_class(folder) -> None:
    manifest = manifest_of(folder, 4)
    targets = targets_of(manifest.cases, manifest)
    assert targets.dtype == torch.int64
    assert targets.tolist() == [0, 1, 2, 0]


def test_several_labels_are_flags_with_nan_for_what_nobody_said() -> None:
    labels = [{"cyst": True, "stone": False, "tumour": None}, {"cyst": None, "stone": True}]
    cases = [Case(f"c{n}", f"p{n}", (ImageRef(Path("x")),), one) for n, one in enumerate(labels)]
    targets = targets_of(cases, Manifest("t", "t", "multi-label", CLASSES, tuple(cases)))
    assert targets.dtype == torch.float32
    assert targets[:, :2].tolist()[0] == [1.0, 0.0]
    assert targets[1, 1] == 1.0
    assert torch.isnan(targets).tolist() == [[False, False, True], [True, False, True]]


def test_a_case_without_its_label_is_refused_by_name_and_never_a_class() -> None:
    case = Case("c7", "p7", (ImageRef(Path("x")),), dict.fromkeys(CLASSES))
    with pytest.raises(TruthAbsent, match="c7"):
        targets_of([case], Manifest("t", "t", "single-label", CLASSES, (case,)))


@pytest.mark.parametrize("task", ["single-label", "masks", "boxes"])
def test_a_batch_holds_the_truth_of_its_task_and_no_other(folder, images, task) -> None:
    batch = next(batches_of(manifest_of(folder, 4, task), images).epoch(0))
    with pytest.raises(TruthAbsent):
        batch.marks if task == "single-label" else batch.labels  # noqa: B018
    if task != "single-label":
        assert all((one.masks is None) == (task == "boxes") for one in batch.marks)


def test_a_case_that_nobody_marked_is_refused_and_one_without_lesions_is_not(folder, images) -> None:
    manifest = manifest_of(folder, 4, "masks")
    empty = replace(manifest.cases[0], marks=())
    batch = next(batches_of(manifest.with_cases((empty,)), images).epoch(0))
    assert batch.marks[0].boxes.shape == (0, 4)
    assert batch.marks[0].masks is not None
    assert batch.marks[0].masks.shape == (0, 32, 40)
    with pytest.raises(TruthAbsent, match="case-00"):
        list(batches_of(manifest.with_cases((replace(empty, marks=None),)), images).epoch(0))


@pytest.mark.parametrize("masks", [True, False])
def test_marks_follow_a_crop_and_a_resize_and_what_is_cut_away_is_left_out(masks) -> None:
    pixels = np.zeros((1, 60, 80), dtype=np.float32)
    pixels[:, 10:50, 20:70] = 100
    image = prepare(
        Image(pixels), [step_from({"step": "crop-foreground"}), step_from({"step": "resize", "factor": 2.0})]
    )
    assert image.shape == (80, 100)
    found = []
    for label, (left, top, right, bottom) in (("stone", (30, 20, 40, 25)), ("cyst", (0, 0, 10, 10))):
        array = np.zeros((60, 80), dtype=bool)
        array[top:bottom, left:right] = True
        region = Region.from_mask(Mask.from_array(array))
        found.append(Finding(label, region if masks else replace(region, mask=None)))
    case = Case("c", "p", (ImageRef(Path("x")),), marks=tuple(reversed(found)))
    marks = prepared_marks(case, image, CLASSES, masks=masks)
    assert marks.boxes.tolist() == [[20, 20, 40, 30]]
    assert marks.classes.tolist() == [1]
    assert (marks.bitmaps is not None) == masks
    if marks.bitmaps is not None:
        ((left, top, bitmap),) = marks.bitmaps
        assert (left, top, bitmap.shape, bool(bitmap.all())) == (20, 20, (10, 20), True)


def test_the_value_of_a_pixel_survives_to_the_batch(folder, images) -> None:
    manifest = manifest_of(folder, 1)
    (batch,) = batches_of(manifest, images, augmentation=None, steps=()).epoch(0)
    expected = np.asarray(Pillow.open(manifest.cases[0].images[0].path), dtype=np.float32)
    assert np.array_equal(batch.images[0, 0].numpy(), expected)
    assert not math.isnan(float(batch.images.sum()))
