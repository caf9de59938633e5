"""Pictures of what augmentation makes of images, as the command line writes them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from overread.cli import main
from overread.data.section import SETS

RECIPE = """
name = "tiny"
[[preprocessing.steps]]
step = "z-score"
[augmentation]
set = "light"
flip = true
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "tiny.toml").write_text(RECIPE)
    return tmp_path / "tiny.toml"


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    images = np.random.default_rng(0).integers(0, 255, (4, 5, 20, 20), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", train_images=images, train_labels=np.array([[0], [1], [0], [1]], np.uint8))
    return tmp_path / "data.npz"


def test_each_set_and_the_recipes_own_augmentation_are_pictured(
    recipe: Path, volumes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = recipe.parent / "pictures"
    assert main(["recipe", "show", str(recipe), "--pictures", str(folder), "--data", str(volumes)]) == 0
    assert {path.stem for path in folder.iterdir()} == {*SETS, "recipe"}
    assert capsys.readouterr().out.startswith("name = ")  # what goes into a file is still the recipe alone
    with Image.open(folder / "none.png") as none, Image.open(folder / "volume.png") as varied:
        width = (none.width - 6) // 7
        first, third = (np.asarray(none)[-150:, 6 + n * width : n * width + width] for n in (0, 2))
        assert (first == third).all()
        first, third = (np.asarray(varied)[-150:, 6 + n * width : n * width + width] for n in (0, 2))
        assert (first != third).any()


def test_without_data_simulated_images_are_pictured_with_their_marks(recipe: Path) -> None:
    folder = recipe.parent / "pictures"
    assert main(["recipe", "show", str(recipe), "--pictures", str(folder)]) == 0
    with Image.open(folder / "none.png") as none:
        colour = np.asarray(none.convert("RGB")).astype(int)
    assert ((colour[:, :, 0] - colour[:, :, 2]) > 150).any()


def test_nothing_is_overwritten_and_a_failure_leaves_nothing(
    recipe: Path, volumes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = recipe.parent / "pictures"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    words = ["recipe", "show", str(recipe), "--data", str(volumes), "--pictures"]
    assert main([*words, str(folder)]) == 1
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]
    text = '[[preprocessing.steps]]\nstep = "resize"\nheight = 8\nwidth = 8\nslices = 2\n'
    recipe.write_text(RECIPE.replace("[augmentation]", f"{text}[augmentation]"))
    assert main(["recipe", "show", str(recipe), "--pictures", str(recipe.parent / "other")]) == 1  # flat simulated CT
    assert "found a flat image" in capsys.readouterr().err
    assert not (recipe.parent / "other").exists()


def test_data_without_pictures_is_refused(recipe: Path, volumes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "show", str(recipe), "--data", str(volumes)]) == 1
    said = capsys.readouterr()
    assert "--pictures" in said.err
    assert said.out == ""


def test_whose_layout_or_pictures_are_meant_is_asked_rather_than_ignored(
    recipe: Path, volumes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for typed, said in (
        (["--data", str(volumes)], "Give --pictures DIR too"),
        (["--source", "medmnist"], "Give --data DATA too"),
        (["--source", "medmnist", "--pictures", str(recipe.parent / "pictures")], "Give --data DATA too"),
    ):
        assert main(["recipe", "show", str(recipe), *typed]) == 1
        assert said in capsys.readouterr().err
    assert not (recipe.parent / "pictures").exists()
