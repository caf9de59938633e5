from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from overread.data.manifest import Case, ImageRef, Manifest, Task
from overread.data.problems import problems
from overread.data.sources import open_data
from overread.errors import InputError
from overread.finding import Finding, Region
from overread.models.contract import Shape
from overread.pipeline.assembly import check_axes, check_family
from overread.preprocessing.geometry import Resize
from overread.recipe import Recipe, propose

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 255, (40, 30), dtype=np.uint8)
COLOUR = RNG.integers(0, 255, (40, 30, 3), dtype=np.uint8)
GREY_IN_COLOUR = np.stack([GREY] * 3, axis=-1)


def data_set(
    folder: Path, *pixels: NDArray[np.generic], task: Task = "single-label", count: int = 60, **facts: object
) -> Manifest:
    """A data set of `count` patients with these pictures in turn; every tenth is malignant."""
    cases = []
    for number in range(count):
        path = folder / f"{number:03}.png"
        Pillow.fromarray(pixels[number % len(pixels)]).save(path)
        malignant = number % 10 == 0
        labels = {} if task in ("boxes", "masks") else {"benign": not malignant, "malignant": malignant}
        marks = (Finding("malignant", Region((0, 0, 8, 8))),) if task in ("boxes", "masks") else None
        cases.append(Case(path.stem, path.stem, (ImageRef(path),), labels, marks, **facts))
    return Manifest("My lesions, 2024", "folders", task, ("benign", "malignant"), tuple(cases))


def proposed(manifest: Manifest) -> Recipe:
    return Recipe.from_toml(propose(manifest), where="proposed")


def steps(recipe: Recipe) -> list[str]:
    return [type(step).__name__ for step in recipe.preprocessing.steps]


def test_a_proposal_is_a_whole_recipe_with_a_reason_behind_every_choice(tmp_path: Path) -> None:
    text = propose(data_set(tmp_path, GREY))
    recipe = Recipe.from_toml(text, where="proposed").resolved()
    assert recipe.name == "my-lesions-2024-cnn"
    written = [
        line
        for line in text.splitlines()
        if " = " in line and not line.lstrip().startswith(("#", "{", "name", "steps"))
    ]
    assert len(written) > 10
    assert all("  # " in line for line in written)


def test_labels_are_measured_out_of_fold(tmp_path: Path) -> None:
    recipe = proposed(data_set(tmp_path, GREY, split="train"))
    assert (recipe.model.family, recipe.data.scheme, recipe.data.folds) == ("cnn", "k-fold", 5)


def test_there_are_no_more_folds_than_patients_of_the_rarest_class(tmp_path: Path) -> None:
    assert proposed(data_set(tmp_path, GREY, count=30)).data.folds == 3


def test_the_official_test_split_decides_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no case to learn from"):
        propose(data_set(tmp_path, GREY, split="test"))


def test_marks_are_learned_by_a_marking_model_on_crops_of_one_size(tmp_path: Path) -> None:
    recipe = proposed(data_set(tmp_path, GREY, task="boxes"))
    assert (recipe.model.family, recipe.data.scheme) == ("mask-rcnn", "hold-out")
    assert recipe.augmentation.crop is not None


def test_a_place_gets_one_class_where_the_data_never_give_it_two(tmp_path: Path) -> None:
    apart = data_set(tmp_path, GREY, task="boxes")
    first = apart.cases[0]
    for left, one in ((20, True), (1, False)):
        other = Finding("benign", Region((left, 0, left + 8, 8)))
        both = Case(first.case_id, first.patient_id, first.images, {}, (*first.truth_marks, other))
        assert proposed(apart.with_cases((both, *apart.cases[1:]))).inference.one_class_a_place is one
    assert not proposed(data_set(tmp_path, GREY)).inference.one_class_a_place


def test_marks_with_an_official_val_split_are_measured_on_it(tmp_path: Path) -> None:
    train = data_set(tmp_path, GREY, task="masks", count=20, split="train").cases
    (tmp_path / "val").mkdir()
    val = data_set(tmp_path / "val", GREY, task="masks", count=20, split="val")
    renamed = tuple(
        Case(f"v{case.case_id}", f"v{case.case_id}", case.images, {}, case.marks, "val") for case in val.cases
    )
    assert proposed(val.with_cases((*train, *renamed))).data.scheme == "official"


@pytest.mark.parametrize(
    ("pictures", "greys"), [([GREY], False), ([GREY_IN_COLOUR], True), ([COLOUR], False), ([GREY, COLOUR], True)]
)
def test_images_come_out_alike_in_channels(tmp_path: Path, pictures: list[NDArray[np.uint8]], greys: bool) -> None:
    assert ("Grey" in steps(proposed(data_set(tmp_path, *pictures)))) is greys


def test_only_colour_is_turned_upside_down(tmp_path: Path) -> None:
    assert not proposed(data_set(tmp_path, GREY)).augmentation.flip_vertical
    assert proposed(data_set(tmp_path, COLOUR)).augmentation.quarter_turns


def test_few_patients_keep_the_last_epoch(tmp_path: Path) -> None:
    recipe = proposed(data_set(tmp_path, GREY, count=30))
    assert (recipe.data.validation, recipe.training.keep) == (0, "last")
    assert proposed(data_set(tmp_path, GREY)).training.keep == "best"


def test_more_than_8_bits_are_clipped_first(tmp_path: Path) -> None:
    assert steps(proposed(data_set(tmp_path, GREY.astype(np.uint16) * 200)))[0] == "PercentileClip"
    assert steps(proposed(data_set(tmp_path, GREY)))[0] == "MinMax"


def test_boxes_are_not_turned_for_training_refuses_that(tmp_path: Path) -> None:
    manifest = data_set(tmp_path, GREY, task="boxes")
    check_family(proposed(manifest), manifest)
    assert proposed(data_set(tmp_path, GREY, task="masks")).augmentation.rotation_degrees


def test_of_several_labels_the_patients_without_one_count_too(tmp_path: Path) -> None:
    manifest = data_set(tmp_path, GREY, count=30)
    cases = tuple(replace(case, labels={**case.labels, "shown": n > 1}) for n, case in enumerate(manifest.cases))
    several = replace(manifest, task="multi-label", classes=(*manifest.classes, "shown"), cases=cases)
    assert proposed(several).data.folds == 2
    assert not [one for one in problems(several, folds=2, readable=False) if one.severity == "error"]


def test_a_class_of_one_patient_is_refused_for_no_number_of_folds_would_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Class 'malignant' has 1 patient; .* misspelt"):
        propose(data_set(tmp_path, GREY, count=10))


def test_a_data_set_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    manifest = data_set(tmp_path, GREY, count=20)
    for path in tmp_path.glob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(InputError, match="overread inspect"):
        propose(manifest)


def test_a_name_cannot_break_out_of_its_comment(tmp_path: Path) -> None:
    ours = data_set(tmp_path, GREY)
    hostile = Manifest("a\nseed = 5\n\x07 é", ours.source, ours.task, ours.classes, ours.cases)
    assert proposed(hostile).seed == 0


@pytest.mark.parametrize("name", ["medmnist/breastmnist.npz", "medmnist/pneumoniamnist.npz", "bccd", "dsb2018"])
def test_real_data_sets_get_a_recipe_that_loads(real_data: Path, name: str) -> None:
    assert proposed(open_data(real_data / name)).resolved()


def test_images_of_one_examination_are_read_in_their_order(tmp_path: Path):
    single = data_set(tmp_path, GREY)
    tied = zip(single.cases[::2], single.cases[1::2], strict=True)
    cases = tuple(replace(one, images=one.images + other.images) for one, other in tied)
    recipe = proposed(single.with_cases(cases))
    assert recipe.model.family == "lstm"
    check_family(recipe.resolved(), single.with_cases(cases))


def test_rows_of_measurements_are_scaled_by_what_each_fold_learned(tmp_path: Path):
    rows = "".join(f"{number / 7},{number % 5}.5,{'xy'[number % 2]}\n" for number in range(60))
    (tmp_path / "t.csv").write_text(f"volume,density,label\n{rows}")
    manifest = open_data(tmp_path / "t.csv")
    recipe = proposed(manifest)
    (step,) = recipe.preprocessing.steps
    assert step.learns
    assert recipe.model.family == "mlp"
    assert "60 rows of 60 patients, 2 measurements" in propose(manifest)
    check_family(recipe.resolved(), manifest)


def volumes(tmp_path: Path, *slices: int) -> Manifest:
    """Twelve patients, volumes of 20 x 24 px with these numbers of slices in turn."""
    rng, cases = np.random.default_rng(0), []
    for number in range(12):
        count = slices[number % len(slices)]
        np.savez(tmp_path / f"{number}.npz", volume=rng.integers(0, 255, (count, 20, 24)))
        label = ("benign", "malignant")[number % 2]
        labels = {name: name == label for name in ("benign", "malignant")}
        cases.append(Case(f"c{number:02}", f"p{number}", (ImageRef(tmp_path / f"{number}.npz"),), labels))
    return Manifest("scans", "test", "single-label", ("benign", "malignant"), tuple(cases))


def test_volumes_of_one_size_are_looked_at_at_once_and_others_slice_by_slice(tmp_path: Path) -> None:
    alike = Recipe.from_toml(propose(volumes(tmp_path, 16)), where="alike")
    assert (alike.model.family, alike.model.options["backbone"]) == ("cnn", "resnet10")
    others = Recipe.from_toml(propose(volumes(tmp_path, 16, 9)), where="others")
    assert others.model.family == "lstm"
    assert {one.augmentation.set for one in (alike, others)} == {"volume"}
    for proposed, count in ((alike, 16), (others, 9)):
        manifest = volumes(tmp_path, count)
        check_family(proposed.resolved(), manifest)
        check_axes(proposed, Shape(manifest.task, manifest.classes, 1, 3))


def test_long_volumes_are_made_smaller_along_every_axis(tmp_path: Path) -> None:
    recipe = Recipe.from_toml(propose(volumes(tmp_path, 90)), where="long")
    (resize,) = [step for step in recipe.preprocessing.steps if isinstance(step, Resize)]
    assert (resize.height, resize.width, resize.slices) == (24, 24, 64)


def test_volumes_among_flat_images_are_refused(tmp_path: Path) -> None:
    manifest = volumes(tmp_path, 8)
    np.savez(tmp_path / "0.npz", flat=np.eye(9))
    with pytest.raises(InputError, match="Some of the images are flat and some are volumes"):
        propose(manifest)
