from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image as Pillow

from overread.data.manifest import Case, ImageRef, Manifest, Task
from overread.data.problems import problems
from overread.data.section import DataSection
from overread.data.sources import open_data
from overread.data.split import folds_of
from overread.errors import InputError, ManifestError
from overread.finding import Finding, Region
from overread.image import Geometry, Image
from overread.machine import Machine
from overread.models.contract import Shape
from overread.pipeline.assembly import check_axes, check_family
from overread.preprocessing.geometry import Resize
from overread.proposal import propose
from overread.proposal.look import Look
from overread.proposal.parting import parted
from overread.proposal.steps import spacing_words
from overread.proposal.steps import steps as written_steps
from overread.proposal.volumes import for_volumes
from overread.recipe import Recipe

HERE = Machine(2, 24 << 30)
FEW = settings(max_examples=40, deadline=None)
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


def test_folds_that_were_tried_and_failed_are_fewer_and_say_why(tmp_path: Path) -> None:
    manifest = data_set(tmp_path, GREY)
    malignant = [case.case_id for case in manifest.cases if case.labels["malignant"]]
    copies = {key: f"picture {number // 2}" for number, key in enumerate(malignant)}  # three pictures of six patients

    def trial(section: DataSection) -> object:
        return folds_of(manifest, section, seed=0, same=copies)

    text = propose(manifest, trial=trial)
    assert proposed(manifest).data.folds == 5
    assert Recipe.from_toml(text, where="proposed").data.folds == 3
    assert "folds = 3  # fewer than 5: scheme = 'k-fold' needs every class in at least 5 patients" in text


def test_a_data_set_that_cannot_be_parted_gets_no_recipe(tmp_path: Path) -> None:
    manifest = data_set(tmp_path, GREY)
    copies = {case.case_id: "one picture" for case in manifest.cases if case.labels["malignant"]}
    with pytest.raises(InputError, match=r"(?s)parted in \d+ ways, and none .*'malignant' \(1\)"):
        propose(manifest, trial=lambda section: folds_of(manifest, section, seed=0, same=copies))


@FEW
@given(st.integers(8, 40), st.integers(1, 12), st.integers(1, 4), st.integers(0, 2**31 - 1))
def test_a_plan_is_one_that_its_data_bear(count: int, rare: int, images: int, seed: int) -> None:
    """However few patients there are, and however their images fall: it can be parted so, or there is no plan."""
    rng = np.random.default_rng(seed)
    rows = [
        Case(f"{n:03}", f"p{rng.integers(count)}", (), {"a": not (yes := n < rare), "b": yes}, measurements=(float(n),))
        for n in range(count * images)
    ]
    manifest = Manifest("rows", "table", "single-label", ("a", "b"), tuple(rows), measurements=("size",))
    try:
        text = propose(manifest, HERE)
    except InputError:
        with pytest.raises(ManifestError):
            folds_of(manifest, DataSection(folds=2, validation=0), seed=0)
    else:
        folds_of(manifest, Recipe.from_toml(text, where="proposed").data, seed=0)


def test_the_official_test_split_decides_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no case to learn from"):
        propose(data_set(tmp_path, GREY, split="test"))


def test_marks_are_learned_by_a_marking_model_on_crops_of_one_size(tmp_path: Path) -> None:
    recipe = proposed(data_set(tmp_path, GREY, task="boxes"))
    assert (recipe.model.family, recipe.data.scheme) == ("mask-rcnn", "hold-out")
    assert recipe.augmentation.crop is not None


def test_a_place_gets_one_class_where_the_data_never_give_it_two(tmp_path: Path) -> None:
    apart = data_set(tmp_path, GREY, task="boxes")
    for left, one in ((20, True), (1, False)):
        other = Finding("benign", Region((left, 0, left + 8, 8)))
        both = [
            Case(case.case_id, case.patient_id, case.images, {}, (*case.truth_marks, other)) for case in apart.cases[:4]
        ]
        assert proposed(apart.with_cases((*both, *apart.cases[4:]))).inference.one_class_a_place is one
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
    assert proposed(data_set(tmp_path, GREY, count=200)).training.keep == "best"


def test_one_patient_of_the_rarest_class_does_not_choose_the_epoch(tmp_path: Path) -> None:
    manifest = data_set(tmp_path, GREY, count=100)
    assert "10 patients of malignant are too few to give some away" in propose(manifest)
    assert (proposed(manifest).data.validation, proposed(manifest).training.keep) == (0, "last")


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


def plan(manifest: Manifest, machine: Machine = HERE) -> str:
    return propose(manifest, machine)


def test_the_same_data_on_the_same_machine_get_the_same_plan_and_the_machine_is_named(tmp_path: Path) -> None:
    manifest = data_set(tmp_path, GREY)
    assert plan(manifest) == plan(manifest)
    assert "# to be trained on 2 cores, 24 GB of memory, no graphics card." in plan(manifest)


def test_a_rare_class_is_shown_more_often_and_its_share_is_said(tmp_path: Path) -> None:
    common = plan(data_set(tmp_path, GREY))
    assert 'balance = "none"  # malignant is in 10.0% of the images' in common
    rare = data_set(tmp_path, GREY, count=60)
    few = tuple(
        replace(case, labels={"benign": number > 2, "malignant": number <= 2}) for number, case in enumerate(rare.cases)
    )
    assert 'balance = "sampling"  # malignant is in 5.0% of the images' in plan(rare.with_cases(few))


def test_of_marks_the_share_of_images_that_show_a_class_counts(tmp_path: Path) -> None:
    manifest = data_set(tmp_path, GREY, task="boxes", count=80)
    mark = Finding("benign", Region((20, 0, 28, 8)))
    others = [Case(case.case_id, case.patient_id, case.images, {}, (mark,)) for case in manifest.cases[:4]]
    text = plan(manifest.with_cases((*others, *manifest.cases[4:])))
    assert 'balance = "sampling"  # benign is in 5.0% of the images' in text


def test_a_slow_machine_gets_fewer_epochs_and_a_card_gets_all(tmp_path: Path) -> None:
    big = data_set(tmp_path, GREY.repeat(20, 0).repeat(20, 1), count=20)
    many = big.with_cases(
        tuple(replace(case, case_id=f"{n}-{case.case_id}", patient_id=f"{n}") for n in range(600) for case in big.cases)
    )
    slow, quick = Machine(1, 24 << 30), Machine(8, 64 << 30, "Card 9")
    assert "epochs = 3  # 5 would be right for 12000 images, and take over 6 h on 1 core" in plan(many, slow)
    assert "epochs = 5  # enough for 12000 images" in plan(many, quick)
    assert "height = 224" in plan(many, slow)
    assert "height = 320" in plan(many, quick)


def test_a_batch_is_no_larger_than_the_memory(tmp_path: Path) -> None:
    manifest = data_set(tmp_path, GREY, task="masks", count=100)
    assert "batch_size = 4  # about 25 steps an epoch for 100 images" in plan(manifest)
    small = plan(manifest, Machine(2, 1 << 30))
    assert "batch_size = 2  # 4 would be right, and not fit into the memory of 2 cores, 1 GB of memory" in small


def test_a_card_trains_larger_networks_of_volumes(tmp_path: Path) -> None:
    manifest = volumes(tmp_path, 90)
    with_card = Recipe.from_toml(plan(manifest, Machine(8, 64 << 30, "Card 9")), where="card")
    assert with_card.model.options["backbone"] == "resnet18"
    (resize,) = [step for step in with_card.preprocessing.steps if isinstance(step, Resize)]
    assert resize.slices == 90


@pytest.mark.parametrize(("depth_mm", "slices"), [(1.0, 30), (2.5, 64), (8.0, 64)])
def test_voxels_come_out_as_deep_as_wide_where_their_size_is_known(
    tmp_path: Path, depth_mm: float, slices: int
) -> None:
    geometry = Geometry(np.diag((2.5, 2.5, depth_mm, 1.0)))
    look = Look((Image(np.zeros((1, 150, 128, 128), np.float32), geometry=geometry),))
    manifest = volumes(tmp_path, 16)
    _, sections = for_volumes(look, manifest, HERE, parted(manifest, lambda _: None))
    (step,) = [line for line, _ in sections["preprocessing"] if "resize" in line]
    assert f"height = 64, width = 64, slices = {slices} }}" in step
    assert f"at {depth_mm:.3g} x 2.5 x 2.5 mm a voxel" in step
    assert ("as deep as they are wide (5 mm)" in step) is (slices < 64)


def test_what_the_numbers_mean_decides_how_they_are_scaled(tmp_path: Path) -> None:
    images = [Image(np.full((1, 9, 9), value, np.float32), units=units) for value, units in ((5, "HU"), (900, "HU"))]
    assert "window" in told(Look(tuple(images)))
    other = Look((images[0], Image(np.full((1, 9, 9), 900, np.float32))))
    assert "numbers of different meaning" in told(other)
    assert "percentile-clip" in told(other)


def told(look: Look) -> str:
    return "\n".join(line for line, _ in written_steps(look, why_range="why"))


def test_pixels_of_different_size_are_pointed_out(tmp_path: Path) -> None:
    def image(mm: float) -> Image:
        return Image(np.zeros((1, 9, 9), np.float32), geometry=Geometry(np.diag((mm, mm, 1.0, 1.0))))

    assert "0.5 x 0.5 mm a pixel" in spacing_words(Look((image(0.5), image(0.5))))
    assert "0.5 to 1 x 0.5 to 1 mm a pixel, so that lesions of one size" in spacing_words(Look((image(0.5), image(1))))
    assert not spacing_words(Look((image(0.5), Image(np.zeros((1, 9, 9), np.float32)))))


@pytest.mark.parametrize(("side", "factor"), [(8, 2.0), (40, 1.0)])
def test_small_marks_are_enlarged(tmp_path: Path, side: int, factor: float) -> None:
    manifest = data_set(tmp_path, GREY, task="boxes")
    cases = tuple(
        replace(case, marks=(Finding("malignant", Region((0, 0, min(side, 30), side))),)) for case in manifest.cases
    )
    (resize,) = [s for s in proposed(manifest.with_cases(cases)).preprocessing.steps if isinstance(s, Resize)]
    assert resize.factor == factor
